package server

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const (
	beginAttempts = 20
	queryCanceled = "57014"
)

// relied are the settings that verify's statements rely on, whatever the server, the database and
// the role set. Each holds for one transaction only: a pooler lends the same connection to others,
// who are not to find any of this there.
//
// The time-outs come first, so that none of them ends what follows. row_security off makes a query
// fail that would otherwise leave out rows.
const relied = `
	set local statement_timeout = 0;
	set local lock_timeout = 0;
	set local idle_in_transaction_session_timeout = 0;
	set local row_security = off;
	set local search_path = pg_catalog, pg_temp;
	set local client_encoding = 'UTF8';
	set local datestyle = 'ISO, YMD';
	set local timezone = 'UTC';`

// reliedSince are further settings, by the first major version that knows them.
var reliedSince = []struct {
	major   int
	setting string
}{
	{17, `set local transaction_timeout = 0;`},
}

// durable makes a commit wait until it is on the server's disk. What waits for more stays so.
const durable = `
	select set_config('synchronous_commit', 'local', true) where current_setting('synchronous_commit') = 'off';`

// forWriting begins a transaction that writes.
func forWriting(conn *pgx.Conn) pgx.TxOptions {
	return pgx.TxOptions{BeginQuery: "begin isolation level read committed read write not deferrable;" + settings(conn) + durable}
}

// forReading begins a transaction whose queries all see the same moment.
func forReading(conn *pgx.Conn) pgx.TxOptions {
	return pgx.TxOptions{BeginQuery: "begin isolation level repeatable read read only not deferrable;" + settings(conn)}
}

func settings(conn *pgx.Conn) string {
	all := relied
	version := majorVersion(conn)
	for _, since := range reliedSince {
		if version >= since.major {
			all += since.setting
		}
	}
	return all
}

// majorVersion is the one that the server told when the connection was opened; 0 when it told none.
func majorVersion(conn *pgx.Conn) int {
	major, _, _ := strings.Cut(conn.PgConn().ParameterStatus("server_version"), ".")
	// A version under development reads like 18devel.
	if end := strings.IndexFunc(major, func(r rune) bool { return r < '0' || r > '9' }); end >= 0 {
		major = major[:end]
	}
	number, _ := strconv.Atoi(major)
	return number
}

// Begin opens a transaction that writes. Nothing that the server, the database or the role sets
// changes how its statements are read, or how long they may take.
func Begin(ctx context.Context, conn *pgx.Conn) (pgx.Tx, error) {
	return begin(ctx, conn, forWriting(conn))
}

func begin(ctx context.Context, conn *pgx.Conn, options pgx.TxOptions) (pgx.Tx, error) {
	for attempt := 1; ; attempt++ {
		tx, err := conn.BeginTx(ctx, options)
		if err == nil {
			return tx, nil
		}
		if !conn.IsClosed() {
			// One of the statements failed, in a transaction that had begun.
			_, _ = conn.Exec(ctx, "rollback")
		}
		var serverError *pgconn.PgError
		if attempt == beginAttempts || !errors.As(err, &serverError) || serverError.Code != queryCanceled || ctx.Err() != nil {
			return nil, fmt.Errorf("begin: %w", err)
		}
		// A time-out of a millisecond can pass before it is set aside.
	}
}

// Read runs queries in a transaction in which all of them see the same moment. Nothing that the
// server, the database or the role sets changes what they see, or how long they may take: rows that
// the role is not to see are an error.
func Read(ctx context.Context, conn *pgx.Conn, look func(tx pgx.Tx) error) error {
	tx, err := begin(ctx, conn, forReading(conn))
	if err != nil {
		return err
	}
	// There is nothing to keep, and an error here says no more than one of the queries.
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	return look(tx)
}
