package scripts

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestScriptsHaveTheLineEndsOfThePod(t *testing.T) {
	t.Parallel()
	for _, path := range slices.Concat(OfTheServer(), OfAMember(), []string{Check}) {
		require.NotEmpty(t, Text(path), path)
		require.NotContains(t, Text(path), "\r", path)
	}
}

// TestCheckoutKeepsTheLineEndsOfThePod checks the scripts out with the setting
// that git has on Windows.
func TestCheckoutKeepsTheLineEndsOfThePod(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	git := func(arguments ...string) {
		t.Helper()
		command := exec.Command("git", append([]string{"-C", folder, "-c", "core.autocrlf=true", "-c", "user.name=test", "-c", "user.email=test@example.com"}, arguments...)...)
		command.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null")
		output, err := command.CombinedOutput()
		require.NoError(t, err, "%s", output)
	}
	git("init", "--quiet")
	attributes, err := os.ReadFile("../../.gitattributes")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(folder, ".gitattributes"), attributes, 0o600))
	require.NoError(t, os.CopyFS(filepath.Join(folder, "scripts"), files))
	git("add", "--all")
	git("commit", "--quiet", "--message=scripts")
	require.NoError(t, os.RemoveAll(filepath.Join(folder, "scripts")))
	git("checkout", "--quiet", "--", "scripts")
	checked := 0
	require.NoError(t, filepath.WalkDir(filepath.Join(folder, "scripts"), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		require.False(t, strings.Contains(string(text), "\r"), path)
		checked++
		return nil
	}))
	require.GreaterOrEqual(t, checked, len(OfTheServer()))
}

// undefined prints the names in a python program that nothing defines: python itself finds them only when it
// comes there.
const undefined = `import builtins, sys, symtable
top = symtable.symtable(sys.stdin.read(), "program", "exec")
known = {s.get_name() for s in top.get_symbols() if s.is_assigned() or s.is_imported()} | set(dir(builtins))
def look(table):
    for s in table.get_symbols():
        if s.is_referenced() and (s.is_global() or table is top) and s.get_name() not in known:
            print(s.get_name())
    for child in table.get_children():
        look(child)
look(top)`

func TestPythonKnowsEveryName(t *testing.T) {
	t.Parallel()
	look := func(program string) string {
		command := exec.CommandContext(t.Context(), "python3", "-c", undefined)
		command.Stdin = strings.NewReader(program)
		said, err := command.CombinedOutput()
		require.NoError(t, err, "%s", said)
		return string(said)
	}
	require.Equal(t, "signal\n", look("import os\ndef reload():\n    os.kill(1, signal.SIGHUP)\n"))
	require.Empty(t, look(Text(Members)))
}
