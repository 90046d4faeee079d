package check_test

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"stateful-postgres/verify/internal/pgtest"
	"stateful-postgres/verify/internal/report"
	"stateful-postgres/verify/internal/server"
)

// databaseOf is the name of the database in a DSN.
func databaseOf(t *testing.T, dsn string) string {
	t.Helper()
	parsed, err := url.Parse(dsn)
	require.NoError(t, err)
	return strings.TrimPrefix(parsed.Path, "/")
}

// as is the DSN for another role.
func as(dsn, role string) string { return strings.Replace(dsn, "//verifier@", "//"+role+"@", 1) }

// limitedRole makes a role that may do with verify's tables what verify does with them.
func limitedRole(t *testing.T, server *pgtest.Server, dsn string) string {
	t.Helper()
	role := "limited_" + databaseOf(t, dsn)
	server.Exec(t, dsn, "create role "+role+" login", "grant usage on schema verify to "+role, "grant select, insert on all tables in schema verify to "+role)
	return role
}

// A client's settings come from its role, its database and the server. None of them changes what
// verify sees or how long it may look.
func TestSettingsOfTheDatabaseDoNotChangeWhatIsSeen(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		settings []string
		// before is run in the database.
		before []string
		// warning is what is said about the settings: they are what other clients get.
		warning string
	}{
		"statement_timeout":           {settings: []string{"statement_timeout = '1ms'"}},
		"idle in transaction timeout": {settings: []string{"idle_in_transaction_session_timeout = '1ms'"}},
		"read only":                   {settings: []string{"default_transaction_read_only = on"}, warning: "default_transaction_read_only is on"},
		"isolation":                   {settings: []string{"default_transaction_isolation = 'serializable'", "default_transaction_deferrable = on"}},
		"functions of somebody else's": {
			before:   []string{"create schema evil", "create function evil.hashtextextended(text, bigint) returns bigint immutable language sql as 'select 0::bigint'"},
			settings: []string{"search_path = evil, pg_catalog"},
		},
		"tables of somebody else's": {
			before:   []string{"create schema evil", "create view evil.pg_class as select * from pg_catalog.pg_class where relname <> 'rows'"},
			settings: []string{"search_path = evil, pg_catalog"},
		},
		"dates":              {settings: []string{"datestyle = 'German, DMY'", "intervalstyle = 'iso_8601'", "timezone = 'Asia/Kathmandu'"}},
		"numbers and bytes":  {settings: []string{"extra_float_digits = -15", "bytea_output = 'escape'", "standard_conforming_strings = off"}},
		"client_encoding":    {settings: []string{"client_encoding = 'LATIN1'"}},
		"row_security":       {settings: []string{"row_security = on"}},
		"little memory":      {settings: []string{"work_mem = '64kB'"}},
		"synchronous_commit": {settings: []string{"synchronous_commit = off"}, warning: "synchronous_commit is off"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			shared := pgtest.Shared(t)
			dsn := shared.CreateDatabase(t)
			w := newWitness(t, dsn)
			w.proven()
			shared.Exec(t, dsn, "insert into verify.rows select 1, n, md5(n::text) from generate_series(1, 30000) n")
			shared.Exec(t, dsn, test.before...)
			for _, setting := range test.settings {
				shared.Exec(t, shared.DSN("postgres"), fmt.Sprintf("alter database %s set %s", databaseOf(t, dsn), setting))
			}
			r := w.proven()
			requireCheck(t, r, "earlier rows", report.Passed, "10 acknowledged rows")
			requireCheck(t, r, "new rows", report.Passed, "10 rows acknowledged")
			var warnings []string
			for _, c := range r.Checks {
				// The servers of tests have no need to be durable.
				if c.Name == "defaults" && !strings.HasPrefix(c.Detail, "fsync") {
					require.Equal(t, report.Warning, c.Status)
					warnings = append(warnings, c.Detail)
				}
			}
			if test.warning == "" {
				require.Empty(t, warnings)
			} else {
				require.Len(t, warnings, 1)
				require.Contains(t, warnings[0], test.warning)
			}
			require.EqualValues(t, 20, w.proven().Rows.Intact)
		})
	}
}

func has(r *report.Report, name string) bool {
	for _, c := range r.Checks {
		if c.Name == name {
			return true
		}
	}
	return false
}

func TestLockOfAnotherSessionIsWaitedOut(t *testing.T) {
	t.Parallel()
	shared := pgtest.Shared(t)
	dsn := shared.CreateDatabase(t)
	w := newWitness(t, dsn)
	w.proven()
	shared.Exec(t, shared.DSN("postgres"), fmt.Sprintf("alter database %s set lock_timeout = '1ms'", databaseOf(t, dsn)))
	conn, err := pgx.Connect(t.Context(), dsn)
	require.NoError(t, err)
	defer conn.Close(context.WithoutCancel(t.Context()))
	tx, err := conn.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), "lock table verify.rows in access exclusive mode")
	require.NoError(t, err)
	waited := make(chan error, 1)
	go func() {
		// Released once verify waits for it.
		waited <- untilBlocked(t.Context(), shared.DSN("postgres"), databaseOf(t, dsn))
		_ = tx.Rollback(context.WithoutCancel(t.Context()))
	}()
	r := w.proven()
	require.NoError(t, <-waited)
	requireCheck(t, r, "earlier rows", report.Passed, "10 acknowledged rows")
}

// untilBlocked returns once a session of a database waits for a lock.
func untilBlocked(ctx context.Context, dsn, database string) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	for blocked := false; !blocked; {
		if err := conn.QueryRow(ctx, "select exists (select from pg_stat_activity where datname = $1 and wait_event_type = 'Lock')", database).Scan(&blocked); err != nil {
			return err
		}
	}
	return nil
}

// A role that cannot see the rows knows nothing about them.
func TestRowsThatTheRoleCannotSeeAreNotLost(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		// statements are run after the rows were acknowledged; ROLE is the role that looks next.
		statements []string
		detail     string
		hint       string
	}{
		"row-level security": {
			[]string{"alter table verify.rows enable row level security"},
			"row-level security", "bypassrls",
		},
		"row-level security with a policy": {
			[]string{"alter table verify.rows enable row level security", "create policy few on verify.rows using (seq < 5)"},
			"row-level security", "bypassrls",
		},
		"no right to read":       {[]string{"revoke select on verify.rows from ROLE"}, "may not read", "grant select"},
		"no right to the schema": {[]string{"revoke usage on schema verify from ROLE"}, "may not read", "grant usage on schema verify"},
		"a view in its place": {
			[]string{"alter table verify.rows rename to all_rows", "create view verify.rows as select * from verify.all_rows where seq < 5", "grant select on verify.rows to ROLE"},
			"is a view", "verify.all_rows",
		},
		"a materialized view in its place": {
			[]string{"alter table verify.rows rename to all_rows", "create materialized view verify.rows as select * from verify.all_rows where seq < 5", "grant select on verify.rows to ROLE"},
			"is a materialized view", "verify.all_rows",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			shared := pgtest.Shared(t)
			dsn := shared.CreateDatabase(t)
			w := newWitness(t, dsn)
			w.proven()
			role := limitedRole(t, shared, dsn)
			w.subject.Config = func([]string) (*pgx.ConnConfig, error) { return server.ConfigFromDSN(as(dsn, role)) }
			w.proven()
			for _, statement := range test.statements {
				shared.Exec(t, dsn, strings.ReplaceAll(statement, "ROLE", role))
			}
			r := w.look()
			require.Equal(t, report.ExitUnknown, r.ExitCode)
			c := requireCheck(t, r, "earlier rows", report.Unknown, test.detail)
			require.Contains(t, c.Hint, test.hint)
			require.Nil(t, r.Rows, "nothing is said about rows")
			require.False(t, has(r, "new rows"))
		})
	}
}

// A table or database that was renamed is not lost, and one that was dropped is.
func TestWhatWasMovedIsNotLostAndWhatWasDroppedIs(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		// statements are run in the database postgres (after "@") or in that of the rows; NAME is
		// the latter's name. LOOK is a look that proves all.
		statements []string
		exitCode   int
		check      string
		detail     string
		hint       string
	}{
		"the table is renamed": {
			[]string{"alter table verify.rows rename to old_rows"},
			report.ExitUnknown, "earlier rows", "is now verify.old_rows", "alter table verify.old_rows rename to rows",
		},
		"the table is in another schema": {
			[]string{"create schema archive", "alter table verify.rows set schema archive"},
			report.ExitUnknown, "earlier rows", "is now archive.rows", "alter table archive.rows set schema verify",
		},
		"the schema is renamed": {
			[]string{"alter schema verify rename to witness"},
			report.ExitUnknown, "earlier rows", "is now witness.rows", "alter table witness.rows set schema verify",
		},
		"the table is renamed and another in its place": {
			[]string{"alter table verify.rows rename to old_rows", "create table verify.rows (like verify.old_rows including all)"},
			report.ExitUnknown, "earlier rows", "is now verify.old_rows", "alter table verify.old_rows",
		},
		"the table is dropped": {
			[]string{"drop table verify.rows"},
			report.ExitViolated, "earlier rows", "does not exist: 10 lost", "",
		},
		"the table is dropped and made anew": {
			[]string{"create table verify.other (like verify.rows including all)", "drop table verify.rows", "alter table verify.other rename to rows"},
			report.ExitViolated, "earlier rows", "10 lost", "",
		},
		"the table is a partition of one of its name": {
			[]string{
				"alter table verify.rows rename to first_rows",
				"create table verify.rows (run bigint not null, seq bigint not null, payload text collate \"C\" not null, primary key (run, seq)) partition by range (seq)",
				"alter table verify.rows attach partition verify.first_rows for values from (0) to (5000)",
				"create table verify.more_rows partition of verify.rows for values from (5000) to (9000)",
			},
			report.ExitProven, "earlier rows", "10 acknowledged rows", "",
		},
		"a partition is detached": {
			[]string{
				"alter table verify.rows rename to first_rows",
				"create table verify.rows (run bigint not null, seq bigint not null, payload text collate \"C\" not null, primary key (run, seq)) partition by range (seq)",
				"alter table verify.rows attach partition verify.first_rows for values from (0) to (5000)",
				"alter table verify.rows detach partition verify.first_rows",
			},
			report.ExitUnknown, "earlier rows", "verify.first_rows", "",
		},
		"a partition is detached that was one at the last look": {
			[]string{
				"alter table verify.rows rename to first_rows",
				"create table verify.rows (run bigint not null, seq bigint not null, payload text collate \"C\" not null, primary key (run, seq)) partition by range (seq)",
				"alter table verify.rows attach partition verify.first_rows for values from (0) to (5000)",
				"LOOK",
				"alter table verify.rows detach partition verify.first_rows",
			},
			report.ExitUnknown, "earlier rows", "there are 20 rows in table verify.first_rows: was a partition detached?", "attach it again",
		},
		"rows are deleted of which there is a copy": {
			[]string{"create table verify.copied_rows as select * from verify.rows", "delete from verify.rows where seq < 3"},
			report.ExitViolated, "earlier rows", "3 lost", "there are 10 rows in table verify.copied_rows",
		},
		"the database is renamed": {
			[]string{"@alter database NAME rename to NAME_new"},
			report.ExitUnknown, "connection", "is now NAME_new", `alter database "NAME_new" rename to "NAME"`,
		},
		"the database is renamed and another in its place": {
			[]string{"@alter database NAME rename to NAME_new", "@create database NAME"},
			report.ExitUnknown, "database", "is now NAME_new", `alter database "NAME_new" rename to "NAME"`,
		},
		"the database is dropped": {
			[]string{"@drop database NAME"},
			report.ExitViolated, "earlier rows", "the database does not exist: 10 lost", "",
		},
		"the database is dropped and made anew": {
			[]string{"@drop database NAME", "@create database NAME"},
			report.ExitViolated, "earlier rows", "10 lost", "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			shared := pgtest.Shared(t)
			dsn := shared.CreateDatabase(t)
			database := databaseOf(t, dsn)
			w := newWitness(t, dsn)
			w.proven()
			fill := func(text string) string { return strings.ReplaceAll(text, "NAME", database) }
			for _, statement := range test.statements {
				in := dsn
				if rest, elsewhere := strings.CutPrefix(statement, "@"); elsewhere {
					in, statement = shared.DSN("postgres"), rest
				}
				if statement == "LOOK" {
					w.proven()
					continue
				}
				shared.Exec(t, in, fill(statement))
			}
			r := w.look()
			require.Equal(t, test.exitCode, r.ExitCode)
			c := find(t, r, test.check)
			require.Contains(t, c.Detail, fill(test.detail))
			require.Contains(t, c.Hint, fill(test.hint))
			if test.exitCode == report.ExitUnknown {
				require.Nil(t, r.Rows, "nothing is said about rows")
				require.False(t, has(r, "new rows"), "nothing is written where the rows are not")
			}
		})
	}
}
