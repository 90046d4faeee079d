package durability_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"stateful-postgres/internal/faults"
	"stateful-postgres/verify/internal/check"
	"stateful-postgres/verify/internal/durability"
	"stateful-postgres/verify/internal/history"
	"stateful-postgres/verify/internal/ledger"
	"stateful-postgres/verify/internal/pgtest"
	"stateful-postgres/verify/internal/report"
	"stateful-postgres/verify/internal/server"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// fixture is a run on a server of the test's own.
type fixture struct {
	t      *testing.T
	server *pgtest.Server
	dsn    string
	ledger string
	plan   history.Plan
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	s := pgtest.Start(t)
	return &fixture{
		t: t, server: s, dsn: s.CreateDatabase(t), ledger: filepath.Join(t.TempDir(), "ledger"),
		// So many that a crash hits at least one between COMMIT and its answer.
		plan: history.Plan{Workload: history.Rows, Writers: 16, Times: 3, EveryMS: 300, Seed: 1},
	}
}

// run plays a plan with a fault, which strikes at least once.
func (f *fixture) run(ctx context.Context, strike func(context.Context) error) (*history.History, *report.Report) {
	f.t.Helper()
	entries, err := ledger.Open(f.t.Context(), f.ledger, func(string) {})
	require.NoError(f.t, err)
	defer func() { require.NoError(f.t, entries.Close()) }()
	config, err := server.ConfigFromDSN(f.dsn)
	require.NoError(f.t, err)
	sink := report.NewSink("durability", report.Discard{}, nil)
	h := &history.History{Command: "verify durability", Plan: f.plan}
	played := &durability.Run{
		Subject: check.Subject{
			Config: func([]string) (*pgx.ConnConfig, error) { return config, nil },
			Target: report.Target{Database: config.Database},
		},
		Ledger: entries, Sink: sink, History: h, Recovery: 20 * time.Second,
		Servers: &faults.Servers{
			StatefulSet: "postgres", Replicas: 1, Random: rand.New(rand.NewPCG(0, 0)),
			// The only question is whether the pod is ready.
			Kubectl: func(context.Context, string, ...string) (string, error) { return "uid True", nil },
		},
	}
	if strike != nil {
		h.Plan.Faults = []string{"test"}
		played.Faults = []faults.Fault{{Name: "test", Does: "something happens", Strike: func(ctx context.Context, _ *faults.Servers) (*faults.Struck, error) {
			return &faults.Struck{Victims: []string{"postgres-0"}}, strike(ctx)
		}}}
	}
	require.NoError(f.t, played.Run(ctx))
	require.NoError(f.t, sink.Finish(durability.Summarize(h)))
	return h, sink.Report
}

// again replays a history by way of its file.
func (f *fixture) again(h *history.History) *report.Report {
	f.t.Helper()
	path := filepath.Join(f.t.TempDir(), "history.json.gz")
	require.NoError(f.t, history.Write(path, h))
	read, err := history.Read(path)
	require.NoError(f.t, err)
	sink := report.NewSink("durability", report.Discard{}, nil)
	durability.Replay(read, sink)
	require.NoError(f.t, sink.Finish(durability.Summarize(read)))
	return sink.Report
}

func crash(f *fixture) func(context.Context) error {
	return func(context.Context) error {
		f.server.StopImmediate(f.t)
		f.server.Run(f.t)
		return nil
	}
}

func find(t *testing.T, r *report.Report, name string) report.Check {
	t.Helper()
	for _, c := range r.Checks {
		if c.Name == name {
			return c
		}
	}
	require.Failf(t, "no such check", "%s of %+v", name, r.Checks)
	return report.Check{}
}

func TestServerThatKeepsItsPromiseLosesNothing(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	h, r := f.run(t.Context(), crash(f))
	require.Equal(t, report.Proven, r.Verdict, "%+v", r.Checks)
	require.NotEmpty(t, h.Faults)
	for _, fault := range h.Faults {
		require.Empty(t, fault.Problem)
		require.Positive(t, fault.PauseMS)
		require.Positive(t, fault.RecoveredMS)
		require.Equal(t, []string{"postgres-0"}, fault.Victims)
	}
	w := h.Writes
	require.Equal(t, w.Attempted, w.Acknowledged+w.Failed+w.Unknown)
	require.Positive(t, w.Acknowledged)
	require.Positive(t, w.Reconnects)
	require.Positive(t, h.Reads.Answered)
	require.Zero(t, h.Reads.Without)
	require.GreaterOrEqual(t, w.Unknown, w.Survived)
	var total, acknowledged int64
	for _, bucket := range h.Buckets {
		total += bucket.Acknowledged
	}
	require.Equal(t, w.Acknowledged, total, "every acknowledged commit is in a bucket")
	for _, span := range h.Spans {
		if span.Status == string(ledger.Acknowledged) {
			acknowledged += span.Rows
		}
	}
	require.Equal(t, w.Acknowledged, acknowledged, "and in the ledger")
	require.Equal(t, w.Acknowledged, h.Latency.Before.Commits+h.Latency.During.Commits+h.Latency.After.Commits)

	replayed := f.again(h)
	require.Equal(t, r.Verdict, replayed.Verdict)
	require.Equal(t, r.Rows, replayed.Rows)
	require.Equal(t, r.Durability.Writes, replayed.Durability.Writes)
}

// A server that acknowledges before the log is on disk loses commits when it crashes.
func TestAsynchronousCommitIsFound(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.server.Exec(t, f.dsn, "alter system set synchronous_commit = off", "alter system set wal_writer_delay = '10s'", "select pg_reload_conf()")
	h, r := f.run(t.Context(), crash(f))
	require.Equal(t, report.NotKept, r.Verdict, "%+v", r.Checks)
	require.Equal(t, report.ExitViolated, r.ExitCode)
	require.Positive(t, r.Rows.Lost)
	named := false
	for _, c := range r.Checks {
		for _, row := range c.Rows {
			named = named || row.Finding == "lost" && row.Run == h.Run
		}
	}
	require.True(t, named, "the lost rows are named")

	replayed := f.again(h)
	require.Equal(t, report.NotKept, replayed.Verdict)
	require.Equal(t, r.Summary[:20], replayed.Summary[:20])
}

// What nobody can see at the end, because it is there again, a read has seen.
func TestStaleReadIsFound(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.plan.Times = 1
	// A server that forgets for a moment: all rows are hidden, and come back.
	_, r := f.run(t.Context(), func(ctx context.Context) error {
		f.server.Exec(t, f.dsn, "alter table verify.rows rename to hidden",
			"create view verify.rows as select * from verify.hidden where seq < 0")
		time.Sleep(500 * time.Millisecond)
		f.server.Exec(t, f.dsn, "drop view verify.rows", "alter table verify.hidden rename to rows")
		return nil
	})
	require.Equal(t, report.Violated, find(t, r, "reads").Status, "%+v", r.Checks)
	require.Equal(t, report.NotKept, r.Verdict)
	require.Zero(t, r.Rows.Lost)
}

func TestRunInWhichNothingHappenedProvesNothing(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.plan.DurationMS = 1000
	h, r := f.run(t.Context(), nil)
	require.Equal(t, report.NotProven, r.Verdict)
	require.Equal(t, report.ExitUnknown, r.ExitCode)
	require.Positive(t, h.Writes.Acknowledged)
	require.Equal(t, report.Unknown, find(t, r, "unknown").Status)
}

// A fault that disturbs nobody shows nothing either.
func TestFaultThatHitNothingProvesNothing(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	_, r := f.run(t.Context(), func(context.Context) error { return nil })
	require.Equal(t, report.NotProven, r.Verdict)
	require.Equal(t, report.Passed, find(t, r, "recovery").Status)
	require.Equal(t, report.Unknown, find(t, r, "unknown").Status)
}

// Somebody else may break the server.
func TestWhatIsBrokenByHandCountsToo(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.plan.DurationMS = 6000
	broken := make(chan struct{})
	go func() {
		defer close(broken)
		for range 3 {
			time.Sleep(time.Second)
			f.server.StopImmediate(f.t)
			f.server.Run(f.t)
		}
	}()
	h, r := f.run(t.Context(), nil)
	<-broken
	require.Positive(t, h.Writes.Unknown)
	require.Equal(t, report.Proven, r.Verdict, "%+v", r.Checks)
}

func TestFaultThatDoesNotEndIsNoProof(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.plan.Times = 1
	_, r := f.run(t.Context(), func(context.Context) error { return os.ErrPermission })
	require.Equal(t, report.NotProven, r.Verdict)
	require.Contains(t, find(t, r, "test").Detail, os.ErrPermission.Error())
}

// What was changed is put back also after an interruption, and every outcome is in the ledger.
func TestInterruptedRunPutsBackWhatItChanged(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.plan.Times = 100
	ctx, interrupt := context.WithCancel(t.Context())
	h, r := f.run(ctx, func(ctx context.Context) error {
		f.server.StopImmediate(t)
		// Undone by the same fault here: the injector's own undoing is tested beside.
		f.server.Run(t)
		interrupt()
		return nil
	})
	require.Equal(t, report.ExitInterrupted, r.ExitCode)
	require.Less(t, h.DurationMS, int64(30_000))
	state, err := ledger.Read(f.ledger)
	require.NoError(t, err)
	run := state.Run(h.Run)
	require.Equal(t, h.Writes.Acknowledged, run.Count(ledger.Acknowledged))
	require.Equal(t, h.Writes.Unknown, run.Count(ledger.Undecided))
}

// A client that saw a value never again sees an older one, also when the server crashes.
func TestRegistersOfAServerThatCrashesAreLinearizable(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.plan.Workload = history.Register
	h, r := f.run(t.Context(), crash(f))
	require.Equal(t, report.Passed, find(t, r, "linearizable").Status, "%+v", r.Checks)
	require.Equal(t, report.Proven, r.Verdict, "%+v", r.Checks)
	require.NotEmpty(t, h.Operations)
	replayed := f.again(h)
	require.Equal(t, report.Proven, replayed.Verdict)
	require.Equal(t, find(t, r, "linearizable").Detail, find(t, replayed, "linearizable").Detail)
	var picture strings.Builder
	require.NoError(t, durability.Picture(&picture, h))
	require.Contains(t, picture.String(), "<html")
}

// A server that goes back to what it had before shows older values.
func TestRegistersThatGoBackAreFound(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.plan.Workload, f.plan.Writers, f.plan.Times = history.Register, 4, 1
	h, r := f.run(t.Context(), func(context.Context) error {
		f.server.Exec(t, f.dsn, "create table verify.earlier as select * from verify.registers")
		time.Sleep(300 * time.Millisecond)
		f.server.Exec(t, f.dsn, "begin; lock verify.registers; delete from verify.registers; insert into verify.registers select * from verify.earlier; commit")
		return nil
	})
	require.Equal(t, report.Violated, find(t, r, "linearizable").Status, "%+v", r.Checks)
	require.Equal(t, report.NotKept, r.Verdict)
	require.Contains(t, fmt.Sprint(r.Checks), "client ", "the shortest history is shown")
	require.Equal(t, report.NotKept, f.again(h).Verdict)
}

// Writers that keep to a rate commit no faster, and no slower.
func TestWritersKeepToTheRate(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.plan.Times, f.plan.DurationMS, f.plan.Rate = 0, 2000, 100
	h, _ := f.run(t.Context(), nil)
	require.InDelta(t, 100, h.CommitsPerSecond(), 20)
}
