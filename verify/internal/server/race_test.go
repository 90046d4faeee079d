package server_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"stateful-postgres/verify/internal/pgtest"
	"stateful-postgres/verify/internal/server"
)

// candidates are ways to addresses, in this order.
func candidates(t *testing.T, addresses ...string) []server.Candidate[*pgx.Conn] {
	t.Helper()
	var all []server.Candidate[*pgx.Conn]
	for _, address := range addresses {
		config, err := server.ConfigFromDSN("postgres://u@" + address + "/d?sslmode=disable")
		require.NoError(t, err)
		all = append(all, server.Candidate[*pgx.Conn]{Connect: func(ctx context.Context) (*pgx.Conn, error) { return server.Connect(ctx, config) }})
	}
	return all
}

func closed(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	return listener.Addr().String()
}

func discard(conn *pgx.Conn) { _ = conn.Close(context.Background()) }

func TestAddressesThatSwallowPacketsStarveNoOthers(t *testing.T) {
	t.Parallel()
	var addresses []string
	for range 5 {
		addresses = append(addresses, pgtest.BlackHole(t, "127.0.0.1", 0))
	}
	addresses = append(addresses, closed(t), listen(t, welcome))
	started := time.Now()
	conn, index, err := server.First(t.Context(), candidates(t, addresses...), discard)
	require.NoError(t, err)
	require.Equal(t, len(addresses)-1, index)
	require.Less(t, time.Since(started), 4*time.Second, "no address's own time-out was waited for")
	discard(conn)
}

func TestHostOfAConnectionStringThatSwallowsPacketsStarvesNoOther(t *testing.T) {
	t.Parallel()
	config, err := server.ConfigFromDSN("postgres://u@" + pgtest.BlackHole(t, "127.0.0.1", 0) + "," + listen(t, welcome) + "/d?sslmode=disable")
	require.NoError(t, err)
	conn, err := server.Wait(withTimeout(t, 30*time.Second), func(ctx context.Context) (*pgx.Conn, error) { return server.Connect(ctx, config) }, func(string) {})
	require.NoError(t, err)
	discard(conn)
}

func TestFirstSaysWhatAllMet(t *testing.T) {
	t.Parallel()
	one, other := closed(t), closed(t)
	_, err := server.Wait(withTimeout(t, 300*time.Millisecond), func(ctx context.Context) (*pgx.Conn, error) {
		conn, _, err := server.First(ctx, candidates(t, one, other), discard)
		return conn, err
	}, func(string) {})
	var unreachable *server.Unreachable
	require.ErrorAs(t, err, &unreachable)
	require.Equal(t, fmt.Sprintf("%s: connection refused; %s: connection refused", one, other), unreachable.Last)
	require.Greater(t, unreachable.Attempts, 1)
}

func TestServerThatRefusesEndsTheRace(t *testing.T) {
	t.Parallel()
	_, err := server.Wait(withTimeout(t, 20*time.Second), func(ctx context.Context) (*pgx.Conn, error) {
		conn, _, err := server.First(ctx, candidates(t, closed(t), listen(t, refuse("28P01", "no")), pgtest.BlackHole(t, "127.0.0.1", 0)), discard)
		return conn, err
	}, func(string) {})
	var refusal *server.Refusal
	require.ErrorAs(t, err, &refusal)
	require.Equal(t, "28P01", refusal.Code)
}

// A server that starts is asked once, not over each way to it.
func TestServerThatAnswersIsNotAskedOverEveryWay(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	starting := func(conn net.Conn) {
		asked.Add(1)
		refuse("57P03", "the database system is starting up")(conn)
	}
	_, index, err := server.First(t.Context(), candidates(t, closed(t), listen(t, starting), listen(t, starting), listen(t, starting)), discard)
	require.ErrorContains(t, err, "starting up")
	require.Equal(t, 1, index, "the way that led to it")
	require.EqualValues(t, 1, asked.Load())
}

func TestWhatComesTooLateIsDiscarded(t *testing.T) {
	t.Parallel()
	late := make(chan struct{})
	var discarded atomic.Int32
	done := make(chan struct{})
	all := []server.Candidate[string]{
		{Connect: func(context.Context) (string, error) { <-late; return "late", nil }},
		{Connect: func(context.Context) (string, error) { return "first", nil }},
	}
	value, index, err := server.First(t.Context(), all, func(value string) {
		require.Equal(t, "late", value)
		discarded.Add(1)
		close(done)
	})
	require.NoError(t, err)
	require.Equal(t, "first", value)
	require.Equal(t, 1, index)
	require.Zero(t, discarded.Load())
	close(late)
	<-done
	require.EqualValues(t, 1, discarded.Load())
}

func TestCandidateIsNotTriedBeforeItsTime(t *testing.T) {
	t.Parallel()
	var tried atomic.Bool
	all := []server.Candidate[string]{
		{Connect: func(context.Context) (string, error) { return "", errors.New("no") }},
		{NotBefore: time.Now().Add(time.Hour), Connect: func(context.Context) (string, error) { tried.Store(true); return "", nil }},
	}
	_, _, err := server.First(t.Context(), all, func(string) {})
	require.ErrorContains(t, err, "no")
	require.False(t, tried.Load())

	// While another is still being tried, its time comes.
	all[0].Connect = func(ctx context.Context) (string, error) { <-ctx.Done(); return "", ctx.Err() }
	all[1] = server.Candidate[string]{NotBefore: time.Now().Add(300 * time.Millisecond), Connect: func(context.Context) (string, error) { return "forwarded", nil }}
	started := time.Now()
	value, _, err := server.First(t.Context(), all, func(string) {})
	require.NoError(t, err)
	require.Equal(t, "forwarded", value)
	require.GreaterOrEqual(t, time.Since(started), 290*time.Millisecond)
}

func withTimeout(t *testing.T, timeout time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	t.Cleanup(cancel)
	return ctx
}
