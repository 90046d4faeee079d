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
