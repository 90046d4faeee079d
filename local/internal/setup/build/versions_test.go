package build

import (
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"stateful-postgres/local/internal/layout"
)

// What several modules of this repository need is compiled once only if all of
// them need it in the same version, down to the last dependency. The Kubernetes
// SDK alone takes minutes.
func TestModulesNeedTheSameVersions(t *testing.T) {
	t.Parallel()
	l, err := layout.Find(".")
	require.NoError(t, err)
	v, err := ReadVersions(l)
	require.NoError(t, err)
	versions := map[string]map[string][]string{} // of a module, with the go.mod files that ask for it
	add := func(folder string, args ...string) {
		name, err := filepath.Rel(l.Root, filepath.Join(folder, "go.mod"))
		require.NoError(t, err)
		for path, version := range needed(t, folder, args...) {
			if versions[path] == nil {
				versions[path] = map[string][]string{}
			}
			versions[path][version] = append(versions[path][version], name)
		}
	}
	for _, folder := range []string{l.Root, filepath.Join(l.Root, "provider"), module(l)} {
		add(folder, "-test", "./...")
	}
	for _, group := range byModule(append(Cluster(l), Pulumi(l, v)...)) {
		add(group[0].Module, packages(group)...)
	}
	// The reason why the language hosts have a module of their own.
	delete(versions, "github.com/pulumi/pulumi/sdk/v3")
	require.Contains(t, versions, "github.com/pulumi/pulumi-kubernetes/sdk/v4")
	for path, found := range versions {
		require.Len(t, found, 1, "%s: expected the same version in all these files; go get the newest there", path)
	}
}

// needed returns the versions of the modules that packages in a folder are made
// of. The arguments are those of `go list -deps`.
func needed(t *testing.T, folder string, args ...string) map[string]string {
	t.Helper()
	list := exec.Command("go", append([]string{"list", "-deps", "-f",
		"{{with .Module}}{{if not .Main}}{{.Path}} {{with .Replace}}{{.Version}}{{else}}{{.Version}}{{end}}{{end}}{{end}}"}, args...)...)
	list.Dir, list.Env, list.Stderr = folder, append(os.Environ(), environment...), os.Stderr
	output, err := list.Output()
	require.NoError(t, err, folder)
	versions := map[string]string{}
	for line := range strings.Lines(string(output)) {
		// A replacement by a folder has no version.
		if fields := strings.Fields(line); len(fields) == 2 {
			versions[fields[0]] = fields[1]
		}
	}
	return versions
}

var packageClause = regexp.MustCompile(`(?m)^package (\w+)$`)

// A name that two packages share makes a reader open the wrong one.
func TestPackagesHaveNamesOfTheirOwn(t *testing.T) {
	t.Parallel()
	l, err := layout.Find(".")
	require.NoError(t, err)
	folders := map[string]map[string]bool{} // of a name
	require.NoError(t, filepath.WalkDir(l.Root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && path != l.Root && strings.HasPrefix(entry.Name(), "."):
			return filepath.SkipDir
		case entry.IsDir() || filepath.Ext(path) != ".go":
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		clause := packageClause.FindSubmatch(text)
		require.NotNil(t, clause, path)
		name := strings.TrimSuffix(string(clause[1]), "_test")
		if folders[name] == nil {
			folders[name] = map[string]bool{}
		}
		folders[name][filepath.Dir(path)] = true
		return nil
	}))
	delete(folders, "main")
	require.Contains(t, folders, "settings")
	for name, found := range folders {
		require.Len(t, found, 1, "package %s is in %v", name, slices.Sorted(maps.Keys(found)))
	}
}
