// Package rows writes rows that can be proven to be there later, and audits them: it compares
// the table with what a ledger knows and names every row that is missing, altered, doubled or
// should not exist.
package rows

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"stateful-postgres/verify/internal/ledger"
	"stateful-postgres/verify/internal/server"
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
	// OID stays the same however the table is renamed or moved; 0 when there is none of its name.
	OID uint32
	// Columns is false when the table does not have the columns that Create makes.
	Columns bool
	// Complete says that there is nothing left for Create to make.
	Complete bool
	// Partitioned says that the rows may be in several tables.
	Partitioned bool
	// PrimaryKey is the name of the valid index that holds (run, seq) unique; empty when there
	// is none.
	PrimaryKey string
	// Unseen says why the role cannot see all rows of the table, and Remedy what to do about it.
	Unseen, Remedy string
	// Moved is where the table is that was looked for by its OID; nil when it is in its place, or
	// nowhere any more.
	Moved *Name
}

// Exists says whether there is a table of the name.
func (c *Condition) Exists() bool { return c.OID != 0 }

// Name is the name of a table, each part quoted where SQL needs it.
type Name struct{ Schema, Table string }

func (n Name) String() string { return n.Schema + "." + n.Table }

// WayBack are the statements that bring a table of this name to where verify looks for it.
func (n Name) WayBack() string {
	var statements []string
	if n.Schema != "verify" {
		statements = append(statements, "create schema if not exists verify", fmt.Sprintf("alter table %s set schema verify", n))
		n.Schema = "verify"
	}
	if n.Table != "rows" {
		statements = append(statements, fmt.Sprintf("alter table %s rename to rows", n))
	}
	return strings.Join(statements, "; ")
}

// kinds are what can have the name of a table and is none.
var kinds = map[string]string{"v": "a view", "m": "a materialized view", "f": "a foreign table", "S": "a sequence", "c": "a composite type", "i": "an index"}

// Inspect looks at the table's definition. It looks into the catalog alone, which every role may
// read. recorded is the OID that the table had when its rows were last seen; 0 when that is not
// known.
func Inspect(ctx context.Context, conn *pgx.Conn, recorded uint32) (Condition, error) {
	var condition Condition
	err := server.Read(ctx, conn, func(tx pgx.Tx) error {
		if err := condition.read(ctx, tx); err != nil {
			return err
		}
		if recorded == 0 || recorded == condition.OID {
			return nil
		}
		return condition.findMoved(ctx, tx, recorded)
	})
	if err != nil {
		return Condition{}, fmt.Errorf("look at table %s: %w", Table, err)
	}
	return condition, nil
}

func (c *Condition) read(ctx context.Context, tx pgx.Tx) error {
	var kind, role string
	var schemaUsable, readable, filtered bool
	err := tx.QueryRow(ctx, `
		select c.oid, c.relkind::text, current_user,
			(select count(*) = 3 from pg_attribute where attrelid = c.oid and not attisdropped
				and (attname, atttypid::regtype::text) in (('run', 'bigint'), ('seq', 'bigint'), ('payload', 'text'))),
			exists (select from pg_class where relnamespace = n.oid and relname = 'runs'),
			coalesce((select i.indexrelid::regclass::text from pg_index i
				where i.indrelid = c.oid and i.indisprimary and i.indisvalid), ''),
			has_schema_privilege(n.oid, 'usage'), has_table_privilege(c.oid, 'select'), row_security_active(c.oid)
		from pg_class c join pg_namespace n on n.oid = c.relnamespace
		where n.nspname = 'verify' and c.relname = 'rows'`).
		Scan(&c.OID, &kind, &role, &c.Columns, &c.Complete, &c.PrimaryKey, &schemaUsable, &readable, &filtered)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	c.Partitioned = kind == "p"
	role = pgx.Identifier{role}.Sanitize()
	switch {
	case kind != "r" && kind != "p":
		c.Unseen = fmt.Sprintf("%s is %s, and not the table that verify made", Table, cmp.Or(kinds[kind], "no table"))
		c.Remedy = "put the table back in its place"
	case !schemaUsable:
		c.Unseen = fmt.Sprintf("role %s may not read %s", role, Table)
		c.Remedy = fmt.Sprintf("run: grant usage on schema verify to %s", role)
	case !readable:
		c.Unseen = fmt.Sprintf("role %s may not read %s", role, Table)
		c.Remedy = fmt.Sprintf("run: grant select on all tables in schema verify to %s", role)
	case filtered:
		c.Unseen = fmt.Sprintf("row-level security may hide rows of %s from role %s", Table, role)
		c.Remedy = fmt.Sprintf("look as the table's owner, or as a superuser run: alter role %s bypassrls", role)
	}
	return nil
}

// findMoved looks for the table under another name. One that is a part of the table in its place
// has not gone anywhere.
func (c *Condition) findMoved(ctx context.Context, tx pgx.Tx, recorded uint32) error {
	var name Name
	err := tx.QueryRow(ctx, `
		with recursive parts(oid) as (
			select $1::oid union select inhrelid from pg_inherits join parts on inhparent = parts.oid)
		select quote_ident(n.nspname), quote_ident(c.relname) from pg_class c join pg_namespace n on n.oid = c.relnamespace
		where c.oid = $2 and c.relkind in ('r', 'p') and c.oid not in (select oid from parts)
			and (select count(*) = 3 from pg_attribute where attrelid = c.oid and not attisdropped and attname in ('run', 'seq', 'payload'))`,
		c.OID, recorded).Scan(&name.Schema, &name.Table)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err == nil {
		c.Moved = &name
	}
	return err
}

// Create makes the table where there is none.
func Create(ctx context.Context, exec func(ctx context.Context, sql string, args ...any) error) error {
	return server.Make(ctx, Table, definition, exec)
}

// Seed reads the seed of a run from the database.
func Seed(ctx context.Context, conn *pgx.Conn, run int64) (int64, error) {
	var seed int64
	err := server.Read(ctx, conn, func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, `select seed from verify.runs where run = $1`, run).Scan(&seed)
	})
	if err != nil {
		return 0, fmt.Errorf("seed of run %d in verify.runs: %w", run, err)
	}
	return seed, nil
}

// Used returns the first sequence number of a run that no row in the table has and the ledger
// never used.
func Used(ctx context.Context, conn *pgx.Conn, run *ledger.Run) (int64, error) {
	var last int64
	err := server.Read(ctx, conn, func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, `select coalesce(max(seq), -1) from verify.rows where run = $1`, run.ID).Scan(&last)
	})
	if err != nil {
		return 0, fmt.Errorf("last row of run %d: %w", run.ID, err)
	}
	return max(last+1, run.Next()), nil
}
