package rows

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"stateful-postgres/verify/internal/commit"
	"stateful-postgres/verify/internal/ledger"
	"stateful-postgres/verify/internal/payload"
	"stateful-postgres/verify/internal/server"
)

// Writer adds rows to the current run of a ledger. It is not safe for concurrent use.
type Writer struct {
	ledger  *ledger.Ledger
	session *commit.Session
	run     *ledger.Run
	source  payload.Source
	// announced is whether verify.runs is known to hold the run.
	announced bool
}

// NewWriter returns a writer that continues the ledger's current run, or starts the first one.
// used is the first sequence number of the run that no row in the table has; a ledger that was
// put back from a copy may not know all of them.
func NewWriter(entries *ledger.Ledger, used int64) (*Writer, error) {
	run := entries.State().Current()
	if run == nil || used > run.Next() {
		// Never two contents for one row: what this ledger has forgotten is left alone.
		var err error
		if run, err = StartRun(entries); err != nil {
			return nil, err
		}
	}
	return &Writer{ledger: entries, run: run, source: payload.NewSource(run.Seed, run.ID)}, nil
}

// StartRun starts a run that nobody has written to.
func StartRun(entries *ledger.Ledger) (*ledger.Run, error) {
	id, seed := ledger.NewRunID(), rand.Int64()
	if err := entries.StartRun(id, seed, false); err != nil {
		return nil, err
	}
	return entries.State().Run(id), nil
}

// Announcement is the statement that tells the database of a run.
func Announcement(run *ledger.Run) string {
	return fmt.Sprintf("insert into verify.runs (run, seed) values (%d, %d) on conflict do nothing", run.ID, run.Seed)
}

// Run is the run that the writer adds to.
func (w *Writer) Run() *ledger.Run { return w.run }

// Use makes the writer write through a session from now on.
func (w *Writer) Use(session *commit.Session) { w.session = session }

// Written is a transaction that was tried.
type Written struct {
	First, Rows int64
	Outcome     commit.Outcome
	// Took is how long the transaction took, from its first byte to its outcome.
	Took time.Duration
}

// LedgerError is a ledger that could not be written. Nothing may be written any more then.
type LedgerError struct{ Err error }

func (e *LedgerError) Error() string { return e.Err.Error() }

// Unwrap returns what the ledger said.
func (e *LedgerError) Unwrap() error { return e.Err }

// Add writes rows in one transaction and enters what became of them. The error explains an
// outcome that is not acknowledged, or is a *LedgerError.
func (w *Writer) Add(ctx context.Context, rows int64) (Written, error) {
	written := Written{First: w.run.Next(), Rows: rows}
	if err := w.ledger.Intend(w.run.ID, written.First, rows, rows); err != nil {
		return written, &LedgerError{err}
	}
	started := time.Now()
	outcome, cause := w.session.Transact(ctx, func(ctx context.Context, conn *pgconn.PgConn) error {
		return w.send(ctx, conn, written.First, rows)
	})
	written.Outcome, written.Took = outcome, time.Since(started)
	w.announced = w.announced || outcome == commit.Acknowledged || outcome == commit.AcknowledgedLocally
	status, decided := map[commit.Outcome]ledger.Status{
		commit.Acknowledged:        ledger.Acknowledged,
		commit.AcknowledgedLocally: ledger.AcknowledgedLocally,
		commit.Failed:              ledger.Failed,
	}[outcome]
	if decided {
		if err := w.ledger.Resolve(w.run.ID, written.First, rows, status); err != nil {
			return written, &LedgerError{err}
		}
	}
	if cause != nil {
		return written, fmt.Errorf("write %d rows: %w", rows, cause)
	}
	return written, nil
}

func (w *Writer) send(ctx context.Context, conn *pgconn.PgConn, first, rows int64) error {
	if !w.announced {
		if err := conn.Exec(ctx, Announcement(w.run)).Close(); err != nil {
			return err
		}
	}
	tag, err := conn.CopyFrom(ctx, &copyText{source: w.source, run: w.run.ID, next: first, end: first + rows},
		"copy verify.rows (run, seq, payload) from stdin")
	if err != nil {
		return err
	}
	if tag.RowsAffected() != rows {
		return fmt.Errorf("the server took %d of %d rows", tag.RowsAffected(), rows)
	}
	return nil
}

// copyText reads as the text format of COPY: one line a row.
type copyText struct {
	source    payload.Source
	run       int64
	next, end int64
	pending   []byte
	line      []byte
}

// Read fills p with whole and partial lines.
func (c *copyText) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		if len(c.pending) == 0 {
			if c.next == c.end {
				if n == 0 {
					return 0, io.EOF
				}
				return n, nil
			}
			c.line = strconv.AppendInt(c.line[:0], c.run, 10)
			c.line = append(c.line, '\t')
			c.line = strconv.AppendInt(c.line, c.next, 10)
			c.line = append(c.line, '\t')
			c.line = c.source.Append(c.line, c.next)
			c.line = append(c.line, '\n')
			c.pending = c.line
			c.next++
		}
		copied := copy(p[n:], c.pending)
		c.pending = c.pending[copied:]
		n += copied
	}
	return n, nil
}

// ReadBack says whether rows that were written are there and unaltered.
func ReadBack(ctx context.Context, conn *pgx.Conn, run *ledger.Run, first, rows int64) (bool, error) {
	var count int64
	var sum string
	err := server.Read(ctx, conn, func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, `select count(*), coalesce(sum(hashtextextended(payload, run # seq))::text, '')
			from verify.rows where run = $1 and seq between $2 and $3`, run.ID, first, first+rows-1).Scan(&count, &sum)
	})
	if err != nil {
		return false, fmt.Errorf("read %d rows back: %w", rows, err)
	}
	found, err := payload.ParseDigest(count, sum)
	return found == payload.NewSource(run.Seed, run.ID).Digest(first, rows), err
}
