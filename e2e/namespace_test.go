package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A namespace that somebody else made stays as it is, and so does all that is
// theirs: their pods are admitted, and a destroy with deleteData leaves them.
func TestNamespaceOfSomebodyElseIsLeftAsItIs(t *testing.T) {
	t.Parallel()
	f := setup(t, "theirs")
	f.createNamespace()
	f.create(map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "theirs"}, "data": map[string]any{"a": "b"},
	})
	labels := map[string]any{"app": "theirs"}
	f.create(map[string]any{
		"apiVersion": "apps/v1", "kind": "Deployment", "metadata": map[string]any{"name": "theirs"},
		"spec": map[string]any{
			"replicas": 1, "selector": map[string]any{"matchLabels": labels},
			"template": map[string]any{
				"metadata": map[string]any{"labels": labels},
				// As root, with everything: the restricted standard refuses it.
				"spec": map[string]any{"containers": []any{map[string]any{
					"name": "busy", "image": f.Image, "command": []any{"sleep", "1000000"}, "securityContext": map[string]any{"runAsUser": 0},
				}}},
			},
		},
	})
	theirs := func() string {
		return f.kubectl("get", "configmap/theirs", "deployment/theirs", "--output=jsonpath={.items[*].metadata.uid}")
	}
	before, seen := theirs(), f.kubectl("get", "namespace", f.Namespace, "--output=jsonpath={.metadata.labels} {.metadata.annotations}")

	f.up(1)
	f.verify(proven)
	require.Equal(t, seen, f.kubectl("get", "namespace", f.Namespace, "--output=jsonpath={.metadata.labels} {.metadata.annotations}"))
	f.kubectl("delete", "pod", "--selector=app=theirs", "--wait=false")
	f.eventually("their new pod", 3*time.Minute, func() (string, bool) {
		ready := f.kubectl("get", "deployment", "theirs", "--output=jsonpath={.status.readyReplicas} of {.status.replicas}")
		return ready, strings.HasPrefix(ready, "1 of 1")
	})

	f.ok(f.Set(f.ctx, "createNamespace", "true"))
	refused := f.Preview(f.ctx)
	require.False(t, refused.OK())
	require.Contains(t, refused.Output, fmt.Sprintf(
		`createNamespace: got "true", expected nothing or false, because namespace %s is there and the component did not make it`, f.Namespace))
	f.ok(f.Set(f.ctx, "createNamespace", "false"))
	f.ok(f.Set(f.ctx, "deleteData", "true"))
	f.ok(f.Destroy(f.ctx, "--run-program"))
	require.Equal(t, before, theirs())
	require.NotContains(t, f.kubectl("get", "pvc,secret,configmap,statefulset,service", "--output=name"), "postgres")
}
