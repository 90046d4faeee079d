package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stateful-postgres/internal/stack"
)

// deletionSection is the heading in README.md.
const deletionSection = "When the volume is being deleted"

// rescue types the steps of README.md after which a server has its rows again,
// and requires what holds in between.
type rescue struct {
	*fixture
	steps []string
	// content and identity are what has to be there again, and volume where.
	content, identity, volume string
}

const content = "select count(*), md5(string_agg(str, ',' order by str)) from stateful"

// newRescue starts a server with rows.
func newRescue(t *testing.T, subject string) *rescue {
	t.Helper()
	r := &rescue{fixture: setup(t, subject), steps: readmeCommands(t, deletionSection)}
	require.Len(t, r.steps, 5)
	r.up(1)
	r.sql("create table stateful (str varchar); insert into stateful select md5(i::text) from generate_series(1, 10000) i")
	r.content, r.identity = r.sql(content), r.sql("select system_identifier from pg_control_system()")
	require.Contains(t, r.content, "10000|")
	r.volume = r.kubectl("get", "pvc", claimName, "--output=jsonpath={.spec.volumeName}")
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), cleanTimeout)
		defer cancel()
		// Kept by the test's own doing, it would outlive it.
		result := r.Run(ctx, "kubectl", "patch", "pv", r.volume, `--patch={"spec":{"persistentVolumeReclaimPolicy":"Delete"}}`)
		if !result.OK() && !strings.Contains(result.Output, "NotFound") {
			t.Errorf("%s", result)
		}
	})
	return r
}

// requireRescued requires the same rows on the same volume.
func (r *rescue) requireRescued() {
	r.t.Helper()
	require.Equal(r.t, r.content, r.sql(content))
	require.Equal(r.t, r.identity, r.sql("select system_identifier from pg_control_system()"))
	require.Equal(r.t, r.volume+" Bound", r.kubectl("get", "pvc", claimName, "--output=jsonpath={.spec.volumeName} {.status.phase}"))
}

// stopped requires that neither a preview nor an update goes on, and that both say
// in one line what stands in the way.
func (f *fixture) stopped(says ...string) {
	f.t.Helper()
	for _, result := range []stack.Result{f.Preview(f.ctx), f.Up(f.ctx), f.Up(f.ctx, "--skip-preview")} {
		require.False(f.t, result.OK(), "%s", result)
		for _, text := range append(says, "1 thing stands in the way, nothing was changed:\n") {
			require.Contains(f.t, result.Output, text)
		}
	}
}

func TestClaimThatIsBeingDeletedKeepsItsRows(t *testing.T) {
	t.Parallel()
	r := newRescue(t, "doomed")
	r.kubectl("delete", "pvc", claimName, "--wait=false")
	before, server := r.objects(), r.server()

	keep := fmt.Sprintf(`first keep the volume with: kubectl patch pv %s -p '{"spec":{"persistentVolumeReclaimPolicy":"Retain"}}'`, r.volume)
	doomed := "  claim postgredb-postgres-0: got one that is being deleted, expected one that stays, because it goes when the server stops or restarts, "
	for _, change := range []struct{ key, value, had string }{
		{"replicas", "0", "1"},
		{"image", "localhost/postgres:no-such-tag", r.Image},
		{"shmSize", "128Mi", "256Mi"},
	} {
		r.ok(r.Set(r.ctx, change.key, change.value))
		r.requireRefused(doomed+"and the volume with the data goes with it; "+keep, deletionSection)
		require.Equal(t, before, r.objects(), "%s=%s", change.key, change.value)
		r.ok(r.Set(r.ctx, change.key, change.had))
	}
	r.stopped(doomed + "and the volume with the data goes with it; " + keep)
	require.Equal(t, before, r.objects())
	require.Equal(t, server, r.server())

	r.ok(r.typed(r.steps[0]))
	r.requireRefused(doomed + "which would come back on another volume; stop the server with: pulumi config set replicas 0")
	// Either way of stopping leads on: this one, and the one in README.md.
	r.ok(r.Set(r.ctx, "replicas", "0"))
	stopping := r.ok(r.Up(r.ctx))
	require.Contains(t, stopping, "the data stays on volume "+r.volume)
	r.eventually("the claim to go", 3*time.Minute, func() (string, bool) {
		seen := r.Kubectl(r.ctx, "get", "pvc", claimName)
		return seen.String(), strings.Contains(seen.Output, "NotFound")
	})
	r.ok(r.Set(r.ctx, "replicas", "1"))
	r.requireRefused("volumeName", "belongs to an earlier claim postgredb-postgres-0")
	r.ok(r.typed(r.steps[1]))
	r.ok(r.typed(r.steps[2]))
	r.ok(r.Up(r.ctx))
	r.requireRescued()
	r.ok(r.Up(r.ctx, "--expect-no-changes"))
}

func TestVolumeThatIsBeingDeletedKeepsItsRows(t *testing.T) {
	t.Parallel()
	r := newRescue(t, "sinking")
	r.ok(r.Run(r.ctx, "kubectl", "delete", "pv", r.volume, "--wait=false"))
	before := r.objects()
	r.stopped("volume "+r.volume+": got one that is being deleted", "first keep the volume with: kubectl patch pv "+r.volume)
	require.Equal(t, before, r.objects())

	r.ok(r.typed(r.steps[0]))
	r.ok(r.typed(r.steps[1]))
	r.eventually("the volume to go", 3*time.Minute, func() (string, bool) {
		seen := r.Run(r.ctx, "kubectl", "get", "pv", r.volume)
		return seen.String(), strings.Contains(seen.Output, "NotFound")
	})
	r.ok(r.typed(r.steps[3]))
	r.up(1)
	r.requireRescued()
}

func TestNamespaceThatIsBeingDeletedKeepsItsRows(t *testing.T) {
	t.Parallel()
	r := newRescue(t, "leaving")
	// It stays as long as this does.
	r.create(map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap",
		"metadata": map[string]any{"name": "anchor", "finalizers": []string{"example.com/anchor"}},
	})
	r.ok(r.typed(r.steps[0]))
	r.ok(r.Run(r.ctx, "kubectl", "delete", "namespace", r.Namespace, "--wait=false"))
	r.eventually("nothing but the anchor", 4*time.Minute, func() (string, bool) {
		seen := r.Run(r.ctx, "kubectl", "get", "namespace", r.Namespace, "--output=jsonpath={.status.conditions[*].message}")
		return seen.String(), strings.Contains(seen.Stdout, "example.com/anchor")
	})
	r.stopped("namespace "+r.Namespace+": got one that is being deleted", "kubectl wait namespace "+r.Namespace, "example.com/anchor in 1 resource instances")
	r.kubectl("patch", "configmap", "anchor", `--patch={"metadata":{"finalizers":null}}`)
	r.ok(r.Run(r.ctx, "kubectl", "wait", "namespace", r.Namespace, "--for=delete", "--timeout=2m"))

	r.ok(r.typed(r.steps[2]))
	r.up(1)
	r.requireRescued()
}

func TestObjectThatIsBeingDeletedIsNotWrittenTo(t *testing.T) {
	t.Parallel()
	f := setup(t, "fading")
	f.up(1)
	for kind, name := range map[string]string{"secret": "postgres-credentials", "configmap": "postgres-config", "service": "postgres"} {
		f.kubectl("patch", kind, name, `--patch={"metadata":{"finalizers":["example.com/wait"]}}`)
		f.kubectl("delete", kind, name, "--wait=false")
		f.stopped(fmt.Sprintf(" %s: got one that is being deleted, expected one that stays, or none, because what is written to this one goes with it; "+
			"wait until it is gone with: kubectl wait -n %s %s %s --for=delete --timeout=5m, and then run pulumi up again; "+
			"it waits for whoever has to take away its finalizers: example.com/wait", name, f.Namespace, kind, name))
		f.kubectl("patch", kind, name, `--patch={"metadata":{"finalizers":null}}`)
		f.kubectl("wait", kind, name, "--for=delete", "--timeout=1m")
		f.ok(f.Up(f.ctx))
	}
	f.verify(proven)
}

func TestClaimWhoseVolumeIsGoneIsRefused(t *testing.T) {
	t.Parallel()
	f := setup(t, "adrift")
	f.createNamespace()
	// Nothing is behind it, so that nothing is left of it.
	f.create(map[string]any{
		"apiVersion": "v1", "kind": "PersistentVolume", "metadata": f.ownedByNamespace(f.Name),
		"spec": map[string]any{
			"storageClassName": f.Name, "accessModes": []string{"ReadWriteOnce"}, "capacity": map[string]any{"storage": "1Gi"},
			"persistentVolumeReclaimPolicy": "Retain", "hostPath": map[string]any{"path": "/nonexistent"},
		},
	})
	f.ok(f.Set(f.ctx, "volumeName", f.Name))
	f.up(0)
	f.kubectl("wait", "pvc", claimName, "--for=jsonpath={.status.phase}=Bound", "--timeout=1m")
	f.ok(f.Run(f.ctx, "kubectl", "delete", "pv", f.Name, "--wait=false"))
	f.ok(f.Run(f.ctx, "kubectl", "patch", "pv", f.Name, `--patch={"metadata":{"finalizers":null}}`))
	f.kubectl("wait", "pvc", claimName, "--for=jsonpath={.status.phase}=Lost", "--timeout=1m")

	f.ok(f.Unset(f.ctx, "volumeName"))
	f.ok(f.Set(f.ctx, "replicas", "1"))
	f.stopped("  claim postgredb-postgres-0: got one whose volume " + f.Name + " is gone, expected one that is bound; restore the volume under its name, " +
		"or give the claim up with: kubectl delete -n " + f.Namespace + " pvc postgredb-postgres-0, and then run pulumi up again\n")
	f.kubectl("delete", "pvc", claimName, "--wait")
	f.up(1)
	f.verify(proven)
}
