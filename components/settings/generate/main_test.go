package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestGeneratedFilesAreUpToDate(t *testing.T) {
	t.Parallel()
	const root = "../../.."
	files, err := generated(root)
	require.NoError(t, err)
	require.Len(t, files, 3)
	for name, want := range files {
		text, err := os.ReadFile(filepath.Join(root, name))
		require.NoError(t, err)
		require.Equal(t, string(want), string(text), "%s is stale; run: make generate", name)
	}
}

func TestProjectFileKeepsWhatIsWrittenByHand(t *testing.T) {
	t.Parallel()
	text, err := projectFile("name: x\n# by hand\nconfig:\n  gone: {}\n")
	require.NoError(t, err)
	require.Contains(t, string(text), "name: x\n# by hand\nconfig:\n  replicas:\n")
	require.NotContains(t, string(text), "gone")
	_, err = projectFile("name: x\n")
	require.EqualError(t, err, `expected a line "config:"`)
}
