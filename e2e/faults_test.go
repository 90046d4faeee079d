package e2e

import (
	"flag"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/stretchr/testify/require"

	"stateful-postgres/internal/faults"
)

var (
	faultPattern = flag.String("fault", "", "regular expression for the faults of TestMembersLoseNoAcknowledgedWrite (default each kind once)")
	faultTimes   = flag.Int("times", 1, "how often each of them strikes")
)

// faultTimeout is for one fault, until all servers follow again and verify has seen it.
const faultTimeout = 8 * time.Minute

// eachKind are the faults that strike when none is asked for: one of each kind.
var eachKind = []string{
	"switchover", "leader-pod-delete", "leader-pod-kill", "leader-process-kill", "leader-patroni-kill", "leader-drain",
	"all-pod-kill", "standby-claim-empty", "leader-node-kill", "standby-node-kill", "leader-partition", "all-node-kill-2-1-0",
}

// chosenFaults are those that were asked for.
func chosenFaults(t *testing.T, ofNodes bool) []faults.Fault {
	t.Helper()
	pattern, err := regexp.Compile(*faultPattern)
	require.NoError(t, err, "-fault")
	var chosen []faults.Fault
	var names []string
	matched := false
	for _, fault := range faults.All() {
		names = append(names, fault.Name)
		if *faultPattern == "" && !slices.Contains(eachKind, fault.Name) {
			continue
		}
		if pattern.MatchString(fault.Name) {
			matched = true
			if fault.OfNodes == ofNodes {
				chosen = append(chosen, fault)
			}
		}
	}
	require.True(t, matched, "-fault %q: expected to match one or more of %s", *faultPattern, strings.Join(names, ", "))
	if len(chosen) == 0 {
		t.Skipf("-fault %q asks for none of these", *faultPattern)
	}
	return chosen
}

func TestMembersLoseNoAcknowledgedWrite(t *testing.T) {
	t.Parallel()
	meetAll(t, "faults", chosenFaults(t, false))
}

// Alone on the cluster: what happens to a node happens to everything on it.
func TestMembersSurviveTheirNodes(t *testing.T) {
	meetAll(t, "nodes", chosenFaults(t, true))
}

func meetAll(t *testing.T, subject string, chosen []faults.Fault) {
	t.Helper()
	f := setupFor(t, subject, testTimeout+time.Duration(len(chosen)**faultTimes)*faultTimeout)
	m := openMembers(t, f, 3)
	pauses := make([][]time.Duration, len(chosen))
	for range *faultTimes {
		for i, fault := range chosen {
			t.Run(fault.Name, func(t *testing.T) {
				m.t = t
				pause, err := m.site.Meet(m.ctx, fault)
				require.NoError(t, err)
				m.verify(proven)
				t.Logf("%s: %s without an acknowledged write", fault.Does, pause.Round(100*time.Millisecond))
				pauses[i] = append(pauses[i], pause.Round(100*time.Millisecond))
			})
			m.t = f.t
			if t.Failed() {
				return
			}
		}
	}
	t.Log(pauseTable(chosen, pauses))
}

// pauseTable says for each fault how long no write was acknowledged.
func pauseTable(chosen []faults.Fault, pauses [][]time.Duration) string {
	var text strings.Builder
	fmt.Fprintln(&text, "time without an acknowledged write:")
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "fault\ttimes\tmedian\tp95\tmax")
	for i, fault := range chosen {
		median, p95, most := faults.Summary(pauses[i])
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\n", fault.Name, len(pauses[i]), median, p95, most)
	}
	w.Flush()
	return text.String()
}
