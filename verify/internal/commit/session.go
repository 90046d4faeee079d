package commit

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"stateful-postgres/verify/internal/server"
)

// DrainDeadline is how long a COMMIT that was sent is waited for. It is generous: giving up
// turns a known outcome into an unknown one.
const DrainDeadline = 30 * time.Second

// errSealed refuses every connection that pgx would make on a session's behalf.
var errSealed = errors.New("no cancel request while a commit may be in flight")

// Session is a connection for transactions whose outcome matters. It is not safe for
// concurrent use.
type Session struct {
	// Drain is how long a COMMIT that was sent is waited for.
	Drain time.Duration

	conn    *pgx.Conn
	notices []*pgconn.Notice
	// written counts the bytes handed to the network since the session began.
	written atomic.Int64
}

// countingConn adds what is written to a counter, whether or not it arrives.
type countingConn struct {
	net.Conn
	written *atomic.Int64
}

func (c countingConn) Write(data []byte) (int, error) {
	c.written.Add(int64(len(data)))
	return c.Conn.Write(data)
}

// Connect opens a session. Once it is open, nothing can send a CancelRequest for it: pgx does
// so by itself when a connection breaks or a context ends, and one that arrives while a COMMIT
// waits for a standby turns it into a local commit.
func Connect(ctx context.Context, config *pgx.ConnConfig) (*Session, error) {
	session := &Session{Drain: DrainDeadline}
	config = config.Copy()
	config.OnNotice = func(_ *pgconn.PgConn, notice *pgconn.Notice) {
		session.notices = append(session.notices, notice)
	}
	var sealed atomic.Bool
	dial := config.DialFunc
	config.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		if sealed.Load() {
			return nil, errSealed
		}
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return countingConn{Conn: conn, written: &session.written}, nil
	}
	conn, err := server.Connect(ctx, config)
	if err != nil {
		return nil, err
	}
	sealed.Store(true)
	session.conn = conn
	return session, nil
}

// Transact runs work in an explicit transaction and commits it. When ctx ends during work the
// transaction is given up; once COMMIT is sent, ctx no longer matters and its answer is waited
// for. The error explains every outcome but the acknowledged ones. After an error the session
// may be closed: see Usable.
func (s *Session) Transact(ctx context.Context, work func(context.Context, *pgconn.PgConn) error) (Outcome, error) {
	s.notices = nil
	tx, err := server.Begin(ctx, s.conn)
	if err != nil {
		return Classify(BeforeCommit, err, nil), err
	}
	if err := work(ctx, s.conn.PgConn()); err != nil {
		// The outcome does not depend on whether the rollback is answered.
		rollback, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.Drain)
		defer cancel()
		_ = tx.Rollback(rollback)
		return Classify(BeforeCommit, err, nil), err
	}
	return s.end(ctx, tx.Commit)
}

// TransactAsIs runs statements in an explicit transaction, with whatever the server, the database and
// the role set: as an application's transaction is. The statements go out together with the one that
// begins it. Outcome, context and error are as those of Transact.
func (s *Session) TransactAsIs(ctx context.Context, statements string) (Outcome, error) {
	s.notices = nil
	conn := s.conn.PgConn()
	if err := conn.Exec(ctx, "begin; "+statements).Close(); err != nil {
		rollback, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.Drain)
		defer cancel()
		// The outcome does not depend on whether the rollback is answered.
		_ = conn.Exec(rollback, "rollback").Close()
		return Classify(BeforeCommit, err, nil), err
	}
	return s.end(ctx, s.commit)
}

// end commits, and says what became of it.
func (s *Session) end(ctx context.Context, commit func(context.Context) error) (Outcome, error) {
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.Drain)
	defer cancel()
	before := s.written.Load()
	if err := commit(drain); err != nil {
		stage := AtCommit
		if s.written.Load() == before {
			stage = BeforeCommit
		}
		return Classify(stage, err, s.notices), fmt.Errorf("commit: %w", err)
	}
	return Classify(AtCommit, nil, s.notices), nil
}

// commit sends COMMIT, as pgx.Tx does.
func (s *Session) commit(ctx context.Context) error {
	conn := s.conn.PgConn()
	results := conn.Exec(ctx, "commit")
	var tag pgconn.CommandTag
	for results.NextResult() {
		tag, _ = results.ResultReader().Close()
	}
	if err := results.Close(); err != nil {
		if conn.TxStatus() != 'I' {
			_ = s.conn.Close(ctx)
		}
		return err
	}
	if tag.String() == "ROLLBACK" {
		return pgx.ErrTxCommitRollback
	}
	return nil
}

// QueryRow runs a query that returns one row, in no transaction of its own.
func (s *Session) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	return s.conn.QueryRow(ctx, sql, args...)
}

// Usable says whether the session can run another transaction.
func (s *Session) Usable() bool { return !s.conn.IsClosed() }

// Standby says whether the server has said of itself that it is a standby, which takes no writes.
// Servers before PostgreSQL 14 do not say it.
func (s *Session) Standby() bool { return s.conn.PgConn().ParameterStatus("in_hot_standby") == "on" }

// Ping asks the server for an answer.
func (s *Session) Ping(ctx context.Context) error { return s.conn.Ping(ctx) }

// Exec runs one statement in a transaction of its own, which is not accounted for.
func (s *Session) Exec(ctx context.Context, sql string, args ...any) error {
	tx, err := server.Begin(ctx, s.conn)
	if err != nil {
		return err
	}
	// After the commit there is nothing to roll back.
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	if _, err := tx.Exec(ctx, sql, args...); err != nil {
		return err
	}
	return tx.Commit(ctx)
}

// Close ends the session.
func (s *Session) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return s.conn.Close(ctx)
}
