package pgtest

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// followDeadline is for a standby to stream: a receiver that did not start, as on a busy machine, is given up
// after 10 seconds, and the next one comes 5 seconds later.
const followDeadline = 90 * time.Second

// Standby returns a server that follows this one, made from a copy of its files. name is what it calls
// itself; its slot is named so, too, with _ for -. It returns once the standby streams.
func (s *Server) Standby(t testing.TB, name string) *Server {
	t.Helper()
	standby := newServer(t)
	slot := strings.ReplaceAll(name, "-", "_")
	out, err := s.Program(context.Background(), "pg_basebackup", "--pgdata", standby.DataDirectory, "--dbname", s.DSN("postgres"),
		"--checkpoint", "fast", "--wal-method", "stream", "--create-slot", "--slot", slot, "--no-sync").CombinedOutput()
	require.NoError(t, err, string(out))
	standby.Follow(t, s, name)
	return standby
}

// Follow makes a stopped server a standby of another one, and starts it. It returns once the standby
// streams.
func (s *Server) Follow(t testing.TB, primary *Server, name string) {
	t.Helper()
	s.BeStandbyOf(t, primary, name)
	s.Run(t)
	streams := fmt.Sprintf("select count(*)::text from pg_stat_replication where application_name = '%s' and state = 'streaming'", name)
	if !assert.Eventually(t, func() bool { return primary.Query(t, streams) == "1" }, followDeadline, 20*time.Millisecond) {
		require.FailNow(t, name+" does not stream", "its log:\n%s\nthe primary's log:\n%s", s.Log(), primary.Log())
	}
}

// BeStandbyOf makes a stopped server a standby of another one from its next start on.
func (s *Server) BeStandbyOf(t testing.TB, primary *Server, name string) {
	t.Helper()
	require.NoError(t, s.WriteFile("standby.signal", ""))
	require.NoError(t, s.WriteFile("postgresql.auto.conf", fmt.Sprintf(
		"primary_conninfo = 'host=127.0.0.1 port=%d user=%s application_name=%s'\nprimary_slot_name = '%s'\nwal_receiver_status_interval = '1s'\n",
		primary.Port, superuser, name, strings.ReplaceAll(name, "-", "_"))))
}

// Promote makes a standby take writes, on a timeline of its own.
func (s *Server) Promote(t testing.TB) {
	t.Helper()
	require.Equal(t, "true", s.Query(t, "select pg_promote()::text"))
}

// WaitFor makes commits wait for standbys, as synchronous_standby_names says. It returns once it holds.
func (s *Server) WaitFor(t testing.TB, names string) {
	t.Helper()
	s.Exec(t, s.DSN("postgres"), fmt.Sprintf("alter system set synchronous_standby_names = '%s'", names), "select pg_reload_conf()")
	require.Eventually(t, func() bool { return s.Query(t, "show synchronous_standby_names") == names }, deadline, 20*time.Millisecond)
	if names != "" {
		require.Eventually(t, func() bool {
			return s.Query(t, "select (count(*) > 0)::text from pg_stat_replication where sync_state in ('sync', 'quorum')") == "true"
		}, deadline, 20*time.Millisecond)
	}
}

// Query returns the one text that a query yields.
func (s *Server) Query(t testing.TB, query string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.DSN("postgres"))
	require.NoError(t, err)
	defer conn.Close(ctx)
	var text string
	require.NoError(t, conn.QueryRow(ctx, query).Scan(&text))
	return text
}
