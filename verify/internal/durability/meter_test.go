package durability

import (
	"context"
	"errors"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"stateful-postgres/internal/faults"
	"stateful-postgres/verify/internal/commit"
	"stateful-postgres/verify/internal/history"
	"stateful-postgres/verify/internal/ledger"
)

func TestPauseOfAFaultIsTheLongestTimeWithoutACommit(t *testing.T) {
	t.Parallel()
	start := time.Now()
	at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	m := newMeter(start)
	acknowledge := func(ms int) { m.outcome(commit.Acknowledged, at(ms-1), at(ms)) }
	var fault history.Fault
	acknowledge(100)
	m.begin(&fault, at(1000))
	acknowledge(1100)
	m.outcome(commit.Failed, at(1150), at(1200))
	m.outcome(commit.Unknown, at(1150), at(1300))
	acknowledge(3000)
	acknowledge(3100)
	m.reconnected()
	m.over(at(3200))
	acknowledge(9000)
	m.end(at(9500))
	require.Equal(t, history.Fault{BeganMS: 1000, PauseMS: 1900, PauseBeganMS: 1100, Acknowledged: 3, Failed: 1, Unknown: 1, Reconnects: 1}, fault)
	require.Len(t, m.buckets, 10)
	require.Equal(t, history.Bucket{Acknowledged: 1, Failed: 1, Unknown: 1, P50US: 1000, P99US: 1000, MaxUS: 1000}, m.buckets[1])
	latencies := m.latencies()
	require.EqualValues(t, []int64{1, 3, 1}, []int64{latencies.Before.Commits, latencies.During.Commits, latencies.After.Commits})
}

func TestFaultWithoutAnyCommitHasAPauseToo(t *testing.T) {
	t.Parallel()
	m := newMeter(time.Now())
	var fault history.Fault
	m.begin(&fault, m.started.Add(time.Second))
	m.over(m.started.Add(5 * time.Second))
	require.EqualValues(t, 4000, fault.PauseMS)
}

func TestLongRunKeepsItsBucketsWithinBounds(t *testing.T) {
	t.Parallel()
	m := newMeter(time.Now())
	const seconds = 3 * mostBuckets
	for i := range seconds {
		at := m.started.Add(time.Duration(i)*time.Second + time.Millisecond)
		m.outcome(commit.Acknowledged, at.Add(-time.Millisecond), at)
	}
	m.end(m.started.Add(seconds * time.Second))
	require.LessOrEqual(t, len(m.buckets), mostBuckets)
	require.Equal(t, 4*bucketTime, m.bucketTime)
	var total int64
	for _, bucket := range m.buckets {
		total += bucket.Acknowledged
	}
	require.EqualValues(t, seconds, total)
}

func TestOutcomesOfWritersSideBySideAreInTheLedger(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ledger")
	entries, err := ledger.Open(t.Context(), path, nil)
	require.NoError(t, err)
	a, err := newAccount(entries)
	require.NoError(t, err)
	pens := []*pen{{account: a}, {account: a}}
	write := func(p *pen, outcome commit.Outcome) int64 {
		row, err := p.row()
		require.NoError(t, err)
		require.NoError(t, p.outcome(row, outcome))
		return row
	}
	for i := range blockRows {
		require.EqualValues(t, i, write(pens[0], commit.Acknowledged))
		require.EqualValues(t, blockRows+i, write(pens[1], commit.Acknowledged))
	}
	require.EqualValues(t, 2*blockRows, write(pens[0], commit.Acknowledged))
	require.EqualValues(t, 2*blockRows+1, write(pens[0], commit.Unknown))
	require.NoError(t, pens[0].enter())
	require.EqualValues(t, 2*blockRows+2, write(pens[0], commit.Failed))
	require.EqualValues(t, 2*blockRows+3, write(pens[0], commit.AcknowledgedLocally))
	require.NoError(t, pens[0].enter())
	require.EqualValues(t, 2*blockRows+4, write(pens[0], commit.AcknowledgedLocally))
	// A row that is on its way when verify is killed stays undecided.
	state, err := ledger.Read(path)
	require.NoError(t, err)
	require.EqualValues(t, 1, state.Run(a.run).Count(ledger.AcknowledgedLocally))

	for _, p := range pens {
		require.NoError(t, p.finish())
	}
	require.NoError(t, entries.Close())
	state, err = ledger.Read(path)
	require.NoError(t, err)
	run := state.Run(a.run)
	require.EqualValues(t, 2*blockRows+1, run.Count(ledger.Acknowledged))
	require.EqualValues(t, 2, run.Count(ledger.AcknowledgedLocally))
	require.EqualValues(t, 1, run.Count(ledger.Undecided), "only the one without an answer")
	require.EqualValues(t, blockRows-5+1, run.Count(ledger.Failed), "what was never sent is not there")
}

func TestWhatAFaultChangedIsPutBackAlsoAfterAnInterruption(t *testing.T) {
	t.Parallel()
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	m := newMeter(time.Now())
	i := &injector{
		servers: &faults.Servers{}, random: rand.New(rand.NewPCG(0, 0)), meter: m,
	}
	for name, strike := range map[string]error{"struck": nil, "half struck": errors.New("no")} {
		undone := false
		entry := &history.Fault{RecoveredMS: -1}
		i.strike(ctx, faults.Fault{Name: name, Strike: func(context.Context, *faults.Servers) (*faults.Struck, error) {
			interrupt()
			return &faults.Struck{Undo: func(ctx context.Context) error {
				undone = true
				return ctx.Err()
			}}, strike
		}}, entry)
		require.True(t, undone, name)
		require.Equal(t, "interrupted", entry.Problem)
	}
}

// The API server may be away when a scale is to be put back: the stack would stay without servers.
func TestWhatAFaultChangedIsPutBackWhenThatWorksAgain(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		away   time.Duration
		lasts  time.Duration
		refuse string
	}{
		"at once":  {0, 0, ""},
		"again":    {time.Minute, time.Minute, ""},
		"in vain":  {time.Hour, undoPatience, "what it changed is not put back: connection refused"},
		"too slow": {-1, undoTimeout, "what it changed is not put back: context deadline exceeded"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				ctx, interrupt := context.WithCancel(t.Context())
				interrupt()
				err := (&injector{}).putBack(ctx, faults.Fault{Name: "scale"}, func(ctx context.Context) error {
					if test.away < 0 {
						<-ctx.Done()
						return ctx.Err()
					}
					if time.Since(began) < test.away {
						return errors.New("connection refused")
					}
					return ctx.Err()
				})
				require.Equal(t, test.lasts, time.Since(began))
				if test.refuse == "" {
					require.NoError(t, err)
				} else {
					require.EqualError(t, err, test.refuse)
				}
			})
		})
	}
}

func TestLanesShowEachStateOnce(t *testing.T) {
	t.Parallel()
	var l lanes
	l.see(0, map[string]string{"postgres-0": "ready"})
	l.see(500, map[string]string{"postgres-0": "ready"})
	l.see(1000, map[string]string{"postgres-0": "terminating"})
	l.see(1500, map[string]string{})
	l.see(2000, map[string]string{"postgres-0": "ready", "postgres-1": "not ready"})
	require.Equal(t, []history.Interval{
		{Of: "postgres-0", State: "ready", FromMS: 0, ToMS: 1000}, {Of: "postgres-0", State: "terminating", FromMS: 1000, ToMS: 1500},
		{Of: "postgres-0", State: "absent", FromMS: 1500, ToMS: 2000}, {Of: "postgres-0", State: "ready", FromMS: 2000, ToMS: 2500},
		{Of: "postgres-1", State: "not ready", FromMS: 2000, ToMS: 2500},
	}, l.end(2500))
}

func TestLatencyIsWrittenToThreeDigits(t *testing.T) {
	t.Parallel()
	for us, text := range map[int64]string{41: "0.04ms", 1234: "1.23ms", 45_678: "45.7ms", 456_789: "457ms", 12_345_678: "12.3s"} {
		require.Equal(t, text, microseconds(us))
	}
}
