package check_test

import (
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

// A server at another place than the ledger's is another server, and says nothing about the rows.
func TestServerAtAnotherPlaceIsNotTheOneWithTheRows(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change   func(w *world)
		exitCode int
		check    string
		status   report.Status
		detail   string
	}{
		"another cluster": {func(w *world) {
			w.system.UID, w.claim.UID, w.volume.Spec.ClaimRef.UID = "another", "another", "another"
		}, report.ExitUnknown, "identity", report.Unknown, "namespace ns of the cluster with the UID cluster-uid"},
		"another cluster, with a claim of the same UID": {func(w *world) { w.system.UID = "another" },
			report.ExitUnknown, "identity", report.Unknown, "another server"},
		"another cluster that may not be told from this one": {func(w *world) { w.system = nil },
			report.ExitViolated, "identity", report.Violated, "another database"},
		"the same place": {func(*world) {}, report.ExitViolated, "identity", report.Violated, "another database"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			witness := newWitness(t, w.dsn)
			require.Equal(t, report.ExitProven, w.look(t, witness, 1, 30*time.Second).ExitCode)
			other := pgtest.Start(t)
			w.port, w.dsn = int32(other.Port), other.CreateDatabase(t)
			test.change(w)
			r := w.look(t, witness, 1, 30*time.Second)
			require.Equal(t, test.exitCode, r.ExitCode, r.Summary)
			c := requireCheck(t, r, test.check, test.status, test.detail)
			require.Contains(t, c.Hint, "--new-ledger")
			require.Equal(t, test.exitCode == report.ExitViolated, has(r, "earlier rows"))
		})
	}
}

func TestServerThatWasMovedWithItsDataIsTheSame(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	witness := newWitness(t, w.dsn)
	require.Equal(t, report.ExitProven, w.look(t, witness, 1, 30*time.Second).ExitCode)
	w.system.UID, w.claim.UID, w.volume.Spec.ClaimRef.UID = "another", "another", "another"
	r := w.look(t, witness, 1, 30*time.Second)
	require.Equal(t, report.ExitProven, r.ExitCode, r.Summary)
	requireCheck(t, r, "claim", report.Warning, "that of the ledger has the UID claim-uid")
	requireCheck(t, r, "identity", report.Warning, "as recorded; it was in namespace ns of the cluster")
	requireCheck(t, r, "earlier rows", report.Passed, "10 acknowledged rows")
	// From now on it is here.
	r = w.look(t, witness, 1, 30*time.Second)
	requireCheck(t, r, "identity", report.Passed, "as recorded")
	requireCheck(t, r, "claim", report.Passed, "UID and volume as recorded")
}

func TestZeroAtAnotherPlaceProvesNothing(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*world){
		"with a claim":    func(w *world) { w.claim.UID, w.volume.Spec.ClaimRef.UID = "another", "another" },
		"without a claim": func(w *world) { w.claim = nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			witness := newWitness(t, w.dsn)
			require.Equal(t, report.ExitProven, w.look(t, witness, 1, 30*time.Second).ExitCode)
			w.scaleToZero()
			w.system.UID = "another"
			change(w)
			r := w.look(t, witness, 0, 30*time.Second)
			require.Equal(t, report.ExitUnknown, r.ExitCode, r.Summary)
			requireCheck(t, r, "claim", report.Unknown, "that of the ledger has the UID claim-uid")
		})
	}
}

// A ledger that was left behind under another name knows the database all the same.
func TestLedgerOfAnotherNameThatKnowsTheDatabaseIsNamed(t *testing.T) {
	t.Parallel()
	shared := pgtest.Shared(t)
	for name, test := range map[string]struct {
		// statements are run in the database before the second ledger looks.
		statements []string
		// role looks, if it is not empty.
		limited bool
		known   bool
	}{
		"as it was":               {nil, false, true},
		"its rows are lost":       {[]string{"drop schema verify cascade"}, false, true},
		"a role of little rights": {nil, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dsn := shared.CreateDatabase(t)
			before := newWitness(t, dsn)
			before.proven()
			role := limitedRole(t, shared, dsn)
			shared.Exec(t, dsn, test.statements...)
			after := newWitness(t, dsn)
			if test.limited {
				after.subject.Config = func([]string) (*pgx.ConnConfig, error) { return server.ConfigFromDSN(as(dsn, role)) }
			}
			known := check.Known([]string{before.path, after.path, filepath.Join(t.TempDir(), "none")}, after.path)
			require.Len(t, known, 1)
			after.change = func(c *check.Checker) { c.Others = known }
			for _, fill := range []*check.Fill{nil, {Rows: 10, Batch: 10}} {
				after.change = func(c *check.Checker) { c.Others, c.Fill = known, fill }
				r := after.look()
				require.Equal(t, report.ExitUnknown, r.ExitCode)
				c := requireCheck(t, r, "ledger", report.Unknown, before.path+", with 10 acknowledged rows")
				require.Contains(t, c.Hint, "mv "+before.path+" "+after.path)
				require.False(t, has(r, "new rows"), "nothing is written that the other ledger does not know")
			}
		})
	}
	t.Run("another database", func(t *testing.T) {
		t.Parallel()
		before := newWitness(t, shared.CreateDatabase(t))
		before.proven()
		after := newWitness(t, shared.CreateDatabase(t))
		after.change = func(c *check.Checker) { c.Others = check.Known([]string{before.path}, after.path) }
		after.proven()
	})
	t.Run("both know it", func(t *testing.T) {
		t.Parallel()
		dsn := shared.CreateDatabase(t)
		before, after := newWitness(t, dsn), newWitness(t, dsn)
		before.proven()
		after.proven()
		after.change = func(c *check.Checker) { c.Others = check.Known([]string{before.path}, after.path) }
		after.proven()
	})
}

func TestLedgerOfAnotherNameIsNamedAtZero(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	before := newWitness(t, w.dsn)
	require.Equal(t, report.ExitProven, w.look(t, before, 1, 30*time.Second).ExitCode)
	w.scaleToZero()
	after := newWitness(t, w.dsn)
	after.change = func(c *check.Checker) { c.Others = check.Known([]string{before.path}, after.path) }
	r := w.look(t, after, 0, 30*time.Second)
	require.Equal(t, report.ExitUnknown, r.ExitCode)
	requireCheck(t, r, "ledger", report.Unknown, "10 acknowledged rows")

	w.claim.UID, w.volume.Spec.ClaimRef.UID = "another", "another"
	require.Equal(t, report.ExitProven, w.look(t, after, 0, 30*time.Second).ExitCode)
}

// forget makes the ledger one of a version that did not record so much.
func (w *witness) forget(t *testing.T, change func(*ledger.Sighting)) {
	t.Helper()
	entries, err := ledger.Open(t.Context(), w.path, func(string) {})
	require.NoError(t, err)
	sighting := entries.State().Sighting
	change(&sighting)
	require.NoError(t, entries.Saw(sighting))
	require.NoError(t, entries.Close())
}

// Ledgers of earlier versions know neither database nor table by an OID: the rows are looked for.
func TestLedgerThatKnowsNoOIDLooksForTheRows(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		statements []string
		exitCode   int
		check      string
		detail     string
	}{
		"the table is renamed":    {[]string{"alter table verify.rows rename to old_rows"}, report.ExitUnknown, "earlier rows", "10 rows in table verify.old_rows"},
		"the table is dropped":    {[]string{"drop table verify.rows"}, report.ExitViolated, "earlier rows", "10 lost"},
		"the database is renamed": {[]string{"@alter database NAME rename to NAME_new"}, report.ExitUnknown, "connection", "NAME_new has 10 rows in table verify.rows"},
		"the database is dropped": {[]string{"@drop database NAME"}, report.ExitViolated, "earlier rows", "10 lost"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			own := pgtest.Start(t)
			dsn := own.CreateDatabase(t)
			w := newWitness(t, dsn)
			w.proven()
			w.forget(t, func(s *ledger.Sighting) { s.Database, s.DatabaseOID, s.TableOID = "", 0, 0 })
			fill := func(text string) string { return strings.ReplaceAll(text, "NAME", databaseOf(t, dsn)) }
			for _, statement := range test.statements {
				in := dsn
				if rest, elsewhere := strings.CutPrefix(statement, "@"); elsewhere {
					in, statement = own.DSN("postgres"), rest
				}
				own.Exec(t, in, fill(statement))
			}
			r := w.look()
			require.Equal(t, test.exitCode, r.ExitCode)
			require.Contains(t, find(t, r, test.check).Detail, fill(test.detail))
		})
	}
}

// Without the server's identity nobody can tell another server from one that lost everything.
func TestServerOfUnknownIdentityHasLostNothing(t *testing.T) {
	t.Parallel()
	own := pgtest.Start(t)
	dsn := own.CreateDatabase(t)
	w := newWitness(t, dsn)
	w.proven()
	w.forget(t, func(s *ledger.Sighting) { *s = ledger.Sighting{At: s.At} })
	own.Exec(t, dsn, "drop table verify.rows")
	r := w.look()
	require.Equal(t, report.ExitUnknown, r.ExitCode)
	requireCheck(t, r, "earlier rows", report.Unknown, "it is not known that this is the server that had it")
	own.Exec(t, own.DSN("postgres"), "drop database "+databaseOf(t, dsn))
	r = w.look()
	require.Equal(t, report.ExitUnknown, r.ExitCode)
	requireCheck(t, r, "connection", report.Unknown, "it is not known that this is the server that had the rows")
}

// The rows of somebody else say no more about those of the ledger than no rows do.
func TestTableOfSomebodyElsesOnAServerOfUnknownIdentityHasLostNothing(t *testing.T) {
	t.Parallel()
	own := pgtest.Start(t)
	w := newWitness(t, own.CreateDatabase(t))
	w.proven()
	w.forget(t, func(s *ledger.Sighting) { *s = ledger.Sighting{At: s.At} })
	other := newWitness(t, own.CreateDatabase(t))
	other.proven()
	before := w.subject.Config
	w.subject.Config = other.subject.Config
	r := w.look()
	require.Equal(t, report.ExitUnknown, r.ExitCode)
	requireCheck(t, r, "earlier rows", report.Unknown, "none of 10 acknowledged rows is there, and it is not known that this is the server that had them")
	require.Nil(t, r.Rows)
	require.False(t, has(r, "new rows"))

	// A single row that is there shows that it is.
	w.subject.Config = before
	config, err := before(nil)
	require.NoError(t, err)
	own.Exec(t, own.DSN(config.Database), "delete from verify.rows where seq <> 4")
	r = w.look()
	require.Equal(t, report.ExitViolated, r.ExitCode)
	requireCheck(t, r, "earlier rows", report.Violated, "9 lost")
}

// A look that may not see everything forgets nothing of what was seen before.
func TestWhatIsNotSeenIsNotForgotten(t *testing.T) {
	t.Parallel()
	own := pgtest.Start(t)
	dsn := own.CreateDatabase(t)
	w := newWitness(t, dsn)
	w.proven()
	w.forget(t, func(s *ledger.Sighting) { s.ClaimUID, s.Volume, s.ClusterUID = "claim-uid", "pv-1", "cluster-uid" })
	role := limitedRole(t, own, dsn)
	own.Exec(t, dsn, "revoke execute on function pg_control_system(), pg_control_checkpoint() from public")
	w.subject.Config = func([]string) (*pgx.ConnConfig, error) { return server.ConfigFromDSN(as(dsn, role)) }
	before, err := ledger.Read(w.path)
	require.NoError(t, err)
	w.proven()
	after, err := ledger.Read(w.path)
	require.NoError(t, err)
	for _, seen := range []*ledger.Sighting{&before.Sighting, &after.Sighting} {
		seen.At, seen.FlushedLSN, seen.Commits, seen.IndexComparedFor, seen.Digests = time.Time{}, "", 0, time.Time{}, nil
	}
	require.Equal(t, before.Sighting, after.Sighting)
	require.NotEmpty(t, after.Sighting.SystemIdentifier)
}
