package durability

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"stateful-postgres/verify/internal/commit"
	"stateful-postgres/verify/internal/history"
)

const (
	// connectTimeout is for one attempt to connect. connectPause is between the first two, and twice as
	// long each time up to longestPause: to let a client in takes the server more than to say no.
	connectTimeout = 3 * time.Second
	connectPause   = 20 * time.Millisecond
	longestPause   = 250 * time.Millisecond
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
	// pace is shared by all clients that write.
	pace    *rate.Limiter
	session *commit.Session
	// broke says that there was one before. pause is how long it is waited before another is opened.
	broke bool
	pause time.Duration
	// since is when the transaction began that is not answered yet, in nanoseconds of the clock; 0
	// between two.
	since atomic.Int64

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

// connected returns the connection, or nil after a pause when there is none yet: try again.
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
		c.pause = min(max(2*c.pause, connectPause), longestPause)
		pause(ctx, c.pause)
		return nil
	}
	session.Drain, c.pause = drain, 0
	c.session = session
	if c.broke {
		c.meter.reconnected()
	}
	return session
}

// transact runs a transaction, and counts what became of it.
func (c *client) transact(run func() (commit.Outcome, error)) commit.Outcome {
	began := time.Now()
	c.since.Store(began.UnixNano())
	outcome, err := run()
	ended := time.Now()
	c.since.Store(0)
	c.meter.outcome(outcome, began, ended)
	c.met(err)
	return outcome
}

func committed(outcome commit.Outcome) bool {
	return outcome == commit.Acknowledged || outcome == commit.AcknowledgedLocally
}

// after makes ready for the next transaction.
func (c *client) after(ctx context.Context, outcome commit.Outcome) {
	switch {
	case committed(outcome):
	case outcome == commit.Unknown:
		c.leave()
	case c.session.Usable():
		// The server refuses: it is not asked as fast as it can say no.
		pause(ctx, connectPause)
	}
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
			continue
		}
		if w.pace.Wait(ctx) != nil {
			break
		}
		row, err := w.pen.row()
		if err != nil {
			return err
		}
		statement = fmt.Appendf(statement[:0], "insert into verify.rows (run, seq, payload) values (%d, %d, '", w.pen.account.run, row)
		statement = append(w.pen.account.source.Append(statement, row), '\'', ')')

		outcome := w.transact(func() (commit.Outcome, error) {
			// The end of the run interrupts nobody: what was begun comes to its end.
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), workTimeout)
			defer cancel()
			return session.TransactAsIs(ctx, string(statement))
		})
		if err := w.pen.outcome(row, outcome); err != nil {
			return err
		}
		if committed(outcome) {
			w.acknowledged.Store(row)
		}
		w.after(ctx, outcome)
	}
	return w.pen.finish()
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
