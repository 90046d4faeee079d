package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stateful-postgres/internal/contract"
	"stateful-postgres/internal/stack"
)

// What makes verify end with 1: a promise that somebody took back by hand.

// The promise is not kept while nobody waits for a standby. Alone on the cluster: a
// node is cut off.
func TestMembersLossWithoutThePromiseIsFound(t *testing.T) {
	m := setupMembers(t, "async", 2)
	m.site.Writer.Halt()
	m.settled(2)
	m.verify(proven)
	primary := m.primary()
	standby := contract.PodName(1)
	require.Equal(t, pod, primary)
	// A client whose rows no standby can have, and who waits for one.
	node, err := m.site.Node(m.ctx, standby)
	require.NoError(t, err)
	m.ok(m.Run(m.ctx, "localkube", "node", "disconnect", node))
	t.Cleanup(func() { m.ok(m.Run(interrupted, "localkube", "node", "connect", node)) })
	// By way of the API server: the node may be the one that clients come through.
	written := make(chan stack.Result, 1)
	go func() {
		written <- m.Run(m.ctx, workspace.Verify, "fill", "--rows", "50", "--via", "port-forward", "--stack", m.Name, "--ledger", m.Ledger())
	}()
	m.eventually("a COMMIT that waits for a standby", 3*time.Minute, func() (string, bool) {
		waits := m.query("select count(*) from pg_stat_activity where wait_event = 'SyncRep' and application_name like 'verify%'")
		return waits, waits != "0"
	})
	// As somebody does who wants the writes to go on, whatever it costs.
	promise := m.kubectl("get", "configmap", contract.MembersConfig, "--output=jsonpath={.metadata.annotations.config}")
	broken := strings.NewReplacer(`"synchronous_mode":true`, `"synchronous_mode":false`, `"synchronous_mode_strict":true`, `"synchronous_mode_strict":false`).Replace(promise)
	require.NotEqual(t, promise, broken)
	m.kubectl("annotate", "configmap", contract.MembersConfig, "--overwrite", "config="+broken)
	// The rows are there; that one server is not could be seen, too.
	fill := <-written
	require.Equal(t, couldNotTell, fill.ExitCode, "%s", fill)
	m.verify(violated, "--via", "port-forward")
	// The primary and its disk are gone for good.
	m.kubectl("delete", "pvc", contract.ClaimName(0), "--wait=false")
	m.kubectl("delete", "pod", primary, "--force", "--grace-period=0")
	m.ok(m.Run(m.ctx, "localkube", "node", "connect", node))
	m.eventually("another primary", 4*time.Minute, func() (string, bool) {
		seen, err := m.site.Primary(m.ctx)
		return fmt.Sprint(seen, err), seen == standby
	})
	// All looks well again, but for the rows.
	m.kubectl("annotate", "configmap", contract.MembersConfig, "--overwrite", "config="+promise)
	m.settled(2)
	require.Regexp(t, `lost: run \d+ row \d+`, m.verify(violated))
}

func TestMembersLossByTheWrongServerIsFound(t *testing.T) {
	t.Parallel()
	m := setupMembers(t, "elected", 2)
	m.settled(2)
	m.site.Writer.Halt()
	m.verify(proven)
	// Only the first has the rows that come now.
	m.up(1)
	m.verify(proven, "--rows", "50")
	m.up(0)
	m.kubectl("annotate", "configmap", contract.MembersSync, "leader-", "sync_standby-")
	m.kubectl("annotate", "configmap", contract.MembersSync, "leader="+contract.PodName(1))
	// Beside the one that has more, Patroni elects no other.
	m.holdVolume(0)
	m.ok(m.Set(m.ctx, "replicas", "2"))
	u := m.startUp()
	m.eventually("the one that lacks rows to take the writes", 3*time.Minute, func() (string, bool) {
		seen, err := m.site.SeenPrimary(m.ctx)
		return fmt.Sprint(seen, err), seen == contract.PodName(1)
	})
	m.letGo()
	require.NoError(t, u.wait(), "%s", u.printed.String())
	m.settled(2)
	require.Regexp(t, `lost: run \d+ row \d+`, m.verify(violated))
}
