package server_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/stretchr/testify/require"

	"stateful-postgres/verify/internal/pgtest"
	"stateful-postgres/verify/internal/server"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// listen serves each connection with the next of the given functions, the last one for good.
func listen(t *testing.T, serve ...func(net.Conn)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { listener.Close() })
	go func() {
		for i := 0; ; i++ {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go serve[min(i, len(serve)-1)](conn)
		}
	}()
	return listener.Addr().String()
}

// refuse is a server that answers every client with an error.
func refuse(code, message string) func(net.Conn) {
	return func(conn net.Conn) {
		defer conn.Close()
		backend := pgproto3.NewBackend(conn, conn)
		if _, err := backend.ReceiveStartupMessage(); err != nil {
			return
		}
		backend.Send(&pgproto3.ErrorResponse{Severity: "FATAL", Code: code, Message: message})
		_ = backend.Flush()
	}
}

func welcome(conn net.Conn) {
	backend := pgproto3.NewBackend(conn, conn)
	if _, err := backend.ReceiveStartupMessage(); err != nil {
		return
	}
	backend.Send(&pgproto3.AuthenticationOk{})
	backend.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	_ = backend.Flush()
}

func hangUp(conn net.Conn) {
	// A connection that is closed before it was read is reset.
	_, _ = conn.Read(make([]byte, 512))
	conn.Close()
}

func wait(t *testing.T, address string, deadline time.Duration) (met []string, err error) {
	t.Helper()
	config, err := server.ConfigFromDSN("postgres://u@" + address + "/d?sslmode=disable")
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	conn, err := server.Wait(ctx, func(ctx context.Context) (*pgx.Conn, error) { return server.Connect(ctx, config) },
		func(m string) { met = append(met, m) })
	if err == nil {
		require.NoError(t, conn.Close(t.Context()))
	}
	return met, err
}

func TestServerThatIsNotThereYetIsWaitedFor(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		first    func(net.Conn)
		expected string
	}{
		"starting up":                            {refuse("57P03", "the database system is starting up"), "starting up (SQLSTATE 57P03)"},
		"shutting down":                          {refuse("57P01", "terminating connection"), "SQLSTATE 57P01"},
		"too many connections":                   {refuse("53300", "sorry, too many clients already"), "SQLSTATE 53300"},
		"hangs up":                               {hangUp, "EOF"},
		"a pooler that has lost its server":      {refuse("08P01", "server conn crashed?"), "SQLSTATE 08P01"},
		"a pooler that cannot reach its server":  {refuse("08006", "connection failure"), "SQLSTATE 08006"},
		"a pooler all of whose servers are down": {refuse("58000", "could not get connection from the pool"), "SQLSTATE 58000"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			met, err := wait(t, listen(t, test.first, test.first, welcome), 30*time.Second)
			require.NoError(t, err)
			require.NotEmpty(t, met)
			require.Contains(t, met[0], test.expected)
		})
	}
}

func TestRefusedConnectionIsWaitedOutUntilTheDeadline(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := listener.Addr().String()
	require.NoError(t, listener.Close())
	_, err = wait(t, address, 300*time.Millisecond)
	var unreachable *server.Unreachable
	require.ErrorAs(t, err, &unreachable)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Equal(t, address+": connection refused", unreachable.Last)
	require.Greater(t, unreachable.Attempts, 1)
}

func TestRefusalByTheServerIsNotWaitedOut(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		code       string
		hint       string
		noDatabase bool
	}{
		"wrong password":   {"28P01", "check user and password", false},
		"not in pg_hba":    {"28000", "check user and password", false},
		"no such database": {"3D000", "is not there", true},
		"anything else":    {"XX000", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := wait(t, listen(t, refuse(test.code, "no")), 30*time.Second)
			var refusal *server.Refusal
			require.ErrorAs(t, err, &refusal)
			require.Contains(t, refusal.Problem, test.code)
			require.Contains(t, refusal.Hint, test.hint)
			require.Equal(t, test.noDatabase, refusal.NoSuchDatabase())
		})
	}
}

func TestProbeTellsAServerFromWhatIsLeftOfOne(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	closed := listener.Addr().String()
	require.NoError(t, listener.Close())
	real := pgtest.Shared(t)
	for name, test := range map[string]struct {
		address  string
		reach    server.Reach
		expected string
	}{
		"a real server":        {fmt.Sprintf("127.0.0.1:%d", real.Port), server.Reached, `"N"`},
		"a server in recovery": {listen(t, refuse("57P03", "starting up")), server.Reached, "answered"},
		"nothing":              {closed, server.Refused, "connection refused"},
		"a proxy":              {listen(t, hangUp), server.Refused, "closed without an answer"},
		"a firewall":           {pgtest.BlackHole(t, "127.0.0.1", 0), server.Unanswered, "no answer within 300ms"},
		"no name":              {"no-such-host.invalid:5432", server.Unanswered, "no-such-host"},
		"a hanging server":     {listen(t, func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }), server.Silent, "silent"},
		"a bad address":        {"127.0.0.1:99999", server.Unanswered, "invalid port"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reach, said := server.Probe(t.Context(), test.address, 300*time.Millisecond)
			require.Equal(t, test.reach, reach)
			require.Contains(t, said, test.expected)
		})
	}
}

func TestObserveSeesTheServer(t *testing.T) {
	t.Parallel()
	shared := pgtest.Shared(t)
	dsn := shared.CreateDatabase(t)
	conn, err := pgx.Connect(t.Context(), dsn)
	require.NoError(t, err)
	defer conn.Close(t.Context())
	e, err := server.Observe(t.Context(), conn)
	require.NoError(t, err)
	require.NotEmpty(t, e.SystemIdentifier)
	require.EqualValues(t, 1, e.Timeline)
	require.True(t, e.Checksums)
	require.Zero(t, e.ChecksumFailures)
	require.False(t, e.InRecovery)
	require.WithinDuration(t, time.Now(), e.PostmasterStart, 10*time.Minute)
	require.Empty(t, e.Unseen)
	_, err = server.ParseLSN(e.FlushedLSN)
	require.NoError(t, err)
}

func TestObserveNotesWhatARoleMayNotSee(t *testing.T) {
	t.Parallel()
	shared := pgtest.Start(t)
	dsn := shared.CreateDatabase(t)
	shared.Exec(t, dsn, "create role limited login", "revoke execute on function pg_control_system() from public")
	conn, err := pgx.Connect(t.Context(), strings.Replace(dsn, "//verifier@", "//limited@", 1))
	require.NoError(t, err)
	defer conn.Close(t.Context())
	e, err := server.Observe(t.Context(), conn)
	require.NoError(t, err)
	require.Len(t, e.Unseen, 1)
	require.Equal(t, "identity (no right to execute pg_control_system())", e.Unseen[0])
	require.Empty(t, e.SystemIdentifier)
	require.NotEmpty(t, e.Version)
}

func TestConfigKeepsEveryCharacterOfAPassword(t *testing.T) {
	t.Parallel()
	password := `it's a \ "long" one =`
	config, err := server.Config([]string{"10.0.0.1:30432", "[fd00::1]:30432"}, "my db", "o'neil", password, nil)
	require.NoError(t, err)
	require.Equal(t, password, config.Password)
	require.Equal(t, "o'neil", config.User)
	require.Equal(t, "my db", config.Database)
	require.Equal(t, "10.0.0.1", config.Host)
	var hosts []string
	for _, fallback := range config.Fallbacks {
		hosts = append(hosts, fallback.Host)
	}
	require.Contains(t, hosts, "fd00::1")
	_, err = server.Config([]string{"nowhere"}, "d", "u", "p", nil)
	require.Error(t, err)
}

func TestParseLSN(t *testing.T) {
	t.Parallel()
	position, err := server.ParseLSN("1/AB000028")
	require.NoError(t, err)
	require.Equal(t, server.LSN(1<<32|0xAB000028), position)
	for _, bad := range []string{"", "12", "x/1", "1/x", "1/123456789"} {
		_, err := server.ParseLSN(bad)
		require.Error(t, err, bad)
	}
	require.False(t, errors.Is(err, io.EOF))
}
