package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestDemoSaysEachThingOnceInAFile plays the demo on a context of a name of its own, as its stack is
// named for that.
func TestDemoSaysEachThingOnceInAFile(t *testing.T) {
	t.Parallel()
	f := setup(t, "demo")
	folder := t.TempDir()
	kubeconfig := filepath.Join(folder, "kubeconfig")
	config := f.ok(f.Run(f.ctx, "kubectl", "config", "view", "--raw", "--minify", "--flatten"))
	require.NoError(t, os.WriteFile(kubeconfig, []byte(config), 0o600))
	current := strings.TrimSpace(f.ok(f.Run(f.ctx, "kubectl", "config", "current-context")))
	f.ok(f.Run(f.ctx, "kubectl", "--kubeconfig", kubeconfig, "config", "rename-context", current, f.Name))

	// The demo selects its stack. Whoever runs the tests keeps the one that is selected.
	home := os.Getenv("PULUMI_HOME")
	if home == "" {
		user, err := os.UserHomeDir()
		require.NoError(t, err)
		home = filepath.Join(user, ".pulumi")
	}
	require.NoError(t, os.Symlink(filepath.Join(home, "plugins"), filepath.Join(folder, "plugins")))

	demo := "demo-" + f.Name
	settings := filepath.Join(workspace.Root, "Pulumi."+demo+".yaml")
	t.Cleanup(func() {
		require.NoError(t, os.RemoveAll(settings))
		require.NoError(t, os.RemoveAll(filepath.Join(workspace.Root, ".local", "verify", demo)))
	})
	f.ok(f.Run(f.ctx, "pulumi", "stack", "init", "--no-select", "--stack", demo))
	set := func(name, value string) {
		f.ok(f.Run(f.ctx, "pulumi", "config", "set", "--stack", demo, name, value))
	}
	set("namespace", f.Namespace)
	set("image", f.Image)

	play := []string{"env", "KUBECONFIG=" + kubeconfig, "PULUMI_HOME=" + folder, "./demo.sh", f.Name}
	story := f.ok(f.Run(f.ctx, play...))
	require.Contains(t, story, "PASS the database is down")
	require.Contains(t, story, "PASS no acknowledged row was lost or altered")
	require.Contains(t, story, "It kept your data.")
	updates := strings.Split(story, "$ pulumi up --yes\n")[1:]
	require.Len(t, updates, 3)
	for i, changed := range []string{" created", " updated", " updated"} {
		update, _, _ := strings.Cut(updates[i], "\n\n")
		done := map[string]bool{}
		for line := range strings.Lines(update) {
			if !strings.HasPrefix(line, "  ") {
				continue
			}
			require.NotContains(t, done, line, update)
			done[line] = true
		}
		require.Contains(t, update, fmt.Sprintf("update: %d%s", strings.Count(update, changed)-1, changed),
			"a line for each thing that was done")
	}

	// What goes wrong is shown, and the demo ends with it.
	set("storage", "plenty")
	failed := f.Run(f.ctx, play...)
	require.False(t, failed.OK(), "%s", failed)
	require.Contains(t, failed.Output, `storage: got "plenty"`)
	require.Contains(t, failed.Output, "The demo ended before its end (exit code 1)")
	require.NotContains(t, failed.Output, "go run ./verify")
}

func TestStackOfAGivenNameIsNobodyElses(t *testing.T) {
	t.Parallel()
	f := setup(t, "named")
	for name, says := range map[string]string{
		"dev":         "stack dev: got a file Pulumi.dev.yaml, expected none",
		"kube-system": "stack kube-system: got a namespace kube-system, expected none",
	} {
		_, err := workspace.NewNamedStack(f.ctx, name)
		require.ErrorContains(t, err, says)
	}
}
