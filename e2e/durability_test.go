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
	"stateful-postgres/internal/stack"
)

// durabilityCommand is verify durability for the stack, which says what it finds as JSON.
func (f *fixture) durabilityCommand(flags ...string) []string {
	return f.DurabilityArguments(append([]string{"--output", "json"}, flags...)...)
}

// durability breaks the servers of the stack while verify writes, and requires an exit code.
func (f *fixture) durability(code int, flags ...string) stack.Proof {
	f.t.Helper()
	return f.readDurability(code, f.Run(f.ctx, f.durabilityCommand(flags...)...))
}

func (f *fixture) readDurability(code int, result stack.Result) stack.Proof {
	f.t.Helper()
	require.Equal(f.t, code, result.ExitCode, "%s", result)
	said, err := stack.ReadProof(result.Stdout)
	require.NoError(f.t, err, "%s", result)
	require.Equal(f.t, code, said.ExitCode)
	return said
}

// requireStruck requires that each of these faults struck, hit something, and came to its end.
func (f *fixture) requireStruck(said stack.Proof, kinds ...string) {
	f.t.Helper()
	struck := map[string]bool{}
	for _, fault := range said.Durability.Faults {
		require.Empty(f.t, fault.Problem, "%+v", fault)
		struck[fault.Kind] = true
		f.t.Logf("%s: %.1f s without an acknowledged write, %d in flight", fault.Kind, float64(fault.PauseMS)/1000, fault.InFlight)
	}
	for _, kind := range kinds {
		require.True(f.t, struck[kind], "%s did not strike: %+v", kind, said.Durability.Faults)
	}
}

// requireCounted has psql alone count the rows of a run: each that was acknowledged is there, and
// none that was neither acknowledged nor without an answer.
func (f *fixture) requireCounted(said stack.Proof, query func(string) string) {
	f.t.Helper()
	writes := said.Durability.Writes
	require.NotZero(f.t, writes.Acknowledged)
	require.NotNil(f.t, said.Rows)
	require.Equal(f.t, fmt.Sprint(writes.Acknowledged+writes.Survived),
		query(fmt.Sprintf("select count(distinct seq) from verify.rows where run = %d", said.Durability.Run)))
}

// durabilityTimeout is for one fault of each kind, with what takes its time on a loaded machine.
const durabilityTimeout = 2 * testTimeout

func TestDurabilityOfOneServer(t *testing.T) {
	t.Parallel()
	f := setupFor(t, "durability", durabilityTimeout)
	f.ownDisks(1)
	f.up(1)
	kinds := []string{"pod-delete", "pod-kill", "disk-full", "slow-disk", "process-kill", "backend-kill", "evict", "restart", "scale", "client-kill"}
	history, page := filepath.Join(f.Folder, "history.json.gz"), filepath.Join(f.Folder, "page.html")
	said := f.durability(proven, "--fault", strings.Join(kinds, ","), "--every", "2s", "--times", "1", "--writers", "4", "--seed", "1",
		"--history", history, "--report", page)
	f.requireStruck(said, kinds...)
	f.requireCounted(said, f.sql)
	html, err := os.ReadFile(page)
	require.NoError(t, err)
	require.Contains(t, string(html), kinds[0])

	again := f.readDurability(proven, f.Run(f.ctx, workspace.Verify, "durability", "--output", "json", "--replay", history))
	require.Equal(t, said.Durability, again.Durability)
	require.Equal(t, said.Rows, again.Rows)

	// What cannot be done here is refused, and nothing is struck.
	before := f.server()
	refused := f.Run(f.ctx, f.durabilityCommand("--fault", "switchover,no-such")...)
	require.Equal(t, usage, refused.ExitCode, "%s", refused)
	require.Contains(t, refused.Output, "--fault switchover: not possible here: it needs 2 servers with highAvailability")
	require.Contains(t, refused.Output, `--fault "no-such"`)
	require.Equal(t, before, f.server())
	listed := f.ok(f.Run(f.ctx, f.durabilityCommand("--list-faults")...))
	require.Regexp(t, `(?m)^✓ pod-kill `, listed)
	require.Regexp(t, `(?m)^- switchover .*not here`, listed)
}

// What is known to lose data has to be found. Each of these promises was taken back by hand.

// A server that acknowledges before the log is on disk.
func TestDurabilityFindsAsynchronousCommits(t *testing.T) {
	t.Parallel()
	f := setup(t, "asynccommit")
	f.ok(f.SetPath(f.ctx, "parameters.synchronous_commit", "off"))
	f.up(1)
	f.requireLost(f.durability(violated, "--fault", "process-kill", "--every", "3s", "--duration", "20s"))
}

// requireLost requires that rows are named that were acknowledged and are gone.
func (f *fixture) requireLost(said stack.Proof) {
	f.t.Helper()
	require.NotNil(f.t, said.Rows)
	require.Positive(f.t, said.Rows.Lost)
	for _, check := range said.Checks {
		for _, row := range check.Rows {
			if row.Finding == "lost" {
				f.t.Logf("%s: the first is row %d of run %d", said.Summary, row.Seq, row.Run)
				return
			}
		}
	}
	require.Fail(f.t, "no lost row is named", "%+v", said)
}

// untilWritten returns when verify has written some rows.
func (f *fixture) untilWritten() {
	f.t.Helper()
	f.eventually("commits", time.Minute, func() (string, bool) {
		seen := f.psql(pod, "select count(*) > 1000 from verify.rows")
		return seen.String(), strings.TrimSpace(seen.Stdout) == "t"
	})
}

// A copy of the volume that is put back under a running stack.
func TestDurabilityFindsAnOldVolume(t *testing.T) {
	t.Parallel()
	f := setup(t, "oldvolume")
	f.up(1)
	f.verify(proven)
	f.up(0)
	f.onVolume("cp -a /volume/pgdata /volume/copy")
	f.up(1)
	f.verify(proven)
	ended := make(chan stack.Result, 1)
	go func() { ended <- f.Run(f.ctx, f.durabilityCommand("--fault", "none", "--duration", "90s")...) }()
	f.untilWritten()
	f.kubectl("scale", "statefulset", contract.StatefulSet, "--replicas=0")
	f.kubectl("wait", "pod/"+pod, "--for=delete", "--timeout=1m")
	f.onVolume("rm -r /volume/pgdata && mv /volume/copy /volume/pgdata")
	f.kubectl("scale", "statefulset", contract.StatefulSet, "--replicas=1")
	said := f.readDurability(violated, <-ended)
	f.requireLost(said)
}

// Several servers, and what happens to nodes: alone on the cluster.
func TestMembersDurability(t *testing.T) {
	f := setupFor(t, "durability", durabilityTimeout)
	m := openMembers(t, f, 3)
	m.site.Writer.Halt()
	// Those that the other tests of several servers do not meet.
	kinds := []string{"restart", "standby-pod-kill", "all-process-kill", "leader-evict", "standby-partition", "leader-kubelet-stop", "apiserver-stop", "client-kill"}
	said := f.durability(proven, "--fault", strings.Join(kinds, ","), "--every", "2s", "--times", "1", "--writers", "4", "--seed", "1")
	f.requireStruck(said, kinds...)
	f.requireCounted(said, m.query)
}

// Clients that exchange values while the primary changes.
func TestMembersRegistersAreLinearizable(t *testing.T) {
	t.Parallel()
	f := setupFor(t, "registers", durabilityTimeout)
	m := openMembers(t, f, 3)
	m.site.Writer.Halt()
	kinds := []string{"switchover", "leader-pod-kill", "leader-process-kill", "leader-patroni-kill"}
	said := f.durability(proven, "--workload", "register", "--fault", strings.Join(kinds, ","), "--every", "2s", "--times", "1", "--seed", "1")
	f.requireStruck(said, kinds...)
	m.untilSegmentIsNew()
	for _, check := range said.Checks {
		if check.Name == "linearizable" {
			require.Equal(t, "passed", check.Status)
			t.Log(check.Detail)
			return
		}
	}
	require.Fail(t, "nothing is said about what the clients saw", "%+v", said)
}

// untilSegmentIsNew returns when the primary writes to a segment of the log that no earlier timeline has.
func (m *members) untilSegmentIsNew() {
	m.t.Helper()
	require.Greater(m.t, m.query("select timeline_id from pg_control_checkpoint()"), "1")
	m.eventually("a segment of the log for the new timeline", time.Minute, func() (string, bool) {
		timelines := m.query("select count(*) from pg_ls_waldir() where substr(name, 9) = substr(pg_walfile_name(pg_current_wal_lsn()), 9)")
		return timelines + " timelines have the current one", timelines == "1"
	})
}
