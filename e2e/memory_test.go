package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// deleteNamespace deletes the stack's namespace and waits for its end.
func (f *fixture) deleteNamespace() {
	f.t.Helper()
	f.ok(f.Run(f.ctx, "kubectl", "delete", "namespace", f.Namespace, "--wait", "--timeout=3m"))
}

// requireNoNamespace requires that nothing made the namespace anew.
func (f *fixture) requireNoNamespace() {
	f.t.Helper()
	missing := f.Run(f.ctx, "kubectl", "get", "namespace", f.Namespace)
	require.Contains(f.t, missing.Output, "NotFound", "%s", missing)
}

func TestDeletedNamespaceIsNotFilledWithAnEmptyDatabase(t *testing.T) {
	t.Parallel()
	f := setup(t, "erased")
	f.up(1)
	f.verify(proven)
	f.deleteNamespace()

	lost := fmt.Sprintf(`initializeEmptyVolume: got "false", expected true, because this server had data and namespace %s is gone with the volume of claim postgredb-postgres-0; `+
		`name a volume that has it with: pulumi config set volumeName, or begin again without the old rows: pulumi config set initializeEmptyVolume true`, f.Namespace)
	f.refused(lost)
	f.requireNoNamespace()
	// All that is gone is forgotten, but not that there was data.
	f.ok(f.Refresh(f.ctx))
	f.requireRefused(lost)
	f.requireNoNamespace()
	// One that somebody made anew is no reason to fill it.
	f.createNamespace()
	f.requireRefused("initializeEmptyVolume", "this server had data and the volume of claim postgredb-postgres-0 is gone")

	f.ok(f.Set(f.ctx, "initializeEmptyVolume", "true"))
	f.up(1)
	require.Equal(t, "", f.sql("select tablename from pg_tables where schemaname = 'verify'"), "a new database")
	f.verify(violated)
	f.ok(f.Unset(f.ctx, "initializeEmptyVolume"))
	f.ok(f.Up(f.ctx))
	f.ok(f.Up(f.ctx, "--expect-no-changes"))
}

func TestEmptyVolumeInANamespaceMadeAnewIsNotInitialized(t *testing.T) {
	t.Parallel()
	f := setup(t, "refilled")
	f.up(1)
	f.deleteNamespace()
	f.createNamespace()
	// As if it had been restored; it is bound, and what is on it only the server sees.
	f.create(map[string]any{
		"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": map[string]any{"name": claimName},
		"spec": map[string]any{"accessModes": []string{"ReadWriteOnce"}, "resources": map[string]any{"requests": map[string]any{"storage": "1Gi"}}},
	})
	f.create(map[string]any{
		"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": "binder"},
		"spec": map[string]any{
			"restartPolicy": "Never",
			"containers": []any{map[string]any{
				"name": "binder", "image": f.Image, "command": []string{"true"},
				"volumeMounts": []any{map[string]any{"name": "volume", "mountPath": "/volume"}},
			}},
			"volumes": []any{map[string]any{"name": "volume", "persistentVolumeClaim": map[string]any{"claimName": claimName}}},
		},
	})
	f.kubectl("wait", "pod/binder", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=1m")
	f.kubectl("delete", "pod", "binder", "--wait")

	f.upUntil("pod postgres-0 does not start", "this server had data, and its volume is empty")
}

func TestNamespaceDeletedBeforeTheServerEverStartedIsMadeAnew(t *testing.T) {
	t.Parallel()
	f := setup(t, "unborn")
	f.up(0)
	require.Equal(t, false, f.outputs()["dataExpected"])
	f.deleteNamespace()
	f.up(1)
	require.Equal(t, true, f.outputs()["dataExpected"])
	f.verify(proven)
	f.up(0)
	require.Equal(t, true, f.outputs()["dataExpected"], "it was ready before")
}

func TestAnotherClusterIsRefusedUnlessItIsSaid(t *testing.T) {
	t.Parallel()
	f := setup(t, "moved")
	f.up(1)
	f.verify(proven)
	here := f.kubectl("get", "namespace", "kube-system", "--output=jsonpath={.metadata.uid}")
	require.Equal(t, here, f.outputs()["clusterUid"])
	before := f.objects()

	// There is one cluster; what the state says makes it another one.
	const elsewhere = "11111111-2222-3333-4444-555555555555"
	f.editOutputs(func(outputs map[string]any) { outputs["clusterUid"] = elsewhere })
	server := f.ok(f.Run(f.ctx, "kubectl", "config", "view", "--minify", "--output=jsonpath={.clusters[0].cluster.server}"))
	f.refused(fmt.Sprintf("clusterUid: got cluster %[1]s at %[2]s, expected cluster %[3]s, because the stack's last update left its server and its data there; "+
		"correct kubernetes:context or kubernetes:kubeconfig, or if the stack has moved to this one: pulumi config set clusterUid %[1]s; "+
		"for other data use another stack with a namespace of its own", here, server, elsewhere))
	f.ok(f.Set(f.ctx, "clusterUid", elsewhere))
	f.refused(fmt.Sprintf("clusterUid: got cluster %[1]s at %[2]s, expected cluster %[3]q, because that is set; "+
		"correct kubernetes:context or kubernetes:kubeconfig, or if the stack belongs to this one: pulumi config set clusterUid %[1]s", here, server, elsewhere))
	require.Equal(t, before, f.objects())

	f.ok(f.Set(f.ctx, "clusterUid", here))
	f.ok(f.Up(f.ctx))
	f.ok(f.Unset(f.ctx, "clusterUid"))
	f.ok(f.Up(f.ctx, "--expect-no-changes"))
	f.verify(proven)
}

func TestStackOfAnEarlierVersionRemembersItsData(t *testing.T) {
	t.Parallel()
	f := setup(t, "earlier")
	f.up(1)
	f.verify(proven)
	earlier := func(outputs map[string]any) {
		delete(outputs, "clusterUid")
		delete(outputs, "dataExpected")
	}
	f.editOutputs(earlier)
	f.ok(f.Up(f.ctx, "--expect-no-changes"))
	require.Equal(t, true, f.outputs()["dataExpected"])
	require.NotEmpty(t, f.outputs()["clusterUid"])

	f.up(0)
	f.editOutputs(earlier)
	f.deleteNamespace()
	f.requireRefused("initializeEmptyVolume", "namespace "+f.Namespace+" is gone")
	f.requireNoNamespace()
}

// editOutputs changes what the component registered in the stack's state.
func (f *fixture) editOutputs(edit func(outputs map[string]any)) {
	f.t.Helper()
	exported := f.Export(f.ctx)
	require.NoError(f.t, exported.Err())
	var state map[string]any
	require.NoError(f.t, json.Unmarshal([]byte(exported.Stdout), &state))
	edited := 0
	for _, resource := range state["deployment"].(map[string]any)["resources"].([]any) {
		resource := resource.(map[string]any)
		if resource["type"] == "stateful-postgres:index:Postgres" {
			edit(resource["outputs"].(map[string]any))
			edited++
		}
	}
	require.Equal(f.t, 1, edited)
	text, err := json.Marshal(state)
	require.NoError(f.t, err)
	command := f.Command(f.ctx, "pulumi", "stack", "import", "--stack", f.Name)
	command.Stdin = strings.NewReader(string(text))
	output, err := command.CombinedOutput()
	require.NoError(f.t, err, "%s", output)
}
