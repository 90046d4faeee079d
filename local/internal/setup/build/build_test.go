package build

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stateful-postgres/local/internal/layout"
	"stateful-postgres/local/internal/setup/tool"
)

func TestRequirementReadsBothFormsOfGoMod(t *testing.T) {
	t.Parallel()
	const gomod = `module x

require example.org/single v1.2.3

require (
	example.org/block v0.1.0-20260101000000-abcdefabcdef // indirect
	example.org/block/longer v9.9.9
)

replace example.org/replaced => example.org/other v5.5.5
`
	for path, want := range map[string]string{
		"example.org/single":       "v1.2.3",
		"example.org/block":        "v0.1.0-20260101000000-abcdefabcdef",
		"example.org/block/longer": "v9.9.9",
	} {
		version, err := requirement(gomod, path)
		require.NoError(t, err)
		require.Equal(t, want, version)
	}
	for _, path := range []string{"example.org", "example.org/bloc", "example.org/replaced"} {
		_, err := requirement(gomod, path)
		require.EqualError(t, err, "no requirement of "+path)
	}
}

// The versions are those of the real go.mod files: a test with files of its
// own would not notice that a path had changed.
func TestVersionsComeFromTheCheckout(t *testing.T) {
	t.Parallel()
	l, err := layout.Find(".")
	require.NoError(t, err)
	v, err := ReadVersions(l)
	require.NoError(t, err)
	require.Regexp(t, `^v1\.\d+\.\d+$`, v.Kubernetes)
	require.Regexp(t, `^v3\.\d+\.\d+$`, v.Pulumi)
	require.Regexp(t, `^4\.\d+\.\d+$`, v.Provider)
}

func TestComponentsReportTheVersionOfTheirModule(t *testing.T) {
	t.Parallel()
	flags := Versions{Kubernetes: "v1.35.4", Pulumi: "v3.228.0", Provider: "4.29.0"}.linkerFlags()
	for _, want := range []string{
		"-X k8s.io/component-base/version.gitVersion=v1.35.4",
		"-X k8s.io/component-base/version.gitMajor=1",
		"-X k8s.io/component-base/version.gitMinor=35",
		"-X k8s.io/client-go/pkg/version.gitMinor=35",
		"-X main.providerVersion=4.29.0",
	} {
		require.Contains(t, " "+flags+" ", " "+want+" ")
	}
}

// Sources lists what a program is made of besides its requirements. An import
// of one of our packages that is not listed would leave it stale.
func TestSourcesHoldEveryOwnPackage(t *testing.T) {
	t.Parallel()
	l, err := layout.Find(".")
	require.NoError(t, err)
	v, err := ReadVersions(l)
	require.NoError(t, err)
	for _, p := range append(Cluster(l), Pulumi(l, v)...) {
		if p.Name == "localkube" {
			continue // lists all of internal
		}
		for _, source := range p.Sources {
			files, err := filepath.Glob(filepath.Join(source, "*.go"))
			require.NoError(t, err)
			require.NotEmpty(t, files, p.Name)
			for _, file := range files {
				text, err := os.ReadFile(file)
				require.NoError(t, err)
				for _, own := range regexp.MustCompile(`"stateful-postgres/local/([^"]+)"`).FindAllStringSubmatch(string(text), -1) {
					if !strings.HasSuffix(file, "_test.go") {
						require.Contains(t, p.Sources, filepath.Join(p.Module, own[1]), file)
					}
				}
			}
		}
	}
}

// setup makes a module with one command, without dependencies.
func setup(t *testing.T) (*Builder, Program) {
	t.Helper()
	l := layout.Layout{Root: t.TempDir()}
	module := filepath.Join(l.Root, "local")
	write(t, filepath.Join(module, "go.mod"), "module example\n\ngo 1.26\n")
	write(t, filepath.Join(module, "go.sum"), "")
	write(t, filepath.Join(module, "cmd", "hello", "main.go"), "package main\n\nvar providerVersion string\n\nfunc main() { print(providerVersion) }\n")
	log, err := tool.OpenLog(filepath.Join(l.Logs(), "build.log"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, log.Close()) })
	b := &Builder{
		Layout: l, Log: log, Versions: Versions{Kubernetes: "v1.2.3", Pulumi: "v1.0.0", Provider: "1.0.0"},
		Place: func(_ context.Context, p Program, built string) error { return Rename(p, built) },
	}
	return b, Program{
		Name: "hello", Package: "./cmd/hello", Module: module,
		Sources: []string{filepath.Join(module, "cmd", "hello")},
		Product: l.Binary("hello"),
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(text), 0o755))
}

func requireStale(t *testing.T, b *Builder, p Program, want bool, why string) {
	t.Helper()
	stale, err := b.Stale([]Program{p})
	require.NoError(t, err)
	require.Equal(t, want, len(stale) == 1, why)
}

func TestProgramIsBuiltAgainOnlyWhenItsInputsChange(t *testing.T) {
	t.Parallel()
	b, p := setup(t)
	requireStale(t, b, p, true, "not built yet")
	write(t, p.Product, "built")
	require.NoError(t, b.markFresh(p))
	requireStale(t, b, p, false, "just built")

	for _, c := range []struct {
		why    string
		change func()
	}{
		{"a source", func() { write(t, filepath.Join(p.Sources[0], "main.go"), "package main\n") }},
		{"a new file", func() { write(t, filepath.Join(p.Sources[0], "embedded.yaml"), "a: b\n") }},
		{"go.sum", func() { write(t, filepath.Join(p.Module, "go.sum"), "x\n") }},
		{"a version", func() { b.Versions.Provider = "1.0.1" }},
		{"the program itself", func() { write(t, p.Product, "built by somebody else") }},
		{"its time", func() { require.NoError(t, os.Chtimes(p.Product, time.Time{}, time.Unix(1, 0))) }},
		{"its stamp, lost", func() { require.NoError(t, os.Remove(b.stampFile(p))) }},
		{"the program, lost", func() { require.NoError(t, os.Remove(p.Product)) }},
	} {
		c.change()
		requireStale(t, b, p, true, c.why)
		write(t, p.Product, "built")
		require.NoError(t, b.markFresh(p))
		requireStale(t, b, p, false, "built after a change of "+c.why)
	}

	write(t, filepath.Join(p.Sources[0], "main_test.go"), "package main\n")
	requireStale(t, b, p, false, "a test is not part of the program")
}

func TestBuildPutsProgramsInPlace(t *testing.T) {
	t.Parallel()
	b, p := setup(t)
	require.NoError(t, b.Build(t.Context(), []Program{p}, func(string) {}))
	requireStale(t, b, p, false, "just built")
	require.FileExists(t, p.Product)
	left, err := os.ReadDir(b.Layout.Temp())
	require.NoError(t, err)
	require.Empty(t, left, "nothing unfinished stays")
}

func TestFailedBuildKeepsWhatWasThere(t *testing.T) {
	t.Parallel()
	b, p := setup(t)
	write(t, p.Product, "older")
	write(t, filepath.Join(p.Sources[0], "main.go"), "package main\n\nfunc main() { undefined() }\n")
	err := b.Build(t.Context(), []Program{p}, func(string) {})
	var failure *tool.Failure
	require.ErrorAs(t, err, &failure)
	require.Contains(t, strings.Join(failure.Tail, "\n"), "undefined: undefined")
	text, err := os.ReadFile(p.Product)
	require.NoError(t, err)
	require.Equal(t, "older", string(text))
	requireStale(t, b, p, true, "not built")
}

func TestProgramsOfOneModuleAreBuiltTogether(t *testing.T) {
	t.Parallel()
	groups := byModule([]Program{{Name: "a", Module: "x"}, {Name: "b", Module: "y"}, {Name: "c", Module: "x"}})
	require.Equal(t, [][]Program{
		{{Name: "a", Module: "x"}, {Name: "c", Module: "x"}},
		{{Name: "b", Module: "y"}},
	}, groups)
}

func TestProgressCountsPackagesAndModules(t *testing.T) {
	t.Parallel()
	var shown []string
	p := progress{total: 40, update: func(s string) { shown = append(shown, s) }}
	for _, line := range []string{
		"go: downloading k8s.io/api v0.35.4",
		"internal/goarch",
		"# k8s.io/api/core/v1",
		"./main.go:3:5: undefined: x",
		"k8s.io/api/core/v1",
		"gopkg.in/yaml.v3",
	} {
		p.line(line)
	}
	require.Equal(t, []string{
		"downloading module 1: k8s.io/api v0.35.4",
		"compiled 1 of up to 40 packages, now internal/goarch",
		"compiled 2 of up to 40 packages, now k8s.io/api/core/v1",
		"compiled 3 of up to 40 packages, now gopkg.in/yaml.v3",
	}, shown, fmt.Sprint(p))
}
