package e2e

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stateful-postgres/internal/faults"
)

// faultTimeout is for one fault, until all servers follow again and verify has seen it.
const faultTimeout = 8 * time.Minute

// eachKind are the faults that strike: one of each kind. `make soak` lets them strike often.
var eachKind = []string{
	"switchover", "leader-pod-delete", "leader-pod-kill", "leader-process-kill", "leader-patroni-kill", "leader-drain",
	"all-pod-kill", "standby-claim-empty", "leader-node-kill", "standby-node-kill", "leader-partition", "all-node-kill-2-1-0",
}

// faultsOf are those that happen to nodes, or the others.
func faultsOf(nodes bool) []faults.Fault {
	return slices.DeleteFunc(faults.All(), func(f faults.Fault) bool {
		return f.OfNodes != nodes || !slices.Contains(eachKind, f.Name)
	})
}

func TestMembersLoseNoAcknowledgedWrite(t *testing.T) {
	t.Parallel()
	meetAll(t, "faults", faultsOf(false))
}

// Alone on the cluster: what happens to a node happens to everything on it.
func TestMembersSurviveTheirNodes(t *testing.T) {
	meetAll(t, "nodes", faultsOf(true))
}

func meetAll(t *testing.T, subject string, chosen []faults.Fault) {
	t.Helper()
	f := setupFor(t, subject, testTimeout+time.Duration(len(chosen))*faultTimeout)
	m := openMembers(t, f, 3)
	for _, fault := range chosen {
		t.Run(fault.Name, func(t *testing.T) {
			m.t = t
			pause, err := m.site.Meet(m.ctx, fault)
			require.NoError(t, err)
			m.verify(proven)
			t.Logf("%s: %s without an acknowledged write", fault.Does, pause.Round(100*time.Millisecond))
		})
		m.t = f.t
		if t.Failed() {
			return
		}
	}
}
