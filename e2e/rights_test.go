package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// kubeconfigOf is a kubeconfig for a service account that is made for it in the
// stack's namespace.
func (f *fixture) kubeconfigOf(account string) string {
	f.t.Helper()
	f.create(map[string]any{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": map[string]any{"name": account}})
	token := f.kubectl("create", "token", account, "--duration=1h")
	return f.kubeconfigWith(func(config map[string]any) {
		config["users"] = []any{map[string]any{"name": "user", "user": map[string]any{"token": token}}}
	})
}

// kubeconfigWith is the kubeconfig of the tests, as JSON, with a change.
func (f *fixture) kubeconfigWith(change func(config map[string]any)) string {
	f.t.Helper()
	var config map[string]any
	require.NoError(f.t, json.Unmarshal([]byte(f.kubectl("config", "view", "--minify", "--flatten", "--output=json")), &config))
	cluster := config["clusters"].([]any)[0].(map[string]any)["name"]
	config["contexts"] = []any{map[string]any{"name": "context", "context": map[string]any{"cluster": cluster, "user": "user"}}}
	config["current-context"] = "context"
	users := config["users"].([]any)
	users[0].(map[string]any)["name"] = "user"
	change(config)
	text, err := json.Marshal(config)
	require.NoError(f.t, err)
	return string(text)
}

func TestRightsInOneNamespaceAreEnough(t *testing.T) {
	t.Parallel()
	f := setup(t, "tenant")
	f.createNamespace()
	f.kubectl("create", "rolebinding", "tenant", "--clusterrole=admin", "--serviceaccount="+f.Namespace+":tenant")
	f.ok(f.SetSecret(f.ctx, "kubernetes:kubeconfig", f.kubeconfigOf("tenant")))

	first := f.up(1)
	const hidden = "these credentials may not read some things, so that they are not checked beforehand: namespace kube-system (another cluster goes unnoticed)"
	require.Contains(t, first, hidden)
	require.NotContains(t, first, "did not answer")
	require.Equal(t, "", f.outputs()["clusterUid"])
	again := f.ok(f.Up(f.ctx, "--expect-no-changes"))
	volume := f.kubectl("get", "pvc", claimName, "--output=jsonpath={.spec.volumeName}")
	require.Contains(t, again, hidden+"; storage class folder (whether its volumes can grow); volume "+volume+" (whether it outlives its claim, and its deletion)")
	f.up(0)
	f.up(1)
	require.Equal(t, "1", f.sql("select 1"))
}

func TestReasonsNotToSeeTheClusterAreToldApart(t *testing.T) {
	t.Parallel()
	f := setup(t, "blind")
	f.createNamespace()
	stranger := f.kubeconfigOf("stranger")
	server := f.kubectl("config", "view", "--minify", "--output=jsonpath={.clusters[0].cluster.server}")
	const correct = "correct kubernetes:context or kubernetes:kubeconfig; see: "
	for _, test := range []struct{ name, kubeconfig, context, says string }{
		{
			name: "no rights", kubeconfig: stranger,
			says: fmt.Sprintf("these credentials may not read configmaps, persistentvolumeclaims, secrets, services, statefulsets in namespace %s: ", f.Namespace),
		},
		{
			name: "unknown credentials", kubeconfig: f.kubeconfigWith(func(config map[string]any) {
				config["users"] = []any{map[string]any{"name": "user", "user": map[string]any{"token": "nobody"}}}
			}),
			says: "the cluster at " + server + " does not know these credentials: ",
		},
		{
			name: "nobody there", kubeconfig: f.kubeconfigWith(func(config map[string]any) {
				config["clusters"].([]any)[0].(map[string]any)["cluster"].(map[string]any)["server"] = "https://127.0.0.1:1"
			}),
			says: "the cluster at https://127.0.0.1:1 did not answer: ",
		},
		{
			name: "another context", context: "elsewhere",
			says: `kubeconfig: context "elsewhere" does not exist; nothing was changed; ` + correct + "kubectl config get-contexts",
		},
	} {
		for _, key := range []string{"kubernetes:kubeconfig", "kubernetes:context"} {
			f.ok(f.Unset(f.ctx, key))
		}
		if test.kubeconfig != "" {
			f.ok(f.SetSecret(f.ctx, "kubernetes:kubeconfig", test.kubeconfig))
		}
		if test.context != "" {
			f.ok(f.Set(f.ctx, "kubernetes:context", test.context))
		}
		refused := f.Preview(f.ctx)
		require.False(t, refused.OK(), "%s: %s", test.name, refused)
		require.Contains(t, refused.Output, test.says, test.name)
		require.Equal(t, 1, strings.Count(refused.Output, "nothing was changed"), "%s: %s", test.name, refused)
	}
}
