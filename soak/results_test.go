package main

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stateful-postgres/internal/stack"
)

func recordOf(servers, exit int, faults ...stack.DurabilityFault) record {
	r := record{Servers: servers, ExitCode: exit}
	r.Durability.Faults = faults
	r.Durability.Writes = stack.DurabilityWrites{Attempted: 12, Acknowledged: 10, Failed: 1, Unknown: 1, Survived: 1}
	r.Rows = &stack.DurabilityRows{}
	return r
}

func TestFaultsStrikeUntilThereAreEnough(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "soak", "results.jsonl")
	r, err := openResults(path, 5)
	require.NoError(t, err)

	kinds := []string{"pod-kill", "evict"}
	chosen, times := r.reserve(3, 2, kinds)
	require.Equal(t, []string{"evict", "pod-kill"}, chosen)
	require.Equal(t, mostRounds, times)
	// What another lane is about to do is not done twice.
	_, times = r.reserve(3, 2, kinds)
	require.Equal(t, 1, times)
	// One that did not come to its end is done again.
	require.NoError(t, r.add(recordOf(3, 2, stack.DurabilityFault{Kind: "leader-pod-kill"}, stack.DurabilityFault{Kind: "evict", Problem: "no"}), chosen, mostRounds))
	require.Equal(t, 5-1-1, r.left(3, "pod-kill", r.struck(3)))
	require.Equal(t, 5-1, r.left(3, "evict", r.struck(3)))
	require.Equal(t, 5, r.left(1, "evict", r.struck(1)))
	require.NoError(t, r.close())

	// What was found stays.
	r, err = openResults(path, 1)
	require.NoError(t, err)
	chosen, _ = r.reserve(3, 1, kinds)
	require.Equal(t, []string{"evict"}, chosen)
	require.NoError(t, r.close())
}

func TestTableSaysWhatBecameOfTheRows(t *testing.T) {
	t.Parallel()
	r, err := openResults(filepath.Join(t.TempDir(), "results.jsonl"), 1)
	require.NoError(t, err)
	lost := recordOf(3, exitViolated, stack.DurabilityFault{Kind: "leader-node-kill", PauseMS: 22_000, InFlight: 4}, stack.DurabilityFault{Kind: "node-kill", PauseMS: 24_000})
	lost.Rows.Lost = 3
	require.NoError(t, r.add(recordOf(1, 0, stack.DurabilityFault{Kind: "restart", PauseMS: 1_500}), nil, 0))
	require.NoError(t, r.problem())
	require.NoError(t, r.add(lost, nil, 0))
	require.Equal(t, `| fault       | 1 server | median | p95   | max   | 3 servers | median | p95    | max    |
|---          |--:       |--:     |--:    |--:    |--:        |--:     |--:     |--:     |
| `+"`node-kill`"+` | -        |        |       |       | 2         | 22.0 s | 24.0 s | 24.0 s |
| `+"`restart`"+`   | 1        | 1.5 s  | 1.5 s | 1.5 s | -         |        |        |        |

1 server: 1 run, 1 proven; 1 fault, 0 with a commit in flight; 12 commits: 10 acknowledged, 1 failed, 1 without an answer, of which 1 are there; 0 lost, 0 altered, 0 duplicated, 0 phantom.
3 servers: 1 run, 0 proven; 2 faults, 1 with a commit in flight; 12 commits: 10 acknowledged, 1 failed, 1 without an answer, of which 1 are there; 3 lost, 0 altered, 0 duplicated, 0 phantom.
`, r.table())
	require.Error(t, r.problem())
}

func TestObserverMeetsWhatStruckWhileItWrote(t *testing.T) {
	t.Parallel()
	began := time.Now()
	p := &past{StartedAt: began.Add(-2 * time.Second), BucketMS: 1000}
	for _, acknowledged := range []int64{5, 5, 5, 0, 0, 5, 0, 5, 5, 0, 0} {
		p.Buckets = append(p.Buckets, struct {
			Acknowledged int64 `json:"acknowledged"`
		}{acknowledged})
	}
	met := p.meet(began, []stack.DurabilityFault{
		{Kind: "before", BeganMS: -3000, EndedMS: -2500}, {Kind: "met", BeganMS: 500, EndedMS: 2500, InFlight: 4},
		{Kind: "for ever", BeganMS: 6100, EndedMS: 7200}, {Kind: "after", BeganMS: 8000, EndedMS: 9000},
	})
	require.Equal(t, []stack.DurabilityFault{
		{Kind: "met", BeganMS: 2500, EndedMS: 4500, PauseMS: 2000},
		{Kind: "for ever", BeganMS: 8100, EndedMS: 9200, PauseMS: 2000, Problem: "no commit was acknowledged after it"},
	}, met)
}

func TestResultsNameNoFolderOfThisMachine(t *testing.T) {
	t.Parallel()
	l := &lane{name: "2-1-1", servers: 1, soak: &soak{Workspace: &stack.Workspace{Root: "/home/clerk/shop"}}}
	r := l.record(time.Now(), "/home/clerk/shop/.local/soak-results/a.json.gz", stack.Result{ExitCode: 2, Stdout: `{"checks": [
		{"name": "scale", "status": "unknown", "detail": "pulumi up --config-file /home/clerk/shop/.local/soak/Pulumi.yaml: exit status 1"}],
		"durability": {"faults": [{"kind": "scale", "problem": "pulumi up --config-file /home/clerk/shop/.local/soak/Pulumi.yaml: exit status 1"}]}}`})
	require.Equal(t, "a.json.gz", r.History)
	require.Equal(t, []string{"scale: pulumi up --config-file .local/soak/Pulumi.yaml: exit status 1"}, r.Problems)
	require.Equal(t, "pulumi up --config-file .local/soak/Pulumi.yaml: exit status 1", r.Durability.Faults[0].Problem)
}
