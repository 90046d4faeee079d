package build

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"stateful-postgres/local/internal/layout"
	"stateful-postgres/local/internal/setup/tool"
)

func TestProgramIsBuiltWherePulumiLooksForIt(t *testing.T) {
	t.Parallel()
	l, err := layout.Find(".")
	require.NoError(t, err)
	text, err := os.ReadFile(filepath.Join(l.Root, "Pulumi.yaml"))
	require.NoError(t, err)
	var project struct {
		Runtime struct {
			Options struct {
				BuildTarget string `yaml:"buildTarget"`
			}
		}
	}
	require.NoError(t, yaml.Unmarshal(text, &project))
	require.Equal(t, program(l), filepath.Join(l.Root, project.Runtime.Options.BuildTarget))
}

// After set-up, `pulumi up` and `go run ./verify` compile and link nothing.
func TestProgramAndVerifyAreCompiledOnce(t *testing.T) {
	t.Parallel()
	l := layout.Layout{Root: t.TempDir()}
	for path, text := range map[string]string{
		"go.mod":            "module example\n\ngo 1.26\n",
		"main.go":           "package main\n\nimport \"example/shared\"\n\nfunc main() { shared.Print() }\n",
		"verify/main.go":    "package main\n\nimport \"example/shared\"\n\nfunc main() { shared.Print() }\n",
		"shared/package.go": "package shared\n\nfunc Print() { print(`shared`) }\n",
	} {
		write(t, filepath.Join(l.Root, path), text)
	}
	log, err := tool.OpenLog(filepath.Join(l.Logs(), "project.log"))
	require.NoError(t, err)
	defer log.Close()
	var shown []string
	require.NoError(t, Project(t.Context(), l, log, func(s string) { shown = append(shown, s) }))
	require.Contains(t, strings.Join(shown, "\n"), "now example/shared")
	require.FileExists(t, program(l))

	for _, args := range [][]string{
		{"go", "build", "-v", "-o", program(l)}, // the language host's
		{"go", "run", "-v", "./verify"},
	} {
		var stderr bytes.Buffer
		command := exec.Command(args[0], args[1:]...)
		command.Dir, command.Env, command.Stderr = l.Root, append(os.Environ(), ProjectEnvironment...), &stderr
		require.NoError(t, command.Run(), stderr.String())
		require.NotContains(t, stderr.String(), "example", "compiled again: %v", args)
	}
}

func TestProgramThatDoesNotCompileSaysWhy(t *testing.T) {
	t.Parallel()
	l := layout.Layout{Root: t.TempDir()}
	write(t, filepath.Join(l.Root, "go.mod"), "module example\n\ngo 1.26\n")
	write(t, filepath.Join(l.Root, "main.go"), "package main\n\nfunc main() { undefined() }\n")
	write(t, filepath.Join(l.Root, "verify", "main.go"), "package main\n\nfunc main() {}\n")
	log, err := tool.OpenLog(filepath.Join(l.Logs(), "project.log"))
	require.NoError(t, err)
	defer log.Close()
	err = Project(t.Context(), l, log, func(string) {})
	var failure *tool.Failure
	require.ErrorAs(t, err, &failure)
	require.Contains(t, strings.Join(failure.Tail, "\n"), "undefined: undefined")
}
