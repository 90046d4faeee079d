package ledger

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func open(t *testing.T, path string) *Ledger {
	t.Helper()
	ledger, err := Open(t.Context(), path, func(string) { t.Error("the ledger is locked") })
	require.NoError(t, err)
	return ledger
}

// write makes a ledger with every kind of record and returns its path.
func write(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "stack", "ledger")
	ledger := open(t, path)
	require.NoError(t, ledger.StartRun(7, 11, false))
	require.NoError(t, ledger.Intend(7, 0, 100, 10))
	require.NoError(t, ledger.Resolve(7, 0, 40, Acknowledged))
	require.NoError(t, ledger.Resolve(7, 40, 10, Failed))
	require.NoError(t, ledger.Resolve(7, 60, 10, Seen))
	require.NoError(t, ledger.Saw(Sighting{At: time.Now().UTC(), SystemIdentifier: "123", ClaimUID: "abc"}))
	require.NoError(t, ledger.Aim(7, 50))
	require.NoError(t, ledger.Intend(7, 100, 20, 20))
	require.NoError(t, ledger.Resolve(7, 100, 20, Acknowledged))
	require.NoError(t, ledger.StartRun(8, 12, true))
	require.NoError(t, ledger.Resolve(8, 0, 5, Acknowledged))
	require.NoError(t, ledger.Finish(Result{At: time.Now().UTC(), Command: "check", Verdict: "proven"}))
	require.NoError(t, ledger.Close())
	return path
}

func TestLedgerRemembersAcrossOpens(t *testing.T) {
	t.Parallel()
	path := write(t)
	ledger := open(t, path)
	defer ledger.Close()
	state := ledger.State()
	run := state.Run(7)
	require.EqualValues(t, 11, run.Seed)
	require.EqualValues(t, 60, run.Count(Acknowledged))
	require.EqualValues(t, 10, run.Count(Failed))
	require.EqualValues(t, 10, run.Count(Seen))
	require.EqualValues(t, 40, run.Count(Undecided))
	require.EqualValues(t, 120, run.Next())
	require.EqualValues(t, 75, state.Required())
	require.Equal(t, Goal{Run: 7, First: 100, Rows: 50}, state.Goal)
	require.EqualValues(t, 30, state.Left())
	require.Equal(t, run, state.Current(), "new rows never go to an adopted run")
	require.Equal(t, "123", state.Sighting.SystemIdentifier)
	require.Equal(t, "proven", state.LastResult.Verdict)
	require.EqualValues(t, 1, state.Results)
	require.Zero(t, state.TornBytes)
}

func TestKillAtAnyByteDropsTheTornRecordOnly(t *testing.T) {
	t.Parallel()
	path := write(t)
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	// The offsets at which a record ends: a file cut there has nothing torn.
	ends := map[int]bool{}
	chain := uint32(0)
	first := 0
	for offset := len(magic); offset < len(whole); {
		_, size, next, reason := nextFrame(whole[offset:], chain)
		require.Empty(t, reason)
		offset, chain = offset+size, next
		ends[offset] = true
		if first == 0 {
			first = offset
		}
	}
	for cut := first; cut <= len(whole); cut++ {
		path := filepath.Join(t.TempDir(), "ledger")
		require.NoError(t, os.WriteFile(path, whole[:cut], 0o644))
		read, err := Read(path)
		require.NoError(t, err, "cut at %d", cut)
		require.Equal(t, ends[cut], read.TornBytes == 0, "cut at %d", cut)
		if cut%7 != 0 {
			continue
		}
		// The file can be written on, and what is written then is read back.
		ledger := open(t, path)
		require.NoError(t, ledger.StartRun(99, 1, false))
		require.NoError(t, ledger.Close())
		reopened, err := Read(path)
		require.NoError(t, err, "cut at %d", cut)
		require.Zero(t, reopened.TornBytes)
		require.NotNil(t, reopened.Run(99))
	}
}

func TestDamageIsAnErrorThatNamesTheOffset(t *testing.T) {
	t.Parallel()
	path := write(t)
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	for offset := range whole {
		damaged := append([]byte(nil), whole...)
		damaged[offset] ^= 1 << (offset % 8)
		require.NoError(t, os.WriteFile(path, damaged, 0o644))
		_, err := Open(t.Context(), path, func(string) {})
		var damage *DamagedError
		require.ErrorAs(t, err, &damage, "bit flipped at %d", offset)
		require.LessOrEqual(t, damage.Offset, int64(offset))
		require.ErrorContains(t, err, fmt.Sprintf("offset %d", damage.Offset))
		kept, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, damaged, kept, "a damaged ledger is left as it is")
	}
}

func TestDamageInOtherShapes(t *testing.T) {
	t.Parallel()
	whole, err := os.ReadFile(write(t))
	require.NoError(t, err)
	_, size, chain, _ := nextFrame(whole[len(magic):], 0)
	second := len(magic) + size
	_, secondSize, _, _ := nextFrame(whole[second:], chain)
	require.Positive(t, secondSize)
	for name, content := range map[string][]byte{
		"empty file":           {},
		"another kind of file": []byte("id,payload\n1,x\n"),
		"magic only":           []byte(magic),
		"no first record":      whole[:second-1],
		"second record cut":    append(append([]byte(nil), whole[:second]...), whole[second+secondSize:]...),
		"tail of zeros":        append(append([]byte(nil), whole...), make([]byte, 100)...),
		"first record twice":   append(append([]byte(nil), whole[:second]...), whole[len(magic):]...),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "ledger")
			require.NoError(t, os.WriteFile(path, content, 0o644))
			_, err := Open(t.Context(), path, func(string) {})
			var damage *DamagedError
			require.ErrorAs(t, err, &damage)
		})
	}
}

func TestSecondOpenWaitsForTheFirst(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ledger")
	first := open(t, path)

	short, cancel := context.WithTimeout(t.Context(), 2*lockPoll)
	defer cancel()
	_, err := Open(short, path, func(string) {})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, fmt.Sprintf("process %d", os.Getpid()))

	waits := make(chan string, 1)
	opened := make(chan error, 1)
	go func() {
		second, err := Open(t.Context(), path, func(holder string) { waits <- holder })
		if err == nil {
			err = second.Close()
		}
		opened <- err
	}()
	require.Contains(t, <-waits, "another verify")
	require.NoError(t, first.Close())
	require.NoError(t, <-opened)
}

func TestNewLedgerNeverOverwritesTheOld(t *testing.T) {
	t.Parallel()
	path := write(t)
	old, err := os.ReadFile(path)
	require.NoError(t, err)
	aside, err := SetAside(t.Context(), path, func(string) {})
	require.NoError(t, err)
	kept, err := os.ReadFile(aside)
	require.NoError(t, err)
	require.Equal(t, old, kept)

	ledger := open(t, path)
	require.Empty(t, ledger.State().Runs)
	require.NoError(t, ledger.Close())
	again, err := SetAside(t.Context(), path, func(string) {})
	require.NoError(t, err)
	require.NotEqual(t, aside, again)

	none, err := SetAside(t.Context(), path, func(string) {})
	require.NoError(t, err)
	require.Empty(t, none)
	_, err = Read(path)
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestMillionsOfRowsCostKilobytes(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ledger")
	ledger := open(t, path)
	start := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	var batch int64
	// 50 transactions a second for 200 seconds.
	ledger.now = func() time.Time { return start.Add(time.Duration(batch) * 20 * time.Millisecond) }
	require.NoError(t, ledger.StartRun(1, 2, false))
	require.NoError(t, ledger.Aim(1, 10_000_001))
	for batch = range 10_000 {
		require.NoError(t, ledger.append(record{Kind: kindRows, At: ledger.now(), Run: 1, First: batch * 1000, Rows: 1000, Unit: 1000, Status: Undecided}))
		require.NoError(t, ledger.Resolve(1, batch*1000, 1000, Acknowledged))
	}
	require.Len(t, ledger.State().Run(1).Spans, 200)
	before := *ledger.State()
	require.NoError(t, ledger.Close())
	state, err := Read(path)
	require.NoError(t, err)
	require.Less(t, state.Size, int64(32<<10))
	require.EqualValues(t, 10_000_000, state.Required())
	require.Equal(t, before.Runs, state.Runs, "nothing is forgotten")
	require.Equal(t, before.ID, state.ID)
	require.EqualValues(t, 1, state.Left())
}

// The span list is compared with a map that knows every row on its own.
func TestSpansAgreeWithAModel(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	statuses := []Status{Undecided, Acknowledged, AcknowledgedLocally, Failed, Seen}
	for range 200 {
		run := &Run{ID: 1}
		model := map[int64]Status{}
		for range 50 {
			first, rows := random.Int64N(100), 1+random.Int64N(30)
			status := statuses[random.IntN(len(statuses))]
			require.NoError(t, run.set(Span{First: first, Rows: rows, Unit: 1, Status: status, At: time.Unix(random.Int64N(2), 0)}))
			for seq := first; seq < first+rows; seq++ {
				model[seq] = status
			}
			end := int64(0)
			for _, span := range run.Spans {
				require.GreaterOrEqual(t, span.First, end)
				end = span.End()
			}
			for seq := range int64(131) {
				span, ok := run.At(seq)
				expected, known := model[seq]
				require.Equal(t, known, ok)
				require.Equal(t, expected, span.Status)
			}
		}
		var within int64
		run.Within(20, 60, func(span Span) {
			require.GreaterOrEqual(t, span.First, int64(20))
			require.LessOrEqual(t, span.End(), int64(60))
			within += span.Rows
		})
		known := int64(0)
		for seq := int64(20); seq < 60; seq++ {
			if _, ok := model[seq]; ok {
				known++
			}
		}
		require.Equal(t, known, within)
	}
	require.Error(t, (&Run{}).set(Span{First: -1, Rows: 1}))
	require.Error(t, (&Run{}).set(Span{First: 0, Rows: 0}))
}

func TestRecordsThatContradictAreRefused(t *testing.T) {
	t.Parallel()
	for name, entry := range map[string]record{
		"rows of no run":        {Kind: kindRows, Run: 5, Rows: 1, Status: Acknowledged},
		"run twice":             {Kind: kindRun, Run: 1},
		"goal of no run":        {Kind: kindGoal, Run: 5, Rows: 1},
		"goal of no rows":       {Kind: kindGoal, Run: 1},
		"unknown kind":          {Kind: "future"},
		"created twice":         {Kind: kindCreated, ID: "x"},
		"undecided, no unit":    {Kind: kindRows, Run: 1, Rows: 1, Status: Undecided},
		"sighting of nothing":   {Kind: kindSighting},
		"result without result": {Kind: kindResult},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			state := State{ID: "a", Runs: []*Run{{ID: 1}}}
			require.Error(t, state.apply(entry))
		})
	}
	_, err := decode([]byte("{"))
	require.Error(t, err)
	require.False(t, errors.Is(err, os.ErrNotExist))
}
