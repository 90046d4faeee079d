package server

import (
	"context"
	"maps"
	"net/url"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"stateful-postgres/verify/internal/pgtest"
)

// asFound is how a database finds a client that sets nothing.
var asFound = map[string]string{
	"statement_timeout": "1min", "lock_timeout": "2min", "idle_in_transaction_session_timeout": "3min", "row_security": "on",
	"search_path": "public, pg_catalog", "client_encoding": "LATIN1", "DateStyle": "German, DMY", "TimeZone": "Asia/Kathmandu",
	"default_transaction_read_only": "on", "default_transaction_isolation": "serializable", "default_transaction_deferrable": "on",
	"synchronous_commit": "off",
}

func TestTransactionsSetWhatTheyRelyOnAndLeaveNothing(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Shared(t).CreateDatabase(t)
	for name, value := range asFound {
		dsn += "&" + name + "=" + url.PathEscape(value)
	}
	conn, err := pgx.Connect(t.Context(), dsn)
	require.NoError(t, err)
	defer conn.Close(t.Context())
	both := map[string]string{
		"statement_timeout": "0", "lock_timeout": "0", "idle_in_transaction_session_timeout": "0", "row_security": "off",
		"search_path": "pg_catalog, pg_temp", "client_encoding": "UTF8", "DateStyle": "ISO, YMD", "TimeZone": "UTC",
		"transaction_deferrable": "off",
	}
	reading := map[string]string{"transaction_isolation": "repeatable read", "transaction_read_only": "on"}
	writing := map[string]string{"transaction_isolation": "read committed", "transaction_read_only": "off", "synchronous_commit": "local"}
	maps.Copy(reading, both)
	maps.Copy(writing, both)

	require.NoError(t, Read(t.Context(), conn, func(tx pgx.Tx) error {
		requireSettings(t, reading, tx)
		return nil
	}))
	tx, err := Begin(t.Context(), conn)
	require.NoError(t, err)
	requireSettings(t, writing, tx)
	require.NoError(t, tx.Commit(t.Context()))
	// A pooler lends the connection to others next.
	requireSettings(t, asFound, conn)
}

func requireSettings(t *testing.T, expected map[string]string, of interface {
	QueryRow(ctx context.Context, sql string, arguments ...any) pgx.Row
}) {
	t.Helper()
	found := map[string]string{}
	for name := range expected {
		var value string
		require.NoError(t, of.QueryRow(t.Context(), "select current_setting($1)", name).Scan(&value))
		found[name] = value
	}
	require.Equal(t, expected, found)
}

func TestCommitThatWaitsForMoreThanTheDiskStaysSo(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Shared(t).CreateDatabase(t)
	for given, expected := range map[string]string{"off": "local", "local": "local", "remote_write": "remote_write", "on": "on", "remote_apply": "remote_apply"} {
		conn, err := pgx.Connect(t.Context(), dsn+"&synchronous_commit="+given)
		require.NoError(t, err)
		tx, err := Begin(t.Context(), conn)
		require.NoError(t, err)
		var found string
		require.NoError(t, tx.QueryRow(t.Context(), "show synchronous_commit").Scan(&found))
		require.Equal(t, expected, found, given)
		require.NoError(t, conn.Close(t.Context()))
	}
}

// A time-out of a millisecond ends neither the statements that set it aside nor what comes after.
func TestTimeoutsEndNothing(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Shared(t).CreateDatabase(t)
	conn, err := pgx.Connect(t.Context(), dsn+"&statement_timeout=1&idle_in_transaction_session_timeout=1")
	require.NoError(t, err)
	defer conn.Close(t.Context())
	require.NoError(t, Read(t.Context(), conn, func(tx pgx.Tx) error {
		_, err := tx.Exec(t.Context(), "select pg_sleep(0.05)")
		time.Sleep(20 * time.Millisecond)
		return err
	}))
	tx, err := Begin(t.Context(), conn)
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), "select pg_sleep(0.05)")
	require.NoError(t, err)
	time.Sleep(20 * time.Millisecond)
	require.NoError(t, tx.Commit(t.Context()))
}

func TestTransactionThatCannotBeginLeavesTheConnectionUsable(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Shared(t).CreateDatabase(t)
	conn, err := pgx.Connect(t.Context(), dsn)
	require.NoError(t, err)
	defer conn.Close(t.Context())
	_, err = begin(t.Context(), conn, pgx.TxOptions{BeginQuery: "begin; set local no_such_setting = 1"})
	require.ErrorContains(t, err, "no_such_setting")
	require.NoError(t, Read(t.Context(), conn, func(pgx.Tx) error { return nil }))
}

func TestSettingsOfAVersionAreLeftToItsServers(t *testing.T) {
	t.Parallel()
	conn, err := pgx.Connect(t.Context(), pgtest.Shared(t).DSN("postgres"))
	require.NoError(t, err)
	defer conn.Close(t.Context())
	var number string
	require.NoError(t, conn.QueryRow(t.Context(), "show server_version_num").Scan(&number))
	version, err := strconv.Atoi(number)
	require.NoError(t, err)
	require.Equal(t, version/10000, majorVersion(conn))
	for _, since := range reliedSince {
		if majorVersion(conn) >= since.major {
			require.Contains(t, settings(conn), since.setting)
		} else {
			require.NotContains(t, settings(conn), since.setting)
		}
	}
}
