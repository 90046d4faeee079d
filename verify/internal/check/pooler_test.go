package check_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/stretchr/testify/require"

	"stateful-postgres/verify/internal/check"
	"stateful-postgres/verify/internal/pgtest"
	"stateful-postgres/verify/internal/report"
)

// pooler lets clients in and passes their queries on to a server, as PgBouncer does. While it cannot
// reach the server, it answers the first query with an error and hangs up.
type pooler struct {
	to string
	// lost is how many more connections find no server.
	lost     atomic.Int32
	refusals atomic.Int32
}

func startPooler(t *testing.T, to *pgtest.Server) (*pooler, string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { listener.Close() })
	p := &pooler{to: net.JoinHostPort("127.0.0.1", strconv.Itoa(to.Port))}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go p.serve(conn)
		}
	}()
	return p, listener.Addr().String()
}

func (p *pooler) serve(client net.Conn) {
	defer client.Close()
	if p.lost.Add(-1) >= 0 {
		p.refusals.Add(1)
		backend := pgproto3.NewBackend(client, client)
		if _, err := backend.ReceiveStartupMessage(); err != nil {
			return
		}
		backend.Send(&pgproto3.AuthenticationOk{})
		backend.Send(&pgproto3.ParameterStatus{Name: "server_version", Value: "15.1"})
		backend.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
		if backend.Flush() != nil {
			return
		}
		if _, err := backend.Receive(); err != nil {
			return
		}
		backend.Send(&pgproto3.ErrorResponse{Severity: "FATAL", SeverityUnlocalized: "FATAL", Code: "08P01", Message: "server login has been failing, try again later"})
		_ = backend.Flush()
		return
	}
	to, err := net.Dial("tcp", p.to)
	if err != nil {
		return
	}
	defer to.Close()
	go func() { _, _ = io.Copy(to, client); to.Close() }()
	_, _ = io.Copy(client, to)
}

func TestServerThatAPoolerHasLostIsWaitedFor(t *testing.T) {
	t.Parallel()
	shared := pgtest.Shared(t)
	for name, change := range map[string]func(*check.Checker){
		"check": nil,
		"fill":  func(c *check.Checker) { c.Fill = &check.Fill{Rows: 100, Batch: 10} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, address := startPooler(t, shared)
			w := newWitness(t, fmt.Sprintf("postgres://verifier@%s/%s?sslmode=disable", address, databaseOf(t, shared.CreateDatabase(t))))
			w.proven()
			w.change = change
			p.lost.Store(3)
			require.Equal(t, report.ExitProven, w.look().ExitCode)
			require.EqualValues(t, 3, p.refusals.Load())

			// The connection for writing meets it, too.
			config := w.subject.Config
			w.subject.Config = func(addresses []string) (*pgx.ConnConfig, error) {
				parsed, err := config(addresses)
				if err == nil {
					// Once the first connection is in use, the server is lost again.
					parsed.AfterConnect = onceConnected(func() { p.lost.Store(2) })
				}
				return parsed, err
			}
			require.Equal(t, report.ExitProven, w.look().ExitCode)
			require.EqualValues(t, 5, p.refusals.Load())

			w.subject.Config = config
			p.lost.Store(1000)
			r := w.lookWithin(time.Second)
			require.Equal(t, report.ExitDeadline, r.ExitCode)
			requireCheck(t, r, "connection", report.Unknown, "server login has been failing")
		})
	}
}

// onceConnected calls back after the first connection.
func onceConnected(call func()) func(context.Context, *pgconn.PgConn) error {
	var called atomic.Bool
	return func(context.Context, *pgconn.PgConn) error {
		if !called.Swap(true) {
			call()
		}
		return nil
	}
}
