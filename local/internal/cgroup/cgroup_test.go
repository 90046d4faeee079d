package cgroup

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// hierarchy is a folder in which the groups have this file already, as those that the kernel makes.
func hierarchy(t *testing.T, file string, groups ...string) string {
	t.Helper()
	root := t.TempDir()
	for _, group := range groups {
		require.NoError(t, os.MkdirAll(filepath.Join(root, group), 0o755))
		for _, name := range []string{file, "cgroup.controllers", "cgroup.subtree_control"} {
			require.NoError(t, os.WriteFile(filepath.Join(root, group, name), nil, 0o600))
		}
	}
	return root
}

func TestPodsWeighAsMuchAsTheirMachines(t *testing.T) {
	groups := []string{".", "localkube", "localkube/node-1", "localkube/node-2"}
	for name, test := range map[string]struct {
		unified bool
		file    string
		cpus    int
		weights map[string]string
	}{
		"version 1":                    {false, "cpu.shares", 2, map[string]string{"localkube": "4096", "localkube/node-1": "2048", "localkube/node-2": "2048"}},
		"version 2":                    {true, "cpu.weight", 2, map[string]string{"localkube": "400", "localkube/node-1": "200", "localkube/node-2": "200"}},
		"more than version 1 can have": {false, "cpu.shares", 256, map[string]string{"localkube": "262144", "localkube/node-1": "262144", "localkube/node-2": "262144"}},
		"more than version 2 can have": {true, "cpu.weight", 64, map[string]string{"localkube": "10000", "localkube/node-1": "6400", "localkube/node-2": "6400"}},
	} {
		t.Run(name, func(t *testing.T) {
			root := hierarchy(t, test.file, groups...)
			require.NoError(t, create(root, test.unified, []string{"node-1", "node-2"}, test.cpus))
			for group, weight := range test.weights {
				written, err := os.ReadFile(filepath.Join(root, group, test.file))
				require.NoError(t, err)
				require.Equal(t, weight, string(written), group)
			}
		})
	}
}

func TestHierarchyWithoutWeightsHasTheGroups(t *testing.T) {
	root := t.TempDir()
	require.NoError(t, create(root, false, []string{"node-1"}, 2))
	require.DirExists(t, filepath.Join(root, "localkube", "node-1"))
	require.NoFileExists(t, filepath.Join(root, "localkube", "cpu.shares"))
}
