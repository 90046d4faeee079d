package commit_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/stretchr/testify/require"

	"stateful-postgres/verify/internal/commit"
)

// scriptedServer plays PostgreSQL: what it answers to the work and to COMMIT is the test's.
type scriptedServer struct {
	listener    net.Listener
	connections chan *scriptedConnection
}

type scriptedConnection struct {
	*pgproto3.Backend
	conn net.Conn
	// first is the message that opened the connection.
	first pgproto3.FrontendMessage
}

func startScriptedServer(t *testing.T) *scriptedServer {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { listener.Close() })
	server := &scriptedServer{listener: listener, connections: make(chan *scriptedConnection, 10)}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				close(server.connections)
				return
			}
			backend := pgproto3.NewBackend(conn, conn)
			first, err := backend.ReceiveStartupMessage()
			if err != nil {
				conn.Close()
				continue
			}
			server.connections <- &scriptedConnection{Backend: backend, conn: conn, first: first}
		}
	}()
	return server
}

func (s *scriptedServer) config(t *testing.T) *pgx.ConnConfig {
	t.Helper()
	config, err := pgx.ParseConfig(fmt.Sprintf("postgres://u@%s/d?sslmode=disable", s.listener.Addr()))
	require.NoError(t, err)
	return config
}

func (c *scriptedConnection) send(messages ...pgproto3.BackendMessage) error {
	for _, message := range messages {
		c.Send(message)
	}
	return c.Flush()
}

func (c *scriptedConnection) greet() error {
	return c.send(&pgproto3.AuthenticationOk{}, &pgproto3.BackendKeyData{ProcessID: 1, SecretKey: []byte{0, 0, 0, 2}},
		&pgproto3.ReadyForQuery{TxStatus: 'I'})
}

// expect reads up to a simple query and fails when it is another one.
func (c *scriptedConnection) expect(sql string) error {
	return c.expectQuery(sql, func(found string) bool { return found == sql })
}

// begin answers the query that begins a transaction and sets what it relies on.
func (c *scriptedConnection) begin() error {
	err := c.expectQuery("begin …", func(found string) bool { return strings.HasPrefix(found, "begin ") })
	return errors.Join(err, complete("BEGIN", 'T')(c))
}

func (c *scriptedConnection) expectQuery(expected string, is func(string) bool) error {
	message, err := c.Receive()
	if err != nil {
		return err
	}
	query, ok := message.(*pgproto3.Query)
	if !ok || !is(query.String) {
		return fmt.Errorf("received %#v, expected the query %q", message, expected)
	}
	return nil
}

type answer func(*scriptedConnection) error

func complete(tag string, status byte) answer {
	return func(c *scriptedConnection) error {
		return c.send(&pgproto3.CommandComplete{CommandTag: []byte(tag)}, &pgproto3.ReadyForQuery{TxStatus: status})
	}
}

func refuse(severity, code string, status byte) answer {
	return func(c *scriptedConnection) error {
		return c.send(&pgproto3.ErrorResponse{Severity: severity, SeverityUnlocalized: severity, Code: code, Message: "scripted"},
			&pgproto3.ReadyForQuery{TxStatus: status})
	}
}

func refuseAndHangUp(severity, code string) answer {
	return func(c *scriptedConnection) error {
		if err := c.send(&pgproto3.ErrorResponse{Severity: severity, SeverityUnlocalized: severity, Code: code, Message: "scripted"}); err != nil {
			return err
		}
		return c.conn.Close()
	}
}

func hangUp(c *scriptedConnection) error { return c.conn.Close() }

func reset(c *scriptedConnection) error {
	if err := c.conn.(*net.TCPConn).SetLinger(0); err != nil {
		return err
	}
	return c.conn.Close()
}

func silence(*scriptedConnection) error { return nil }

func commitWithNotice(routine, message string) answer {
	return func(c *scriptedConnection) error {
		return c.send(&pgproto3.NoticeResponse{Severity: "WARNING", SeverityUnlocalized: "WARNING", Code: "01000", Message: message, Routine: routine},
			&pgproto3.CommandComplete{CommandTag: []byte("COMMIT")}, &pgproto3.ReadyForQuery{TxStatus: 'I'})
	}
}

func TestOutcomeOfATransaction(t *testing.T) {
	t.Parallel()
	insert := "insert into t values (1)"
	inserted := complete("INSERT 0 1", 'T')
	for name, test := range map[string]struct {
		toWork   answer
		toCommit answer
		expected commit.Outcome
	}{
		"error in the work":                        {toWork: refuse("ERROR", "23505", 'E'), expected: commit.Failed},
		"fatal in the work":                        {toWork: refuseAndHangUp("FATAL", "57P01"), expected: commit.Failed},
		"connection lost in the work":              {toWork: hangUp, expected: commit.Failed},
		"connection reset in the work":             {toWork: reset, expected: commit.Failed},
		"commit answered":                          {toWork: inserted, toCommit: complete("COMMIT", 'I'), expected: commit.Acknowledged},
		"commit answered with an unrelated notice": {toWork: inserted, toCommit: commitWithNotice("other", "something else"), expected: commit.Acknowledged},
		"standby wait given up":                    {toWork: inserted, toCommit: commitWithNotice("", "canceling wait for synchronous replication due to user request"), expected: commit.AcknowledgedLocally},
		"standby wait given up, another language":  {toWork: inserted, toCommit: commitWithNotice("SyncRepWaitForLSN", "storniere Warten auf synchrone Replikation"), expected: commit.AcknowledgedLocally},
		"commit answered with rollback":            {toWork: inserted, toCommit: complete("ROLLBACK", 'I'), expected: commit.Failed},
		"deferred constraint":                      {toWork: inserted, toCommit: refuse("ERROR", "23503", 'I'), expected: commit.Failed},
		"serialization failure":                    {toWork: inserted, toCommit: refuse("ERROR", "40001", 'I'), expected: commit.Failed},
		"error, then connection lost":              {toWork: inserted, toCommit: refuseAndHangUp("ERROR", "40001"), expected: commit.Unknown},
		"statement completion unknown":             {toWork: inserted, toCommit: refuse("ERROR", "40003", 'I'), expected: commit.Unknown},
		"connection exception":                     {toWork: inserted, toCommit: refuse("ERROR", "08006", 'I'), expected: commit.Unknown},
		"transaction resolution unknown":           {toWork: inserted, toCommit: refuse("ERROR", "08007", 'I'), expected: commit.Unknown},
		"query canceled":                           {toWork: inserted, toCommit: refuse("ERROR", "57014", 'I'), expected: commit.Unknown},
		"admin shutdown":                           {toWork: inserted, toCommit: refuseAndHangUp("FATAL", "57P01"), expected: commit.Unknown},
		"crash shutdown":                           {toWork: inserted, toCommit: refuseAndHangUp("FATAL", "57P02"), expected: commit.Unknown},
		"fatal of a harmless class":                {toWork: inserted, toCommit: refuseAndHangUp("FATAL", "40001"), expected: commit.Unknown},
		"panic":                                    {toWork: inserted, toCommit: refuseAndHangUp("PANIC", "XX000"), expected: commit.Unknown},
		"connection lost":                          {toWork: inserted, toCommit: hangUp, expected: commit.Unknown},
		"connection reset":                         {toWork: inserted, toCommit: reset, expected: commit.Unknown},
		"no answer within the deadline":            {toWork: inserted, toCommit: silence, expected: commit.Unknown},
		"answered, but lost before the session is idle": {toWork: inserted, expected: commit.Unknown, toCommit: func(c *scriptedConnection) error {
			if err := c.send(&pgproto3.CommandComplete{CommandTag: []byte("COMMIT")}); err != nil {
				return err
			}
			return c.conn.Close()
		}},
	} {
		// Both ways to run a transaction have the same outcomes.
		for way, run := range map[string]struct {
			begin    func(*scriptedConnection) error
			transact func(context.Context, *commit.Session) (commit.Outcome, error)
		}{
			"with settings": {
				func(c *scriptedConnection) error { return errors.Join(c.begin(), c.expect(insert)) },
				func(ctx context.Context, session *commit.Session) (commit.Outcome, error) {
					return session.Transact(ctx, func(ctx context.Context, conn *pgconn.PgConn) error { return conn.Exec(ctx, insert).Close() })
				},
			},
			"as is": {
				func(c *scriptedConnection) error {
					return errors.Join(c.expect("begin; "+insert), c.send(&pgproto3.CommandComplete{CommandTag: []byte("BEGIN")}))
				},
				func(ctx context.Context, session *commit.Session) (commit.Outcome, error) {
					return session.TransactAsIs(ctx, insert)
				},
			},
		} {
			t.Run(name+", "+way, func(t *testing.T) {
				t.Parallel()
				server := startScriptedServer(t)
				script := make(chan error, 1)
				go func() {
					c := <-server.connections
					script <- errors.Join(c.greet(), run.begin(c), test.toWork(c))
					if test.toCommit != nil {
						script <- errors.Join(c.expect("commit"), test.toCommit(c))
					}
				}()
				session, err := commit.Connect(t.Context(), server.config(t))
				require.NoError(t, err)
				defer session.Close()
				session.Drain = 200 * time.Millisecond

				outcome, err := run.transact(t.Context(), session)
				require.Equal(t, test.expected, outcome, "%v", err)
				require.Equal(t, outcome == commit.Acknowledged || outcome == commit.AcknowledgedLocally, err == nil)
				require.NoError(t, <-script)
				if test.toCommit != nil {
					require.NoError(t, <-script)
				}
			})
		}
	}
}

func TestCommitThatWasNeverSentFailed(t *testing.T) {
	t.Parallel()
	server := startScriptedServer(t)
	go func() {
		c := <-server.connections
		_ = errors.Join(c.greet(), c.begin())
	}()
	session, err := commit.Connect(t.Context(), server.config(t))
	require.NoError(t, err)
	outcome, err := session.Transact(t.Context(), func(ctx context.Context, conn *pgconn.PgConn) error {
		// Work that succeeds and leaves a closed connection behind: COMMIT cannot be sent.
		return conn.Close(ctx)
	})
	require.Error(t, err)
	require.Equal(t, commit.Failed, outcome)
	require.False(t, session.Usable())
}

// An interrupted client must neither cancel a COMMIT in flight nor forget its answer.
func TestInterruptionDoesNotCancelACommitInFlight(t *testing.T) {
	t.Parallel()
	server := startScriptedServer(t)
	ctx, interrupt := context.WithCancel(t.Context())
	go func() {
		c := <-server.connections
		_ = errors.Join(c.greet(), c.begin(), c.expect("commit"))
		interrupt()
		// Whatever an impatient client would send arrives before the answer.
		if _, cancelled := receive(server.connections, 200*time.Millisecond); cancelled {
			return
		}
		_ = complete("COMMIT", 'I')(c)
	}()
	session, err := commit.Connect(ctx, server.config(t))
	require.NoError(t, err)
	defer session.Close()
	outcome, err := session.Transact(ctx, func(context.Context, *pgconn.PgConn) error { return nil })
	require.NoError(t, err)
	require.Equal(t, commit.Acknowledged, outcome)
	require.Error(t, ctx.Err())
}

// pgx sends a CancelRequest by itself when a connection breaks or a deadline passes.
func TestBrokenCommitSendsNoCancelRequest(t *testing.T) {
	t.Parallel()
	for name, toCommit := range map[string]answer{"no answer": silence, "connection lost": hangUp} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := startScriptedServer(t)
			go func() {
				c := <-server.connections
				_ = errors.Join(c.greet(), c.begin(), c.expect("commit"), toCommit(c))
			}()
			session, err := commit.Connect(t.Context(), server.config(t))
			require.NoError(t, err)
			session.Drain = 50 * time.Millisecond
			outcome, err := session.Transact(t.Context(), func(context.Context, *pgconn.PgConn) error { return nil })
			require.Error(t, err)
			require.Equal(t, commit.Unknown, outcome)
			if second, ok := receive(server.connections, 500*time.Millisecond); ok {
				t.Fatalf("a second connection arrived and began with %#v", second.first)
			}
		})
	}
}

func receive(connections <-chan *scriptedConnection, wait time.Duration) (*scriptedConnection, bool) {
	select {
	case c, ok := <-connections:
		return c, ok
	case <-time.After(wait):
		return nil, false
	}
}

func TestNothingIsKnownBeforeCommitIsTried(t *testing.T) {
	t.Parallel()
	require.Equal(t, commit.Unknown, commit.Classify(commit.BeforeCommit, nil, nil))
	for outcome, name := range map[commit.Outcome]string{
		commit.Unknown: "unknown", commit.Acknowledged: "acknowledged",
		commit.AcknowledgedLocally: "acknowledged locally", commit.Failed: "failed",
	} {
		require.Equal(t, name, outcome.String())
	}
}
