package postgresimage

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"stateful-postgres/local/internal/setup/tool"
)

// aptSources is how this machine gets Debian's packages, for another release.
type aptSources struct {
	// list is a sources.list, config an apt.conf, keys the files with the keys
	// that the machine trusts.
	list, config string
	keys         []string
}

// sources asks apt, so that mirrors, proxies and keys are those that the
// machine uses, however they are configured.
func sources(ctx context.Context, log *tool.Log, suite string, update func(string)) (aptSources, error) {
	ask := func(args ...string) (string, error) {
		var out bytes.Buffer
		err := log.Run(ctx, tool.Command{Args: args, Stdout: &out, Line: update})
		return out.String(), err
	}
	targets, err := ask("apt-get", "indextargets", "Created-By: Packages")
	if err != nil {
		return aptSources{}, err
	}
	entries := debianEntries(targets)
	if len(entries) == 0 {
		// apt knows the origin of a source only after it has fetched its lists.
		if _, err := ask("apt-get", "update"); err != nil {
			return aptSources{}, err
		}
		if targets, err = ask("apt-get", "indextargets", "Created-By: Packages"); err != nil {
			return aptSources{}, err
		}
		if entries = debianEntries(targets); len(entries) == 0 {
			return aptSources{}, fmt.Errorf("apt has no source of Debian's packages: expected one in /etc/apt/sources.list.d")
		}
	}
	dump, err := ask("apt-config", "dump")
	if err != nil {
		return aptSources{}, err
	}
	result := aptSources{config: fetchSettings(dump)}
	for _, e := range entries {
		result.list += fmt.Sprintf("deb %s %s main\n", e.uri, suite+e.pocket)
	}
	if result.keys, err = keyFiles(entries); err != nil {
		return aptSources{}, err
	}
	return result, nil
}

// entry is one of the machine's sources of Debian's packages.
type entry struct {
	uri string
	// pocket is what follows the release's name: "", "-updates" or "-security".
	pocket string
	// file is where it is configured.
	file string
}

// debianEntries finds the sources of Debian itself in what `apt-get
// indextargets` prints: a paragraph of "Name: value" lines for each.
func debianEntries(targets string) []entry {
	var entries []entry
	for paragraph := range strings.SplitSeq(targets, "\n\n") {
		field := map[string]string{}
		for line := range strings.Lines(paragraph) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
			field[name] = value
		}
		if field["Origin"] != "Debian" || field["Component"] != "main" {
			continue
		}
		_, pocket, found := strings.Cut(field["Codename"], "-")
		if found {
			pocket = "-" + pocket
		}
		if !slices.Contains([]string{"", "-updates", "-security"}, pocket) {
			continue
		}
		file, _, _ := strings.Cut(field["Sourcesentry"], ":")
		e := entry{uri: field["Repo-URI"], pocket: pocket, file: file}
		if !slices.Contains(entries, e) {
			entries = append(entries, e)
		}
	}
	return entries
}

// fetchSetting is a line of `apt-config dump` that says how to fetch packages:
// through which proxy, how often to try, what of a date to believe.
var fetchSetting = regexp.MustCompile(`(?m)^Acquire::(?i:https?|ftp|forceipv[46]|retries|check-valid-until|check-date|max-futuretime)(::\S*)? "[^"]+";$`)

func fetchSettings(dump string) string {
	lines := fetchSetting.FindAllString(dump, -1)
	// What only a reader of descriptions needs is not fetched.
	return strings.Join(append(lines, `Acquire::Languages "none";`), "\n") + "\n"
}

// signedBy finds the files of keys that a sources.list or .sources file names.
var signedBy = regexp.MustCompile(`(?i)signed-by\s*[:=]\s*(/[^\s\],]+)`)

func keyFiles(entries []entry) ([]string, error) {
	var files []string
	for _, pattern := range []string{
		"/etc/apt/trusted.gpg", "/etc/apt/trusted.gpg.d/*.gpg", "/etc/apt/trusted.gpg.d/*.asc",
		// The keys of other releases than the machine's own.
		"/usr/share/keyrings/debian-archive-keyring.*",
	} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			return nil, err
		}
		files = append(files, found...)
	}
	for _, e := range entries {
		text, err := os.ReadFile(e.file)
		if err != nil {
			return nil, err
		}
		for _, match := range signedBy.FindAllStringSubmatch(string(text), -1) {
			files = append(files, match[1])
		}
	}
	slices.Sort(files)
	return slices.Compact(files), nil
}
