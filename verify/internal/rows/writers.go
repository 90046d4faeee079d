package rows

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"stateful-postgres/verify/internal/server"
)

// Writers are the transactions of others that have written to the table and have not ended, by their virtual
// transaction numbers (pg_locks in PostgreSQL's documentation). Everybody may see these. A transaction whose
// commit waits for a standby is one of them: it keeps its locks until its rows can be seen.
func Writers(ctx context.Context, conn *pgx.Conn) (writers []string, err error) {
	err = server.Read(ctx, conn, func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, `select coalesce(array_agg(virtualtransaction), '{}') from pg_locks
			where locktype = 'relation' and relation = to_regclass('verify.rows') and mode = 'RowExclusiveLock' and granted
			and database = (select oid from pg_database where datname = current_database())
			and pid is distinct from pg_backend_pid()`).Scan(&writers)
	})
	if err != nil {
		return nil, fmt.Errorf("read who writes to table %s: %w", Table, err)
	}
	return writers, nil
}
