package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stateful-postgres/internal/contract"
	"stateful-postgres/internal/stack"
)

func TestSettingsThatDoNotFitTheDataChangeNothing(t *testing.T) {
	t.Parallel()
	f := setup(t, "misfit")
	f.createNamespace()
	rigid := f.Name
	f.createStorageClass(rigid, false)
	f.ok(f.Set(f.ctx, "storageClass", rigid))
	// The Job of the parameters is an object like the others.
	f.ok(f.SetPath(f.ctx, "parameters.work_mem", "8MB"))
	f.up(1)
	f.verify(proven)
	before := f.objects()
	require.Contains(t, before, "Namespace/"+f.Namespace)
	require.Contains(t, before, "ConfigMap/"+contract.Marker)
	require.Contains(t, before, "NetworkPolicy/postgres")
	require.Contains(t, before, "Job/postgres-check")

	const newStack = "; for other data use another stack with a namespace of its own"
	for _, c := range []struct{ key, value, had, refusal string }{
		{
			key: "accessModes", value: "ReadWriteMany", had: "ReadWriteOnce",
			refusal: `accessModes: got "ReadWriteMany", expected ReadWriteOnce, because the access modes of the volume that holds the data cannot change; ` +
				`set it with: pulumi config set accessModes ReadWriteOnce` + newStack,
		},
		{
			key: "storageClass", value: "another", had: rigid,
			refusal: fmt.Sprintf(`storageClass: got "another", expected %[1]s, because the storage class of the volume that holds the data cannot change; `+
				`set it with: pulumi config set storageClass %[1]s`, rigid) + newStack,
		},
		{
			key: "namespace", value: f.Namespace + "-two", had: f.Namespace,
			refusal: fmt.Sprintf(`namespace: got "%[1]s-two", expected %[1]s, because the data is there and cannot move to another namespace; `+
				`set it with: pulumi config set namespace %[1]s`, f.Namespace) + newStack,
		},
		{
			key: "database", value: "shop", had: "codewizard",
			refusal: `database: got "shop", expected codewizard, because the volume was initialized with it; ` +
				`set it with: pulumi config set database codewizard` + newStack,
		},
		{
			key: "user", value: "clerk", had: "codewizard",
			refusal: `user: got "clerk", expected codewizard, because the volume was initialized with it; ` +
				`set it with: pulumi config set user codewizard` + newStack,
		},
		{
			key: "storage", value: "512Mi", had: "1Gi",
			refusal: `storage: got "512Mi", expected at least 1Gi, because a volume cannot shrink; ` +
				`set it with: pulumi config set storage 1Gi`,
		},
		{
			key: "storage", value: "2Gi", had: "1Gi",
			refusal: fmt.Sprintf(`storage: got "2Gi", expected 1Gi, because storage class %s does not let a volume grow; `+
				`set it with: pulumi config set storage 1Gi, or set allowVolumeExpansion on the class if its volumes support it`, rigid),
		},
	} {
		f.ok(f.Set(f.ctx, c.key, c.value))
		f.refused(c.refusal)
		require.Equal(t, before, f.objects(), "%s=%s", c.key, c.value)
		f.ok(f.Set(f.ctx, c.key, c.had))
	}
	missing := f.Kubectl(f.ctx, "get", "namespace", f.Namespace+"-two")
	require.Contains(t, missing.Output, "NotFound", "%s", missing)

	other := setup(t, "intruder")
	other.ok(other.Set(other.ctx, "namespace", f.Namespace))
	other.refused(fmt.Sprintf(`namespace: got "%[1]s", expected one that does not hold the data of another stack or component, as this one does (pulumi-stateful-postgres-%[2]s); `+
		`choose another with: pulumi config set namespace, or take the data over with: kubectl annotate -n %[1]s pvc postgredb-postgres-0 pulumi.com/patchFieldManager-`,
		f.Namespace, f.Name))
	require.Equal(t, before, f.objects(), "a stack with the namespace of another one")

	f.ok(f.Up(f.ctx, "--expect-no-changes"))
	require.Equal(t, before, f.objects())
	f.verify(proven)
}

// refused requires that neither a preview nor an update goes on, and that both
// say why in one line.
func (f *fixture) refused(line string) {
	f.t.Helper()
	for _, result := range []stack.Result{
		f.Preview(f.ctx), f.Up(f.ctx), f.Up(f.ctx, "--skip-preview"),
	} {
		require.False(f.t, result.OK(), "%s", result)
		require.Contains(f.t, result.Output, "1 setting is invalid, nothing was changed:\n")
		require.Contains(f.t, result.Output, "  "+line+"\n")
	}
}

// growTimeout is for a volume to grow after the update that asks for it.
const growTimeout = time.Minute

func TestVolumeGrowsUnderTheRunningServer(t *testing.T) {
	t.Parallel()
	f := setup(t, "grow")
	f.createNamespace()
	f.createStorageClass(f.Name, true)
	f.ok(f.Set(f.ctx, "storageClass", f.Name))
	f.up(1)
	f.verify(proven)
	before, server := f.objects(), f.server()

	f.ok(f.Set(f.ctx, "storage", "2Gi"))
	f.ok(f.Up(f.ctx))
	f.eventually("the claim to have 2Gi", growTimeout, func() (string, bool) {
		seen := f.kubectl("get", "pvc", contract.ClaimName(0), "--output=jsonpath={.status.capacity.storage}")
		return seen, seen == "2Gi"
	})
	require.Equal(t, server, f.server())
	after := f.objects()
	claim := "PersistentVolumeClaim/" + contract.ClaimName(0)
	require.Equal(t, before[claim].UID, after[claim].UID)
	delete(before, claim)
	delete(after, claim)
	require.Equal(t, before, after)
	f.ok(f.Up(f.ctx, "--expect-no-changes"))
	f.verify(proven)
}
