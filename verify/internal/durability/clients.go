package durability

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"stateful-postgres/verify/internal/commit"
	"stateful-postgres/verify/internal/history"
)

const (
	// connectTimeout is for one attempt to connect, connectPause between two.
	connectTimeout = 3 * time.Second
	connectPause   = 20 * time.Millisecond
	// drain is how long the answer to a COMMIT is waited for: shorter than elsewhere, because a server
	// whose node is gone never answers, and everything else goes on meanwhile.
	drain = 10 * time.Second
	// workTimeout is for what comes before COMMIT.
	workTimeout = 10 * time.Second
	// readPace is from one read to the next, readTimeout for one.
	readPace    = 50 * time.Millisecond
	readTimeout = 5 * time.Second
	// mostNamed is how many rows are named that a read did not find.
	mostNamed = 10
)

// connector opens connections to the server that takes the writes.
type connector interface {
	Open(context.Context) (*commit.Session, error)
}

// client keeps a connection, and opens another one when it broke.
type client struct {
	connector connector
	meter     *meter
	session   *commit.Session
	// broke says that there was one before.
	broke bool

	mutex sync.Mutex
	// last is why the last attempt to connect, or to write, failed; nil after one that did not.
	last error
}

func (c *client) met(err error) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.last = err
}

// problem is why nothing is written, or nil.
func (c *client) problem() error {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return c.last
}

// connected returns the connection, or nil when there is none yet: try again after a pause.
func (c *client) connected(ctx context.Context) *commit.Session {
	// A primary that another one has taken the place of tells that it is a standby.
	if c.session != nil && (!c.session.Usable() || c.session.Standby()) {
		c.leave()
	}
	if c.session != nil {
		return c.session
	}
	attempt, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	session, err := c.connector.Open(attempt)
	if err != nil {
		c.met(err)
		return nil
	}
	session.Drain = drain
	c.session = session
	if c.broke {
		c.meter.reconnected()
	}
	return session
}

// leave gives the connection up.
func (c *client) leave() {
	if c.session != nil {
		_ = c.session.Close()
		c.session, c.broke = nil, true
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// writer commits one row after the other, as fast as they are acknowledged.
type writer struct {
	client
	pen pen
	// since is when the transaction began that is not answered yet, in nanoseconds of the clock; 0
	// between two.
	since atomic.Int64
	// acknowledged is the row that was acknowledged last, -1 before.
	acknowledged atomic.Int64
}

// run writes until ctx ends. A transaction in flight is waited for. The error is one of the ledger.
func (w *writer) run(ctx context.Context) error {
	defer w.leave()
	statement := make([]byte, 0, 256)
	for ctx.Err() == nil {
		session := w.connected(ctx)
		if session == nil {
			pause(ctx, connectPause)
			continue
		}
		row, err := w.pen.row()
		if err != nil {
			return err
		}
		statement = fmt.Appendf(statement[:0], "insert into verify.rows (run, seq, payload) values (%d, %d, '", w.pen.account.run, row)
		statement = append(w.pen.account.source.Append(statement, row), '\'', ')')

		began := time.Now()
		w.since.Store(began.UnixNano())
		outcome, err := transact(ctx, session, string(statement))
		ended := time.Now()
		w.since.Store(0)
		w.meter.outcome(outcome, began, ended)
		w.met(err)
		if err := w.pen.outcome(row, outcome); err != nil {
			return err
		}
		switch outcome {
		case commit.Acknowledged, commit.AcknowledgedLocally:
			w.acknowledged.Store(row)
		default:
			if session.Usable() {
				// The server refuses: it is not asked as fast as it can say no.
				pause(ctx, connectPause)
			}
			if outcome == commit.Unknown {
				w.leave()
			}
		}
	}
	return w.pen.finish()
}

func transact(ctx context.Context, session *commit.Session, statement string) (commit.Outcome, error) {
	// The end of the run interrupts nobody: what was begun comes to its end.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), workTimeout)
	defer cancel()
	return session.TransactAsIs(ctx, statement)
}

// reader looks for rows that were acknowledged before it began to look.
type reader struct {
	client
	run     int64
	writers []*writer
	// reads is read when the reader has ended.
	reads history.Reads
}

// rowQuery asks for one row, and whether the server takes writes: what a standby lacks is no news.
const rowQuery = "select exists (select from verify.rows where run = $1 and seq = $2), pg_is_in_recovery()"

// read looks until ctx ends.
func (r *reader) read(ctx context.Context) {
	defer r.leave()
	for i := 0; ctx.Err() == nil; i++ {
		pause(ctx, readPace)
		row := r.writers[i%len(r.writers)].acknowledged.Load()
		if row < 0 {
			continue
		}
		session := r.connected(ctx)
		if session == nil {
			continue
		}
		var there, standby bool
		attempt, cancel := context.WithTimeout(ctx, readTimeout)
		err := session.QueryRow(attempt, rowQuery, r.run, row).Scan(&there, &standby)
		cancel()
		if err != nil || standby {
			r.leave()
			continue
		}
		r.reads.Answered++
		if !there {
			r.reads.Without++
			if len(r.reads.Named) < mostNamed {
				r.reads.Named = append(r.reads.Named, row)
			}
		}
	}
}
