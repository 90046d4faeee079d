package server_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"stateful-postgres/verify/internal/pgtest"
	"stateful-postgres/verify/internal/server"
)

func connect(t *testing.T, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func TestMembersShowTheirPlace(t *testing.T) {
	t.Parallel()
	primary := pgtest.Start(t)
	standby := primary.Standby(t, "postgres-1")
	primary.WaitFor(t, `"postgres-1"`)
	ctx := t.Context()
	first, second := connect(t, primary.DSN("postgres")), connect(t, standby.DSN("postgres"))
	p, err := server.ObserveMember(ctx, first)
	require.NoError(t, err)
	require.False(t, p.InRecovery)
	require.EqualValues(t, 1, p.Timeline)
	stream, there := p.Stream("postgres-1")
	require.True(t, there)
	require.Equal(t, server.Stream{Name: "postgres-1", State: "streaming", SyncState: "sync"}, stream)
	require.Equal(t, server.Slot{Active: true, WALStatus: "reserved"}, p.Slots[server.SlotName("postgres-1")])
	_, there = p.Stream("postgres-2")
	require.False(t, there)

	s, err := server.ObserveMember(ctx, second)
	require.NoError(t, err)
	require.True(t, s.InRecovery)
	require.EqualValues(t, 1, s.Timeline)
	require.Equal(t, p.SystemIdentifier, s.SystemIdentifier)
	require.NotEmpty(t, s.SystemIdentifier)
	require.LessOrEqual(t, s.LSN, p.LSN)

	history, seen, err := server.ReadHistory(ctx, first, 1)
	require.NoError(t, err)
	require.True(t, seen)
	require.Empty(t, history)
	primary.StopFast(t)
	standby.Promote(t)
	s, err = server.ObserveMember(ctx, second)
	require.NoError(t, err)
	require.EqualValues(t, 2, s.Timeline, "the one that is written, whenever the next checkpoint comes")
	evidence, err := server.Observe(ctx, second)
	require.NoError(t, err)
	require.EqualValues(t, 2, evidence.Timeline)
	history, seen, err = server.ReadHistory(ctx, second, 2)
	require.NoError(t, err)
	require.True(t, seen)
	require.Len(t, history, 1)
	left, descends := history.Left(1)
	require.True(t, descends)
	require.GreaterOrEqual(t, left, p.LSN)
	began, branched := history.Began()
	require.True(t, branched)
	require.Equal(t, left, began)
	_, descends = history.Left(5)
	require.False(t, descends)
	_, seen, err = server.ReadHistory(ctx, second, 9)
	require.NoError(t, err)
	require.False(t, seen, "there is no such file")
}

func TestHistoryThatTheRoleMayNotReadIsUnseen(t *testing.T) {
	t.Parallel()
	shared := pgtest.Shared(t)
	dsn := shared.CreateDatabase(t)
	shared.Exec(t, dsn, "create role historian login")
	conn := connect(t, strings.Replace(dsn, "//verifier@", "//historian@", 1))
	_, seen, err := server.ReadHistory(t.Context(), conn, 2)
	require.NoError(t, err)
	require.False(t, seen)
	member, err := server.ObserveMember(t.Context(), conn)
	require.NoError(t, err)
	require.EqualValues(t, 1, member.Timeline)
}

func TestPositionsAreWrittenAsPostgreSQLDoes(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"0/0", "0/1A2B3C", "16/B374D848", "FFFFFFFF/FFFFFFFF"} {
		position, err := server.ParseLSN(text)
		require.NoError(t, err)
		require.Equal(t, text, position.String())
	}
	earlier, err := server.ParseLSN("1/0")
	require.NoError(t, err)
	later, err := server.ParseLSN("1/10")
	require.NoError(t, err)
	require.EqualValues(t, 16, later.Sub(earlier))
	require.EqualValues(t, -16, earlier.Sub(later))
	require.Equal(t, "postgres_0", server.SlotName("postgres-0"))
	require.Equal(t, "1/10", fmt.Sprint(later))
}
