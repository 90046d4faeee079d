package check_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"stateful-postgres/verify/internal/check"
	"stateful-postgres/verify/internal/ledger"
	"stateful-postgres/verify/internal/pgtest"
	"stateful-postgres/verify/internal/report"
	"stateful-postgres/verify/internal/server"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// witness is a ledger and the server that it is about.
type witness struct {
	t       *testing.T
	subject check.Subject
	path    string
	// change is applied to the checker of every look.
	change func(*check.Checker)
}

func newWitness(t *testing.T, dsn string) *witness {
	t.Helper()
	return &witness{t: t, path: filepath.Join(t.TempDir(), "ledger"), subject: check.Subject{
		Config: func([]string) (*pgx.ConnConfig, error) { return server.ConfigFromDSN(dsn) },
		Target: report.Target{Database: "d", Address: "a"},
	}}
}

// look takes one look within a deadline.
func (w *witness) lookWithin(deadline time.Duration) *report.Report {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), deadline)
	defer cancel()
	return w.lookIn(ctx)
}

func (w *witness) lookIn(ctx context.Context) *report.Report {
	w.t.Helper()
	entries, err := ledger.Open(w.t.Context(), w.path, func(string) {})
	require.NoError(w.t, err)
	var out bytes.Buffer
	checker := &check.Checker{
		Subject: w.subject, Ledger: entries, Sink: report.NewSink("check", report.NewTable(&out, report.Style{}), nil),
		Rows: 10, Hold: 300 * time.Millisecond,
	}
	if w.change != nil {
		w.change(checker)
	}
	require.NoError(w.t, checker.Run(ctx))
	require.NoError(w.t, checker.Sink.Finish(checker.Summarize))
	require.NoError(w.t, entries.Close())
	w.t.Log(out.String())
	return checker.Sink.Report
}

func (w *witness) look() *report.Report {
	w.t.Helper()
	return w.lookWithin(30 * time.Second)
}

// proven takes a look that must prove everything.
func (w *witness) proven() *report.Report {
	w.t.Helper()
	r := w.look()
	require.Equal(w.t, report.ExitProven, r.ExitCode, r.Summary)
	return r
}

// find returns the check of a name, which must be there.
func find(t *testing.T, r *report.Report, name string) report.Check {
	t.Helper()
	for _, c := range r.Checks {
		if c.Name == name {
			return c
		}
	}
	require.Fail(t, "no check of that name", name)
	return report.Check{}
}

func requireCheck(t *testing.T, r *report.Report, name string, status report.Status, detail string) report.Check {
	t.Helper()
	c := find(t, r, name)
	require.Equal(t, status, c.Status, c.Detail)
	require.Contains(t, c.Detail, detail)
	return c
}

func TestEveryLookProvesTheRowsOfTheOnesBefore(t *testing.T) {
	t.Parallel()
	w := newWitness(t, pgtest.Shared(t).CreateDatabase(t))
	first := w.proven()
	requireCheck(t, first, "earlier rows", report.Skipped, "nothing to lose yet")
	require.Equal(t, &report.Counts{Added: 10, Now: 10}, first.Rows)
	require.Contains(t, first.Summary, "no earlier rows to lose")

	second := w.proven()
	requireCheck(t, second, "earlier rows", report.Passed, "10 acknowledged rows")
	requireCheck(t, second, "index", report.Passed, "agree on 10 rows")
	require.Equal(t, &report.Counts{Before: 10, Added: 10, Now: 20, Required: 10, Intact: 10}, second.Rows)
}

func TestLossIsFoundNamedAndLeftAsItIs(t *testing.T) {
	t.Parallel()
	shared := pgtest.Shared(t)
	dsn := shared.CreateDatabase(t)
	w := newWitness(t, dsn)
	w.proven()
	w.proven()
	shared.Exec(t, dsn, "delete from verify.rows where seq = 3", "update verify.rows set payload = 'x' where seq = 12")
	for range 2 {
		r := w.look()
		require.Equal(t, report.ExitViolated, r.ExitCode)
		c := requireCheck(t, r, "earlier rows", report.Violated, "1 lost, 1 altered; 18 of 20")
		require.Len(t, c.Rows, 2)
		require.Equal(t, []any{"lost", int64(3), "acknowledged"}, []any{c.Rows[0].Finding, c.Rows[0].Seq, c.Rows[0].Recorded})
		require.WithinDuration(t, time.Now(), c.Rows[0].RecordedAt, time.Minute)
		require.Equal(t, []any{"altered", int64(12), "x"}, []any{c.Rows[1].Finding, c.Rows[1].Seq, c.Rows[1].Found})
		requireCheck(t, r, "new rows", report.Skipped, "violation")
		require.EqualValues(t, 19, r.Rows.Now, "nothing is written where evidence lies")
	}
}

func TestDroppedTableAndDatabaseAreEverythingLost(t *testing.T) {
	t.Parallel()
	shared := pgtest.Shared(t)
	dsn := shared.CreateDatabase(t)
	w := newWitness(t, dsn)
	w.proven()
	shared.Exec(t, dsn, "drop schema verify cascade")
	r := w.look()
	require.Equal(t, report.ExitViolated, r.ExitCode)
	requireCheck(t, r, "earlier rows", report.Violated, "table verify.rows does not exist: 10 lost")

	name := dsn[strings.LastIndex(dsn, "/")+1 : strings.Index(dsn, "?")]
	shared.Exec(t, shared.DSN("postgres"), "drop database "+name)
	r = w.look()
	require.Equal(t, report.ExitViolated, r.ExitCode)
	c := requireCheck(t, r, "earlier rows", report.Violated, "the database does not exist: 10 lost")
	require.Len(t, c.Rows, 10)

	shared.Exec(t, shared.DSN("postgres"), "create database "+name)
	r = w.look()
	require.Equal(t, report.ExitViolated, r.ExitCode)
	requireCheck(t, r, "earlier rows", report.Violated, "table verify.rows does not exist: 10 lost")
}

func TestMissingDatabaseWithoutRowsIsNoLoss(t *testing.T) {
	t.Parallel()
	r := newWitness(t, pgtest.Shared(t).DSN("never_made")).look()
	require.Equal(t, report.ExitUnknown, r.ExitCode)
	requireCheck(t, r, "connection", report.Unknown, "never_made")
}

func TestEmptiedVolumeIsFoundOut(t *testing.T) {
	t.Parallel()
	own := pgtest.Start(t)
	w := newWitness(t, own.DSN("postgres"))
	w.proven()
	own.StopFast(t)
	own.Reinitialise(t)
	own.Run(t)
	for range 2 {
		r := w.look()
		require.Equal(t, report.ExitViolated, r.ExitCode)
		c := requireCheck(t, r, "identity", report.Violated, "another database")
		require.Contains(t, c.Hint, "--new-ledger")
		requireCheck(t, r, "earlier rows", report.Violated, "10 lost")
	}
}

func TestOlderCopyOfTheVolumeIsFoundOut(t *testing.T) {
	t.Parallel()
	own := pgtest.Start(t)
	w := newWitness(t, own.DSN("postgres"))
	w.proven()
	own.StopFast(t)
	backup := own.DataDirectory + ".backup"
	own.CopyData(t, own.DataDirectory, backup)
	own.Run(t)
	w.proven()
	own.StopFast(t)
	require.NoError(t, os.RemoveAll(own.DataDirectory))
	own.CopyData(t, backup, own.DataDirectory)
	own.Run(t)
	r := w.look()
	require.Equal(t, report.ExitViolated, r.ExitCode)
	requireCheck(t, r, "identity", report.Passed, "as recorded")
	requireCheck(t, r, "write-ahead log", report.Violated, "older copy of itself")
	c := requireCheck(t, r, "earlier rows", report.Violated, "10 lost; 10 of 20")
	require.EqualValues(t, 10, c.Rows[0].Seq)
}

func TestRestartIsNoticed(t *testing.T) {
	t.Parallel()
	own := pgtest.Start(t)
	w := newWitness(t, own.DSN("postgres"))
	w.proven()
	own.StopFast(t)
	own.Run(t)
	requireCheck(t, w.proven(), "server", report.Passed, "restarted since the last look")
	own.StopImmediate(t)
	own.Run(t)
	r := w.proven()
	requireCheck(t, r, "server", report.Passed, "restarted since the last look")
	requireCheck(t, r, "last shutdown", report.Warning, "statistics were discarded")
}

func TestCouldNotConnectIsNeverLost(t *testing.T) {
	t.Parallel()
	own := pgtest.Start(t)
	w := newWitness(t, own.DSN("postgres"))
	w.proven()
	own.StopFast(t)
	r := w.lookWithin(300 * time.Millisecond)
	require.Equal(t, report.ExitDeadline, r.ExitCode)
	require.Nil(t, r.Rows)
	requireCheck(t, r, "connection", report.Unknown, "connection refused")
	require.False(t, r.Has(report.Violated))

	interrupted, interrupt := context.WithCancelCause(t.Context())
	interrupt(fmt.Errorf("interrupted"))
	r = w.lookIn(interrupted)
	require.Equal(t, report.ExitInterrupted, r.ExitCode)
	own.Run(t)
	w.proven()
}

func TestNothingAcknowledgedIsNoPass(t *testing.T) {
	t.Parallel()
	w := newWitness(t, pgtest.Shared(t).CreateDatabase(t))
	w.change = func(c *check.Checker) { c.Rows = 0 }
	r := w.look()
	require.Equal(t, report.ExitUnknown, r.ExitCode)
	requireCheck(t, r, "new rows", report.Unknown, "nothing is proven")
	w.change = nil
	w.proven()
	w.change = func(c *check.Checker) { c.Rows = 0 }
	w.proven()
}

func TestServerThatRefusesWritesProvesNoNewRows(t *testing.T) {
	t.Parallel()
	shared := pgtest.Shared(t)
	dsn := shared.CreateDatabase(t)
	w := newWitness(t, dsn)
	w.proven()
	role := limitedRole(t, shared, dsn)
	shared.Exec(t, dsn, "revoke insert on verify.rows from "+role)
	w.subject.Config = func([]string) (*pgx.ConnConfig, error) { return server.ConfigFromDSN(as(dsn, role)) }
	r := w.look()
	require.Equal(t, report.ExitUnknown, r.ExitCode)
	requireCheck(t, r, "earlier rows", report.Passed, "10 acknowledged rows")
	c := requireCheck(t, r, "new rows", report.Unknown, "permission denied for table rows")
	require.Contains(t, c.Hint, "select and insert on its tables")
}

func TestRowsOfAnotherLedgerAreReportedAndAdopted(t *testing.T) {
	t.Parallel()
	shared := pgtest.Shared(t)
	dsn := shared.CreateDatabase(t)
	newWitness(t, dsn).proven()
	w := newWitness(t, dsn)
	r := w.proven()
	requireCheck(t, r, "unrecorded", report.Warning, "10 rows of a run that this ledger does not know")
	require.EqualValues(t, 10, r.Rows.Unrecorded)

	// A row that is not as its run makes it is not vouched for.
	shared.Exec(t, dsn, "update verify.rows set payload = 'x' where seq = 4 and run = (select run from verify.runs order by started_at limit 1)")
	w.change = func(c *check.Checker) { c.Adopt = true }
	requireCheck(t, w.proven(), "adopted", report.Warning, "9 rows")
	w.change = nil
	r = w.proven()
	requireCheck(t, r, "earlier rows", report.Passed, "29 acknowledged rows")

	shared.Exec(t, dsn, "delete from verify.rows where seq = 5")
	r = w.look()
	require.EqualValues(t, 2, r.Rows.Lost, "adopted rows must stay")
}

func TestBrokenTableIsNotTouched(t *testing.T) {
	t.Parallel()
	shared := pgtest.Shared(t)
	dsn := shared.CreateDatabase(t)
	w := newWitness(t, dsn)
	w.proven()
	shared.Exec(t, dsn, "alter table verify.rows drop constraint rows_pkey")
	requireCheck(t, w.proven(), "index", report.Warning, "no primary key")
	shared.Exec(t, dsn, "alter table verify.rows rename payload to content")
	r := w.look()
	require.Equal(t, report.ExitUnknown, r.ExitCode)
	requireCheck(t, r, "earlier rows", report.Unknown, "not the one that verify makes")
}

func TestChangedCollationIsAWarningWithWhatToRun(t *testing.T) {
	t.Parallel()
	shared := pgtest.Start(t)
	for _, name := range []string{"one", "two"} {
		shared.Exec(t, shared.DSN("postgres"), "create database "+name+" template template0 locale_provider icu icu_locale 'en'")
	}
	w := newWitness(t, shared.DSN("one"))
	w.proven()
	shared.Exec(t, shared.DSN("postgres"), "update pg_database set datcollversion = '1.2' where datname in ('one', 'two')")
	r := w.proven()
	c := requireCheck(t, r, "collation", report.Warning, "one, two: made with version 1.2, the image brings version ")
	require.Equal(t, report.Server, c.Section)
	require.Equal(t, "run in one: REINDEX DATABASE one; ALTER DATABASE one REFRESH COLLATION VERSION; "+
		"and in two: REINDEX DATABASE two; ALTER DATABASE two REFRESH COLLATION VERSION;", c.Hint)
	require.Len(t, c.Statements, 4)
	for _, statement := range c.Statements {
		shared.Exec(t, shared.DSN(statement.Database), statement.SQL)
	}
	for _, c := range w.proven().Checks {
		require.NotEqual(t, "collation", c.Name)
	}
}
