package e2e

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stateful-postgres/internal/contract"
	"stateful-postgres/internal/stack"
)

// ownDisks gives each server a disk that can really be full.
func (f *fixture) ownDisks(number int) []stack.Disk {
	f.t.Helper()
	disks, err := f.OwnDisks(f.ctx, number)
	require.NoError(f.t, err)
	return disks
}

func TestMembersOutliveAFullVolume(t *testing.T) {
	t.Parallel()
	f := setupFor(t, "disk", 2*testTimeout)
	f.ownDisks(3)
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
	m.holdVolume(2)
	m.kubectl("delete", "pod", away)
	m.eventually("the slot of a standby that is away to be given up", 3*time.Minute, func() (string, bool) {
		m.query("create table if not exists filler (text text)")
		m.query("insert into filler select repeat(md5(i::text), 20) from generate_series(1, 50000) i")
		m.query("truncate filler")
		seen := m.query("select count(*) filter (where wal_status = 'lost') || ' of ' || count(*) from pg_replication_slots")
		return seen, seen == "1 of 2"
	})
	m.progress()
	m.letGo()
	m.settled(3)
	m.requireEverything()
	m.verify(proven)
}
