// Package pulumi finds a Pulumi CLI that is already on the machine and gives
// the one that is built here its provider plugin.
package pulumi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"

	"stateful-postgres/local/internal/layout"
	"stateful-postgres/local/internal/setup/tool"
)

// The oldest CLI that is used as it is.
const minMajor, minMinor = 3, 228

// MinVersion is the oldest CLI that is used as it is, in words.
var MinVersion = fmt.Sprintf("%d.%d", minMajor, minMinor)

// CLI is a Pulumi CLI that was found on PATH.
type CLI struct {
	Path, Version string
}

// Recent says whether the CLI can be used as it is.
func (c CLI) Recent() bool {
	m := versionNumber.FindStringSubmatch(c.Version)
	if m == nil {
		return false
	}
	major, _ := strconv.Atoi(m[1])
	minor, _ := strconv.Atoi(m[2])
	return major > minMajor || major == minMajor && minor >= minMinor
}

var versionNumber = regexp.MustCompile(`^v?(\d+)\.(\d+)\.\d`)

// Find returns the first Pulumi CLI in the folders of path (as in PATH) that
// is not the one built here, nil when there is none.
func Find(ctx context.Context, l layout.Layout, path string) (*CLI, error) {
	own := resolve(l.Binary("pulumi"))
	for _, dir := range filepath.SplitList(path) {
		candidate, err := exec.LookPath(filepath.Join(dir, "pulumi"))
		if err != nil || resolve(candidate) == own {
			continue
		}
		cmd := exec.CommandContext(ctx, candidate, "version")
		// Only the number is asked for, nothing of the network.
		cmd.Env = append(os.Environ(), "PULUMI_SKIP_UPDATE_CHECK=true")
		out, err := cmd.Output()
		if err != nil {
			return nil, fmt.Errorf("%s version: %w", candidate, err)
		}
		return &CLI{Path: candidate, Version: string(bytes.TrimSpace(out))}, nil
	}
	return nil, nil
}

func resolve(path string) string {
	if resolved, err := filepath.EvalSymlinks(path); err == nil {
		return resolved
	}
	return path
}

// RemoveOwn removes the CLI and its language hosts that were built here before:
// .local/bin comes first on PATH, they would hide those that are to be used.
func RemoveOwn(l layout.Layout) error {
	for _, name := range []string{"pulumi", "pulumi-language-go", "pulumi-language-nodejs", "pulumi-language-yaml"} {
		if err := os.Remove(l.Binary(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// InstallProvider makes the built provider plugin known to the CLI that was
// built here, under the version v. A plugin that the CLI finds on PATH instead
// is used with a warning.
func InstallProvider(ctx context.Context, l layout.Layout, log *tool.Log, v, built string) error {
	plugin, err := os.MkdirTemp(l.Temp(), "plugin-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(plugin)
	if err := os.Rename(built, filepath.Join(plugin, filepath.Base(built))); err != nil {
		return err
	}
	var dir bytes.Buffer
	err = log.Run(ctx, tool.Command{
		// Not `go list -m`: it asks for what some module proxies do not have.
		Args:   []string{"go", "list", "-f", "{{.Module.Dir}}", "github.com/pulumi/pulumi-kubernetes/provider/v4/pkg/provider"},
		Dir:    filepath.Join(l.Root, "local"),
		Stdout: &dir,
	})
	if err != nil {
		return err
	}
	if err := describe(plugin, filepath.Join(string(bytes.TrimSpace(dir.Bytes())), "cmd", "pulumi-resource-kubernetes"), v); err != nil {
		return err
	}
	return log.Run(ctx, tool.Command{
		Args: []string{l.Binary("pulumi"), "plugin", "install", "resource", "kubernetes", v, "--reinstall", "--file", plugin},
		Env:  []string{"PULUMI_HOME=" + l.PulumiHome(), "PULUMI_SKIP_UPDATE_CHECK=true"},
	})
}

// describe writes the files that the plugin reads beside itself, from where
// the provider's module keeps them.
func describe(plugin, source, version string) error {
	schema, err := os.ReadFile(filepath.Join(source, "schema.json"))
	if err != nil {
		return err
	}
	if schema, err = withVersion(schema, version); err != nil {
		return fmt.Errorf("%s: %w", filepath.Join(source, "schema.json"), err)
	}
	mapping, err := os.ReadFile(filepath.Join(source, "terraform-mapping.json"))
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(plugin, "schema.json"), schema, 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(plugin, "terraform-mapping.json"), mapping, 0o644)
}

// withVersion puts the version into a schema that has none, as the provider's
// release build does.
func withVersion(schema []byte, version string) ([]byte, error) {
	rest, isObject := bytes.CutPrefix(bytes.TrimSpace(schema), []byte("{"))
	if !isObject {
		return nil, errors.New("expected a JSON object")
	}
	return append(fmt.Appendf(nil, `{"version":%q,`, version), rest...), nil
}
