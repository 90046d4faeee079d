package e2e

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"stateful-postgres/internal/contract"
)

func TestUpPutsRightWhatWasChangedByHand(t *testing.T) {
	t.Parallel()
	f := setup(t, "byhand")
	f.up(1)
	f.verify(proven)
	wanted := f.spec()
	for _, c := range []struct {
		name   string
		change func()
	}{
		{"scaled", func() {
			f.kubectl("scale", "statefulset/"+contract.StatefulSet, "--replicas=0")
			f.kubectl("wait", "--for=delete", "pod/"+pod, "--timeout=2m")
		}},
		{"a field changed", func() {
			f.kubectl("set", "image", "statefulset/"+contract.StatefulSet, "postgres=localhost/no-such-image:1")
		}},
		{"taken over by kubectl apply", func() {
			manifest := f.manifest()
			manifest["spec"].(map[string]any)["replicas"] = 0
			f.apply(manifest)
		}},
		{"taken over by a server-side apply", func() {
			f.apply(map[string]any{
				"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": map[string]any{"name": contract.StatefulSet},
				"spec": map[string]any{
					"replicas": 0,
					"template": map[string]any{"spec": map[string]any{"terminationGracePeriodSeconds": 7}},
				},
			}, "--server-side", "--force-conflicts", "--field-manager=somebody")
		}},
	} {
		c.change()
		require.NotEqual(t, wanted, f.spec(), c.name)
		// Not --refresh: that is the project's own setting.
		f.ok(f.Up(f.ctx))
		require.Equal(t, wanted, f.spec(), c.name)
		f.ok(f.Up(f.ctx, "--expect-no-changes"))
		f.verify(proven)
	}

	// What the program says nothing about is no conflict. Whether it stays depends
	// on whether the StatefulSet was settled when the update saw it.
	f.kubectl("set", "env", "statefulset/"+contract.StatefulSet, "ADDED=yes")
	f.ok(f.Up(f.ctx))
	f.ok(f.Up(f.ctx, "--expect-no-changes"))
	f.kubectl("set", "env", "statefulset/"+contract.StatefulSet, "ADDED-")
	require.Equal(t, wanted, f.spec())

	f.up(0)
	f.kubectl("scale", "statefulset/"+contract.StatefulSet, "--replicas=1")
	f.kubectl("rollout", "status", "statefulset/"+contract.StatefulSet, "--timeout=2m")
	f.ok(f.Up(f.ctx))
	f.verify(proven)
	// The setting and the hand agree; nothing is left to fight over.
	f.kubectl("scale", "statefulset/"+contract.StatefulSet, "--replicas=1")
	f.up(1)
	f.verify(proven)
	f.ok(f.Up(f.ctx, "--expect-no-changes"))
}

// manifest is the StatefulSet as somebody gets it to edit it.
func (f *fixture) manifest() map[string]any {
	f.t.Helper()
	var manifest map[string]any
	require.NoError(f.t, json.Unmarshal([]byte(f.kubectl("get", "statefulset", contract.StatefulSet, "--output=json")), &manifest))
	return manifest
}

// spec is what the StatefulSet asks for.
func (f *fixture) spec() any { return f.manifest()["spec"] }

func (f *fixture) apply(manifest map[string]any, flags ...string) {
	f.t.Helper()
	f.give(manifest, append([]string{"apply"}, flags...)...)
}
