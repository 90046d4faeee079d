package e2e

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestServerThatWouldNotStartIsFoundBeforeTheOldOneStops(t *testing.T) {
	t.Parallel()
	f := setup(t, "check")
	f.ok(f.Set(f.ctx, "tls", "true"))
	f.ok(f.SetPath(f.ctx, "resources.limits.memory", "512Mi"))
	f.up(1)
	objects, server := f.unchecked(), f.server()
	for _, c := range []struct{ name, value, says string }{
		{"ssl_ciphers", "TLS_AES_256_GCM_SHA384", "could not set the cipher list"},
		{"huge_pages", "on", "could not map anonymous shared memory"},
		{"shared_buffers", "1GB", "the server may use 512 MB of memory"},
		{"session_preload_libraries", "no_such_library", `could not access file "no_such_library"`},
	} {
		f.ok(f.SetPath(f.ctx, "parameters."+c.name, c.value))
		refused := f.Up(f.ctx)
		require.False(t, refused.OK(), "%s: %s", c.name, refused)
		require.Contains(t, refused.Output, c.says, c.name)
		require.Equal(t, objects, f.unchecked(), c.name)
		require.Equal(t, server, f.server(), c.name)
		f.ok(f.UnsetPath(f.ctx, "parameters."+c.name))
	}
	f.ok(f.Up(f.ctx))
	require.Equal(t, objects, f.unchecked())
	f.verify(proven)
}

func TestQuotaThatLeavesNoRoomForTheCheckIsNamedAtOnce(t *testing.T) {
	t.Parallel()
	f := setup(t, "quota")
	for path, value := range map[string]string{
		"resources.requests.cpu": "100m", "resources.requests.memory": "256Mi", "resources.limits.cpu": "1", "resources.limits.memory": "512Mi",
	} {
		f.ok(f.SetPath(f.ctx, path, value))
	}
	f.up(1)
	before := f.server()
	quota := func(memory string) map[string]any {
		return map[string]any{
			"apiVersion": "v1", "kind": "ResourceQuota", "metadata": map[string]any{"name": "small"},
			"spec": map[string]any{"hard": map[string]any{
				"limits.cpu": "2", "limits.memory": memory, "requests.cpu": "2", "requests.memory": "2Gi",
			}},
		}
	}
	f.create(quota("600Mi"))
	f.ok(f.SetPath(f.ctx, "parameters.work_mem", "8MB"))
	started := time.Now()
	f.upUntil("Job postgres-check", "exceeded quota: small")
	t.Logf("said %s after the start of pulumi up", time.Since(started).Round(time.Second))
	require.Equal(t, before, f.server())

	// What kept the check from running has passed, and nothing else has changed.
	f.give(quota("2Gi"), "apply")
	f.upAfterKill()
	require.Equal(t, before, f.server(), "a reload is enough")
	f.verify(proven)
}

func TestClaimThatNeverHadAVolumeIsReplaced(t *testing.T) {
	t.Parallel()
	f := setup(t, "unbound")
	f.ok(f.Set(f.ctx, "storageClass", "no-such-class"))
	f.ok(f.Set(f.ctx, "replicas", "1"))
	f.upUntil("claim postgredb-postgres-0 has no volume", `"no-such-class" not found`)
	f.ok(f.Unset(f.ctx, "storageClass"))
	f.upAfterKill()
	f.verify(proven)
	f.ok(f.Up(f.ctx, "--expect-no-changes"))
}

func TestVolumeThatBelongsToRootIsGivenToTheServer(t *testing.T) {
	t.Parallel()
	f := setup(t, "owner")
	folder := filepath.Join(os.TempDir(), f.Name)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(folder)) })
	f.ok(f.Set(f.ctx, "fixVolumeOwner", "true"))
	// An account without a name in the image, which belongs to nothing yet.
	f.ok(f.Set(f.ctx, "runAsUser", "4711"))
	f.up(0)
	f.create(map[string]any{
		"apiVersion": "v1", "kind": "PersistentVolume", "metadata": f.ownedByNamespace(f.Name),
		"spec": map[string]any{
			"capacity": map[string]any{"storage": "1Gi"}, "accessModes": []string{"ReadWriteOnce"}, "storageClassName": "",
			"persistentVolumeReclaimPolicy": "Retain",
			"hostPath":                      map[string]any{"path": folder, "type": "DirectoryOrCreate"},
		},
	})
	f.ok(f.Set(f.ctx, "volumeName", f.Name))
	f.up(1)
	require.Equal(t, "4711", f.kubectl("exec", pod, "--", "id", "-u"))
	require.Equal(t, "4711", f.kubectl("exec", pod, "--", "stat", "-c", "%u", "/var/lib/postgredb/pgdata/PG_VERSION"))
	f.verify(proven)

	// Its files may go to another user.
	f.ok(f.Set(f.ctx, "runAsUser", "999"))
	f.up(1)
	require.Equal(t, "999", f.kubectl("exec", pod, "--", "stat", "-c", "%u", "/var/lib/postgredb/pgdata/PG_VERSION"))
	f.verify(proven)
	f.ok(f.Set(f.ctx, "fixVolumeOwner", "false"))
	f.ok(f.Set(f.ctx, "runAsUser", "70"))
	f.refused(`runAsUser: got "70", expected 999, because the volume belongs to that user; ` +
		`set it with: pulumi config set runAsUser 999, or give the volume to the other one with: pulumi config set fixVolumeOwner true`)
}

func TestReasonOfACrashIsNamed(t *testing.T) {
	t.Parallel()
	f := setup(t, "crash")
	f.up(1)
	f.up(0)
	const control = "/volume/pgdata/global/pg_control"
	f.onVolume("cp -p " + control + " " + control + ".kept && printf x | dd of=" + control + " conv=notrunc 2>/dev/null")
	f.ok(f.Set(f.ctx, "replicas", "1"))
	f.upUntil("pod postgres-0 does not start: ", "FATAL: ")
	f.ok(f.Set(f.ctx, "replicas", "0"))
	f.upAfterKill()
	f.onVolume("mv " + control + ".kept " + control)
	f.up(1)
	f.verify(proven)
}
