package server

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"stateful-postgres/verify/internal/pgtest"
)

// observe reads the collations that have changed, as of a server of a version.
func observe(t *testing.T, dsn string, number int) []Collation {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	require.NoError(t, err)
	defer conn.Close(t.Context())
	var found []Collation
	require.NoError(t, Read(t.Context(), conn, func(tx pgx.Tx) error {
		batch := &pgx.Batch{}
		queueCollations(batch, number, &found)
		return tx.SendBatch(t.Context(), batch).Close()
	}))
	return found
}

func run(t *testing.T, s *pgtest.Server, c Collation) {
	t.Helper()
	for _, statement := range c.Statements {
		s.Exec(t, s.DSN(c.Database), statement)
	}
}

func TestChangedCollationOfADatabaseIsSeenUntilItsStatementsRan(t *testing.T) {
	t.Parallel()
	s := pgtest.Start(t)
	for _, name := range []string{"one", `"The-Other"`} {
		s.Exec(t, s.DSN("postgres"), "create database "+name+" template template0 locale_provider icu icu_locale 'en'")
	}
	require.Empty(t, observe(t, s.DSN("one"), 150000))

	s.Exec(t, s.DSN("postgres"), "update pg_database set datcollversion = '1.2' where datname in ('one', 'The-Other')")
	found := observe(t, s.DSN("one"), 150000)
	require.Len(t, found, 2)
	require.Equal(t, "one", found[0].Database, "the one that is connected to comes first")
	require.Equal(t, "1.2", found[0].Recorded)
	require.NotEmpty(t, found[0].Actual)
	require.Equal(t, []string{"REINDEX DATABASE one;", "ALTER DATABASE one REFRESH COLLATION VERSION;"}, found[0].Statements)
	require.Equal(t, []string{`REINDEX DATABASE "The-Other";`, `ALTER DATABASE "The-Other" REFRESH COLLATION VERSION;`}, found[1].Statements)
	run(t, s, found[0])
	run(t, s, found[1])
	require.Empty(t, observe(t, s.DSN("one"), 150000))
}

func TestChangedCollationOfAnIndexIsSeenUntilItsStatementsRan(t *testing.T) {
	t.Parallel()
	s := pgtest.Start(t)
	dsn := s.CreateDatabase(t)
	s.Exec(t, dsn,
		`create table names (name text collate "en-x-icu", other text collate "de-x-icu")`,
		"create index on names (name)",
		`create table parts (name text collate "fr-x-icu") partition by range (name)`,
		"update pg_collation set collversion = '1.2' where collname in ('en-x-icu', 'de-x-icu', 'fr-x-icu', 'it-x-icu')")
	for _, number := range []int{100000, 150000} {
		found := observe(t, dsn, number)
		require.Len(t, found, 2, "those that are in use")
		require.Equal(t, "en-x-icu", found[0].Name)
		require.Equal(t, "fr-x-icu", found[1].Name)
		require.Equal(t, `ALTER COLLATION pg_catalog."en-x-icu" REFRESH VERSION;`, found[0].Statements[1])
	}
	for _, c := range observe(t, dsn, 150000) {
		run(t, s, c)
	}
	require.Empty(t, observe(t, dsn, 150000))
}

func TestLibraryThatTellsNoVersionIsSeen(t *testing.T) {
	t.Parallel()
	s := pgtest.Start(t)
	// The locale C has no versions, like every locale of a C library that tells none.
	dsn := s.CreateDatabase(t)
	require.Empty(t, observe(t, dsn, 150000))
	s.Exec(t, dsn, "update pg_database set datcollversion = '2.36' where datname = current_database()")
	found := observe(t, dsn, 150000)
	require.Len(t, found, 1)
	require.Equal(t, "2.36", found[0].Recorded)
	require.Empty(t, found[0].Actual)
	require.Len(t, found[0].Statements, 1, "the server refuses to enter that there is no version")
}

func TestOrderOfADatabaseBeforePostgreSQL15IsThatOfItsCollation(t *testing.T) {
	t.Parallel()
	s := pgtest.Start(t)
	s.Exec(t, s.DSN("postgres"), "create database old template template0 locale 'C.utf8'")
	// What initdb of 13 and 14 enters for the locales that it finds.
	s.Exec(t, s.DSN("old"), "update pg_collation set collversion = '2.28' where collname = 'C.utf8'")
	require.Empty(t, observe(t, s.DSN("old"), 150000), "15 records the version of the database itself")
	found := observe(t, s.DSN("old"), 140000)
	require.Len(t, found, 1)
	require.Equal(t, "C.utf8", found[0].Name)
	require.Equal(t, "2.28", found[0].Recorded)
}
