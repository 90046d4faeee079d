package rows

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"stateful-postgres/verify/internal/ledger"
	"stateful-postgres/verify/internal/server"
)

// Copy is a table that holds rows of a ledger, and is not the one that verify writes to.
type Copy struct {
	Name Name
	Rows int64
}

// Elsewhere looks for rows of the ledger's runs in the other tables of a database that have the
// columns for them. Tables that the role may not read are left out.
func Elsewhere(ctx context.Context, conn *pgx.Conn, state *ledger.State) ([]Copy, error) {
	runs := runsOf(state)
	var found []Copy
	err := server.Read(ctx, conn, func(tx pgx.Tx) error {
		candidates, err := similarTables(ctx, tx)
		if err != nil {
			return err
		}
		for _, name := range candidates {
			copied := Copy{Name: name}
			// A run has a random number of 48 bits: no other table has it by chance.
			err := tx.QueryRow(ctx, fmt.Sprintf("select count(*) from %s where run = any($1)", name), runs).Scan(&copied.Rows)
			if err != nil {
				return fmt.Errorf("count rows in table %s: %w", name, err)
			}
			if copied.Rows > 0 {
				found = append(found, copied)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look for rows in other tables: %w", err)
	}
	return found, nil
}

// similarTables are the tables with verify's columns that the role can read in full, but for the
// table that verify writes to and its parts.
func similarTables(ctx context.Context, tx pgx.Tx) ([]Name, error) {
	rows, err := tx.Query(ctx, `
		with recursive parts(oid) as (
			select c.oid from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = 'verify' and c.relname = 'rows'
			union select inhrelid from pg_inherits join parts on inhparent = parts.oid)
		select quote_ident(n.nspname), quote_ident(c.relname) from pg_class c join pg_namespace n on n.oid = c.relnamespace
		where c.relkind in ('r', 'p') and not c.relispartition and c.oid not in (select oid from parts)
			and (select count(*) = 3 from pg_attribute where attrelid = c.oid and not attisdropped
				and (attname, atttypid::regtype::text) in (('run', 'bigint'), ('seq', 'bigint'), ('payload', 'text')))
			and has_schema_privilege(n.oid, 'usage') and has_table_privilege(c.oid, 'select') and not row_security_active(c.oid)
		order by 1, 2`)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[Name])
}

// Count is how many rows of the ledger's runs the table has that verify writes to.
func Count(ctx context.Context, conn *pgx.Conn, state *ledger.State) (int64, error) {
	var count int64
	err := server.Read(ctx, conn, func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, `select count(*) from verify.rows where run = any($1)`, runsOf(state)).Scan(&count)
	})
	if err != nil {
		return 0, fmt.Errorf("count the ledger's rows: %w", err)
	}
	return count, nil
}

// Runs are the runs that a database knows of. They are none where the role may not see them.
func Runs(ctx context.Context, conn *pgx.Conn) (map[int64]bool, error) {
	runs := map[int64]bool{}
	err := server.Read(ctx, conn, func(tx pgx.Tx) error {
		var readable bool
		err := tx.QueryRow(ctx, `
			select exists (select from pg_class c join pg_namespace n on n.oid = c.relnamespace
				where n.nspname = 'verify' and c.relname = 'runs' and c.relkind = 'r'
				and has_schema_privilege(n.oid, 'usage') and has_table_privilege(c.oid, 'select') and not row_security_active(c.oid))`).Scan(&readable)
		if err != nil || !readable {
			return err
		}
		found, err := tx.Query(ctx, `select run from verify.runs`)
		if err != nil {
			return err
		}
		var run int64
		_, err = pgx.ForEachRow(found, []any{&run}, func() error { runs[run] = true; return nil })
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the runs of the database: %w", err)
	}
	return runs, nil
}

func runsOf(state *ledger.State) []int64 {
	var runs []int64
	for _, run := range state.Runs {
		runs = append(runs, run.ID)
	}
	return runs
}
