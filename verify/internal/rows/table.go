// Package rows writes rows that can be proven to be there later, and audits them: it compares
// the table with what a ledger knows and names every row that is missing, altered, doubled or
// should not exist.
package rows

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"stateful-postgres/verify/internal/ledger"
)

// Table is the full name of the table that holds the rows.
const Table = "verify.rows"

// The collation is fixed because hashtextextended depends on it, and "C" exists everywhere.
// verify.runs holds what somebody without the ledger needs to check a run's content.
var definition = []string{
	`create schema if not exists verify`,
	`create table if not exists verify.runs (
		run bigint primary key,
		seed bigint not null,
		started_at timestamptz not null default now())`,
	`create table if not exists verify.rows (
		run bigint not null,
		seq bigint not null,
		payload text collate "C" not null,
		primary key (run, seq))`,
}

// Condition is what there is of the table.
type Condition struct {
	// Exists is false when there is no table of that name.
	Exists bool
	// Columns is false when the table does not have the columns that Create makes.
	Columns bool
	// PrimaryKey is the name of the valid index that holds (run, seq) unique; empty when there
	// is none.
	PrimaryKey string
}

// Inspect looks at the table's definition.
func Inspect(ctx context.Context, conn *pgx.Conn) (Condition, error) {
	var condition Condition
	err := conn.QueryRow(ctx, `
		select true,
			(select count(*) = 3 from pg_attribute where attrelid = c.oid and not attisdropped
				and (attname, atttypid::regtype::text) in (('run', 'bigint'), ('seq', 'bigint'), ('payload', 'text'))),
			coalesce((select i.indexrelid::regclass::text from pg_index i
				where i.indrelid = c.oid and i.indisprimary and i.indisvalid), '')
		from pg_class c where c.oid = to_regclass('verify.rows') and c.relkind in ('r', 'p')`).
		Scan(&condition.Exists, &condition.Columns, &condition.PrimaryKey)
	if errors.Is(err, pgx.ErrNoRows) {
		return Condition{}, nil
	}
	if err != nil {
		return Condition{}, fmt.Errorf("look at table %s: %w", Table, err)
	}
	return condition, nil
}

// Create makes the table where there is none.
func Create(ctx context.Context, exec func(ctx context.Context, sql string, args ...any) error) error {
	for _, statement := range definition {
		if err := exec(ctx, statement); err != nil && !madeMeanwhile(err) {
			return fmt.Errorf("create table %s: %w", Table, err)
		}
	}
	return nil
}

// madeMeanwhile recognises the race of "if not exists" with another session: a unique violation
// in the catalog, or the object itself.
func madeMeanwhile(err error) bool {
	var serverError *pgconn.PgError
	if !errors.As(err, &serverError) {
		return false
	}
	switch serverError.Code {
	case "23505", "42P06", "42P07":
		return true
	}
	return false
}

// Seed reads the seed of a run from the database.
func Seed(ctx context.Context, conn *pgx.Conn, run int64) (int64, error) {
	var seed int64
	err := conn.QueryRow(ctx, `select seed from verify.runs where run = $1`, run).Scan(&seed)
	if err != nil {
		return 0, fmt.Errorf("seed of run %d in verify.runs: %w", run, err)
	}
	return seed, nil
}

// Used returns the first sequence number of a run that no row in the table has and the ledger
// never used.
func Used(ctx context.Context, conn *pgx.Conn, run *ledger.Run) (int64, error) {
	var last int64
	if err := conn.QueryRow(ctx, `select coalesce(max(seq), -1) from verify.rows where run = $1`, run.ID).Scan(&last); err != nil {
		return 0, fmt.Errorf("last row of run %d: %w", run.ID, err)
	}
	return max(last+1, run.Next()), nil
}
