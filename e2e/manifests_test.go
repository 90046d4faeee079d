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

	"stateful-postgres/internal/contract"
	"stateful-postgres/internal/site"
)

// rendered are the manifests of reviewed settings, made with the real engine and
// provider. They are removed with the test.
type rendered struct {
	*fixture
	folder string
	// of tells the reviewed settings and manifests of several servers ("-ha") from
	// those of one.
	of       string
	settings map[string]string
}

// render sets the reviewed settings and writes the manifests.
func (f *fixture) render(of string) *rendered {
	f.t.Helper()
	r := &rendered{fixture: f, of: of, folder: filepath.Join(workspace.Root, ".local", "manifests", f.Name)}
	require.NoError(f.t, yaml.Unmarshal([]byte(r.reviewed("settings")), &r.settings))
	for name, value := range r.settings {
		if name == "image" {
			value = f.Image
		}
		f.ok(f.Set(f.ctx, name, value))
	}
	f.t.Cleanup(func() { require.NoError(f.t, os.RemoveAll(r.folder)) })
	r.again()
	return r
}

// again writes the manifests in the place of those that are there.
func (r *rendered) again() string {
	r.t.Helper()
	return r.ok(r.Run(r.ctx, "env", "SETTINGS="+filepath.Join(r.Folder, "Pulumi.yaml"), "KUBECONFIG=/nonexistent", "make", "manifests", "STACK="+r.Name))
}

func (r *rendered) reviewed(file string) string {
	r.t.Helper()
	text, err := os.ReadFile(filepath.Join(workspace.Root, "components", "testdata", file+r.of+".yaml"))
	require.NoError(r.t, err)
	return string(text)
}

// requireReviewed requires that the files are what is reviewed, and returns how
// many there are.
func (r *rendered) requireReviewed() int {
	r.t.Helper()
	want := manifests(r.t, r.reviewed("manifests"))
	require.Contains(r.t, want, "ConfigMap/"+contract.Marker)
	// Whoever applies files begins with nothing.
	delete(want, "ConfigMap/"+contract.Marker)
	// And a check that is applied with all the rest checks nothing beforehand.
	require.Contains(r.t, want, "Job/"+contract.CheckJob)
	delete(want, "Job/"+contract.CheckJob)
	files, err := filepath.Glob(filepath.Join(r.folder, "*", "*.yaml"))
	require.NoError(r.t, err)
	written := ""
	for _, file := range files {
		info, err := os.Stat(file)
		require.NoError(r.t, err)
		require.Zero(r.t, info.Mode().Perm()&0o077, "%s is for its owner alone", file)
		text, err := os.ReadFile(file)
		require.NoError(r.t, err)
		written += "---\n" + string(text)
	}
	got := manifests(r.t, strings.NewReplacer(
		"pulumi-stateful-postgres-"+r.Name, "pulumi-project-stack", r.Name, "codewizard", r.Image, r.settings["image"],
	).Replace(written))
	require.ElementsMatch(r.t, slices.Collect(maps.Keys(want)), slices.Collect(maps.Keys(got)))
	for key := range want {
		require.Equal(r.t, want[key], got[key], key)
	}
	return len(want)
}

// applyFirst is the lab's own command, on a cluster that has not even the namespace.
func (r *rendered) applyFirst() (printed string) {
	r.t.Helper()
	require.False(r.t, r.Kubectl(r.ctx, "get", "namespace", r.Namespace).OK())
	printed = r.ok(r.Run(r.ctx, "bash", "-c", `set -o pipefail; kubectl kustomize "$0" | kubectl apply --validate=strict -f -`, r.folder))
	require.NotContains(r.t, printed, "Warning", "it passes the namespace's Pod Security")
	return printed
}

// TestManifestsAreWhatIsReviewed renders the settings of the reviewed manifests
// and applies the files without Pulumi.
func TestManifestsAreWhatIsReviewed(t *testing.T) {
	t.Parallel()
	f := setup(t, "manifests").render("")
	// A second time replaces what the first one wrote.
	require.Contains(t, f.again(), "kubectl apply -k .local/manifests/"+f.Name)

	for _, refused := range []struct{ stack, says string }{
		{"org/dev", "STACK: got 'org/dev', expected the name of a stack"},
		{"nowhere", "expected one with a file of settings, Pulumi.nowhere.yaml"},
	} {
		result := f.Run(f.ctx, "make", "manifests", "STACK="+refused.stack)
		require.False(t, result.OK(), "%s", result)
		require.Contains(t, result.Output, refused.says)
	}

	objects := f.requireReviewed()
	applied := f.applyFirst()
	require.Equal(t, objects, strings.Count(applied, " created\n"), "every file is in kustomization.yaml: %s", applied)
	f.kubectl("rollout", "status", "statefulset/"+contract.StatefulSet, "--timeout=2m")
	require.Equal(t, "256MB", f.sql("show shared_buffers"))

	// And the one that is printed: once more, it changes nothing.
	f.kubectl("diff", "-k", f.folder)
	running := f.server()
	f.kubectl("apply", "-k", f.folder)
	f.kubectl("rollout", "status", "statefulset/"+contract.StatefulSet, "--timeout=2m")
	require.Equal(t, running, f.server())

	// Pulumi goes on where the files ended.
	f.sql("create table kept as select 1")
	f.up(1)
	require.Equal(t, "1", f.sql("select count(*) from kept"))
	f.verify(proven)
}

// TestMembersFromManifests applies the files of several servers on a cluster that
// has nothing of them.
func TestMembersFromManifests(t *testing.T) {
	t.Parallel()
	f := setupFor(t, "manifests-ha", 2*testTimeout)
	f.needsNodes(3)
	m := &members{fixture: f, site: site.OfStack(f.Stack, 3)}
	r := m.render("-ha")
	r.requireReviewed()
	r.applyFirst()
	m.kubectl("rollout", "status", "statefulset/"+contract.StatefulSet, "--timeout=4m")
	m.settled(3)
	m.query("create table kept as select generate_series(1, 1000) as id")

	// Patroni has written into some of the objects.
	m.kubectl("diff", "-k", r.folder)
	sync := m.trusted()
	m.kubectl("apply", "-k", r.folder)
	require.Equal(t, sync, m.trusted(), "who has every write is known as before")

	// Pulumi goes on where the files ended.
	m.up(3)
	m.settled(3)
	require.Equal(t, "1000", m.query("select count(*) from kept"))
	m.verify(proven)
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
			// The configuration of several servers has the namespace, and each file is
			// compared by itself.
			for _, digest := range []string{"authority", "config", "credentials"} {
				annotations["checksum/"+digest] = "masked"
			}
		}
		canonical, err := yaml.Marshal(object)
		require.NoError(t, err)
		objects[key] = string(canonical)
	}
	return objects
}
