package server

import (
	"fmt"

	"github.com/jackc/pgx/v5"
)

// Collation is a sort order whose version is another than the one that indexes were made with:
// the image brings another C library or ICU, and text may be in another order than the index says.
type Collation struct {
	// Database is where it is used.
	Database string
	// Name is empty for the default collation of the database.
	Name string
	// Recorded is the version at its creation or last refresh, Actual that of the library in use;
	// empty when that one does not tell.
	Recorded, Actual string
	// Statements are to be run in Database, in this order, as its owner.
	Statements []string
}

const (
	// databaseCollations are those of all databases that let anyone in. template0 does not.
	databaseCollations = `
		with versions as materialized (
			select datname, datcollversion as recorded, pg_database_collation_actual_version(oid) as actual
			from pg_database where datallowconn and datcollversion is not null)
		select datname, '', recorded, coalesce(actual, ''), quote_ident(datname), ''
		from versions where actual is distinct from recorded
		order by datname <> current_database(), datname`

	// namedCollations are those that indexes and partitions of this database name. Before
	// PostgreSQL 15 a database's own version is not recorded; then that of the collation from which
	// it has its order stands for it ($1).
	namedCollations = `
		with used as materialized (
			select oid, collnamespace, collname, collversion as recorded from pg_collation c
			where collversion is not null and (
				oid in (select unnest(indcollation::oid[]) from pg_index)
				or oid in (select unnest(partcollation::oid[]) from pg_partitioned_table)
				or $1 and collprovider = 'c' and collname = (select datcollate from pg_database where datname = current_database()))),
		versions as materialized (
			select *, pg_collation_actual_version(oid) as actual from used)
		select current_database(), collname, recorded, coalesce(actual, ''), quote_ident(current_database()),
			quote_ident(nspname) || '.' || quote_ident(collname)
		from versions join pg_namespace n on n.oid = collnamespace
		where actual is distinct from recorded
		order by collname, nspname`
)

// queueCollations queues the queries of the collations whose version has changed.
func queueCollations(batch *pgx.Batch, number int, found *[]Collation) {
	read := func(rows pgx.Rows) error {
		var c Collation
		var database, collation string
		_, err := pgx.ForEachRow(rows, []any{&c.Database, &c.Name, &c.Recorded, &c.Actual, &database, &collation}, func() error {
			changed := c
			changed.Statements = []string{fmt.Sprintf("REINDEX DATABASE %s;", database)}
			switch {
			case c.Actual == "":
				// The server refuses to enter that there is no version.
			case c.Name == "":
				changed.Statements = append(changed.Statements, fmt.Sprintf("ALTER DATABASE %s REFRESH COLLATION VERSION;", database))
			default:
				changed.Statements = append(changed.Statements, fmt.Sprintf("ALTER COLLATION %s REFRESH VERSION;", collation))
			}
			*found = append(*found, changed)
			return nil
		})
		if err != nil {
			return fmt.Errorf("read the versions of collations: %w", err)
		}
		return nil
	}
	ownVersion := number >= 150000
	if ownVersion {
		batch.Queue(databaseCollations).Query(read)
	}
	batch.Queue(namedCollations, !ownVersion).Query(read)
}
