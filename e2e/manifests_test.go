package e2e

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

// TestManifestsAreWhatIsReviewed renders the settings of the reviewed manifests
// with the real engine and provider, and applies the files without Pulumi.
func TestManifestsAreWhatIsReviewed(t *testing.T) {
	t.Parallel()
	f := setup(t, "manifests")
	testdata := filepath.Join(workspace.Root, "components", "testdata")
	var settings map[string]string
	text, err := os.ReadFile(filepath.Join(testdata, "settings.yaml"))
	require.NoError(t, err)
	require.NoError(t, yaml.Unmarshal(text, &settings))
	image := settings["image"]
	settings["image"] = f.Image
	for name, value := range settings {
		f.ok(f.Set(f.ctx, name, value))
	}
	folder := filepath.Join(workspace.Root, ".local", "manifests", f.Name)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(folder)) })
	render := []string{"env", "SETTINGS=" + filepath.Join(f.Folder, "Pulumi.yaml"), "KUBECONFIG=/nonexistent", "make", "manifests", "STACK=" + f.Name}
	// Twice: a second time replaces what the first one wrote.
	f.ok(f.Run(f.ctx, render...))
	printed := f.ok(f.Run(f.ctx, render...))
	require.Contains(t, printed, "kubectl apply --server-side -R -f .local/manifests/"+f.Name)

	for _, refused := range []struct{ stack, says string }{
		{"org/dev", "STACK: got 'org/dev', expected the name of a stack"},
		{"nowhere", "expected one with a file of settings, Pulumi.nowhere.yaml"},
	} {
		result := f.Run(f.ctx, "make", "manifests", "STACK="+refused.stack)
		require.False(t, result.OK(), "%s", result)
		require.Contains(t, result.Output, refused.says)
	}

	reviewed, err := os.ReadFile(filepath.Join(testdata, "manifests.yaml"))
	require.NoError(t, err)
	want := manifests(t, string(reviewed))
	require.Contains(t, want, "ConfigMap/postgres-data-expected")
	// Whoever applies files begins with nothing.
	delete(want, "ConfigMap/postgres-data-expected")
	files, err := filepath.Glob(filepath.Join(folder, "*", "*.yaml"))
	require.NoError(t, err)
	written := ""
	for _, file := range files {
		info, err := os.Stat(file)
		require.NoError(t, err)
		require.Zero(t, info.Mode().Perm()&0o077, "%s is for its owner alone", file)
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		written += "---\n" + string(text)
	}
	got := manifests(t, strings.NewReplacer(
		"pulumi-stateful-postgres-"+f.Name, "pulumi-project-stack", f.Name, "codewizard", f.Image, image,
	).Replace(written))
	require.ElementsMatch(t, slices.Collect(maps.Keys(want)), slices.Collect(maps.Keys(got)))
	for key := range want {
		require.Equal(t, want[key], got[key], key)
	}

	apply := []string{"apply", "--server-side", "--validate=strict", "--recursive", "--filename"}
	f.ok(f.Kubectl(f.ctx, append(apply, filepath.Join(folder, "1-namespace"))...))
	accepted := f.ok(f.Kubectl(f.ctx, append(apply, folder, "--dry-run=server")...))
	require.NotContains(t, accepted, "Warning", "it passes the namespace's Pod Security")
	require.Empty(t, f.kubectl("get", "statefulset", "--output=name"))

	f.ok(f.Kubectl(f.ctx, append(apply, folder)...))
	f.kubectl("rollout", "status", "statefulset/postgres", "--timeout=2m")
	require.Equal(t, "256MB", f.sql("show shared_buffers"))
	f.kubectl("diff", "--server-side", "--recursive", "--filename", folder)

	// Pulumi goes on where the files ended.
	f.sql("create table kept as select 1")
	f.up(1)
	require.Equal(t, "1", f.sql("select count(*) from kept"))
	f.verify(proven)
}

// manifests are the objects of a YAML text by kind and name, without what every
// rendering makes anew.
func manifests(t *testing.T, text string) map[string]string {
	t.Helper()
	objects := map[string]string{}
	for _, document := range strings.Split(text, "\n---\n") {
		var object map[string]any
		require.NoError(t, yaml.Unmarshal([]byte(document), &object))
		key := object["kind"].(string) + "/" + object["metadata"].(map[string]any)["name"].(string)
		require.NotContains(t, objects, key)
		if object["kind"] == "Secret" {
			data := object["data"].(map[string]any)
			for name := range data {
				data[name] = "masked"
			}
		}
		if object["kind"] == "StatefulSet" {
			template := object["spec"].(map[string]any)["template"].(map[string]any)
			annotations := template["metadata"].(map[string]any)["annotations"].(map[string]any)
			annotations["checksum/authority"], annotations["checksum/credentials"] = "masked", "masked"
		}
		canonical, err := yaml.Marshal(object)
		require.NoError(t, err)
		objects[key] = string(canonical)
	}
	return objects
}
