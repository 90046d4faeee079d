package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stateful-postgres/internal/contract"
)

// smallVolume is the size of a disk of smallVolumes, in bytes.
const smallVolume = 512 << 20

// disk is a file of this machine, as a block device.
type disk struct{ file, device string }

// smallVolumes are a storage class of this name, with a disk for each server that
// can really be full.
func (f *fixture) smallVolumes(class string, number int) (disks []disk) {
	f.t.Helper()
	f.create(map[string]any{
		"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": f.ownedByNamespace(class),
		"provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "WaitForFirstConsumer",
	})
	for ordinal := range number {
		file := filepath.Join(f.t.TempDir(), "disk")
		require.NoError(f.t, os.WriteFile(file, nil, 0o600))
		require.NoError(f.t, os.Truncate(file, smallVolume))
		attached := f.Run(f.ctx, "losetup", "--find", "--show", file)
		require.NoError(f.t, attached.Err(), "a disk that can be full is a loop device, which this machine must be able to make")
		device := strings.TrimSpace(attached.Stdout)
		disks = append(disks, disk{file, device})
		f.t.Cleanup(func() {
			// The kernel waits until nobody has it mounted.
			if result := f.Run(interrupted, "losetup", "--detach", device); !result.OK() {
				f.t.Errorf("%s", result)
			}
		})
		f.create(map[string]any{
			"apiVersion": "v1", "kind": "PersistentVolume", "metadata": f.ownedByNamespace(fmt.Sprintf("%s-%d", class, ordinal)),
			"spec": map[string]any{
				"capacity": map[string]any{"storage": "512Mi"}, "accessModes": []string{"ReadWriteOnce"},
				"storageClassName": class, "persistentVolumeReclaimPolicy": "Retain",
				"local":    map[string]any{"path": device, "fsType": "ext4"},
				"claimRef": map[string]any{"namespace": f.Namespace, "name": contract.ClaimName(ordinal)},
				"nodeAffinity": map[string]any{"required": map[string]any{"nodeSelectorTerms": []any{map[string]any{
					"matchExpressions": []any{map[string]any{"key": "kubernetes.io/os", "operator": "In", "values": []string{"linux"}}},
				}}}},
			},
		})
	}
	return disks
}

func TestMembersOutliveAFullVolume(t *testing.T) {
	t.Parallel()
	f := setupFor(t, "disk", 2*testTimeout)
	f.createNamespace()
	f.smallVolumes(f.Name, 3)
	f.ok(f.Set(f.ctx, "storageClass", f.Name))
	f.ok(f.Set(f.ctx, "storage", "512Mi"))
	f.ok(f.SetPath(f.ctx, "parameters.max_wal_size", "96MB"))
	m := openMembers(t, f, 3)
	for _, which := range []string{"standby", "primary"} {
		m.settled(3)
		m.progress()
		full := m.primary()
		if which == "standby" {
			full = m.trusted()[0]
		}
		m.longestPause()
		// Until the disk is full; what was written stays.
		m.Kubectl(m.ctx, "exec", full, "--", "sh", "-c", `cat /dev/zero >"${PGDATA%/*}/filler"`)
		fill := "create table filler as select repeat(md5(i::text), 20) from generate_series(1, 100000) i; drop table filler"
		if which == "standby" {
			// More than the log has left in files that are there already.
			m.query(fill)
			m.progress()
			require.NotEqual(t, full, m.primary())
		} else {
			// Who has no room says so to its clients, and acknowledges nothing. Only where
			// the log itself cannot go on another one takes over.
			result := m.psql(full, fill)
			require.False(t, result.OK(), "%s", result)
		}
		m.requireEverything()
		t.Logf("the %s's volume is full: %s without an acknowledged write", which, m.longestPause())
		m.eventually("room on the volume", 3*time.Minute, func() (string, bool) {
			result := m.Kubectl(m.ctx, "exec", full, "--", "sh", "-c", `rm "${PGDATA%/*}/filler"`)
			return result.String(), result.OK()
		})
		m.progress()
		m.settled(3)
		m.requireEverything()
		m.verify(proven)
	}

	// A standby that is away for long does not fill the primary's volume.
	m.settled(3)
	m.handOver(pod)
	m.settled(3)
	away := contract.PodName(2)
	m.onClaim(2, "holder", "flock /volume/pgdata.lock sleep 3600")
	m.kubectl("delete", "pod", away)
	m.eventually("the slot of a standby that is away to be given up", 3*time.Minute, func() (string, bool) {
		m.query("create table if not exists filler (text text)")
		m.query("insert into filler select repeat(md5(i::text), 20) from generate_series(1, 50000) i")
		m.query("truncate filler")
		seen := m.query("select count(*) filter (where wal_status = 'lost') || ' of ' || count(*) from pg_replication_slots")
		return seen, seen == "1 of 2"
	})
	m.progress()
	m.kubectl("delete", "pod", "holder", "--grace-period=1")
	m.settled(3)
	m.requireEverything()
	m.verify(proven)
}
