package register

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"stateful-postgres/verify/internal/commit"
	"stateful-postgres/verify/internal/server"
)

// Table is the full name of the table that holds the values. A key without a row has no value.
const Table = "verify.registers"

var definition = []string{
	`create schema if not exists verify`,
	`create table if not exists verify.registers (
		run bigint not null,
		key int not null,
		value bigint not null,
		primary key (run, key))`,
}

// Create makes the table where there is none.
func Create(ctx context.Context, exec func(ctx context.Context, sql string, args ...any) error) error {
	return server.Make(ctx, Table, definition, exec)
}

// What a client does, as shares of a hundred. Swaps are what is left.
const (
	readShare  = 40
	writeShare = 20
	// stayShare is how often it stays with the key that it has just used: a swap takes place only when
	// nobody was quicker.
	stayShare = 70
	// earlierShare is how often it reads any key of the run, so that also what nobody works on any more
	// is looked at after a fault.
	earlierShare = 2
)

// Client does one operation after the other. It is not safe for concurrent use.
type Client struct {
	run     *Run
	session *commit.Session
	id      int32
	random  *rand.Rand
	// place is that of the key used last, among the keys in use.
	place int
	// seen are the values that the client saw last.
	seen map[int32]int64
}

// Use makes the client work through a session from now on.
func (c *Client) Use(session *commit.Session) { c.session = session }

// Answer is what became of an operation.
type Answer struct {
	Operation Operation
	// Commit is the outcome of the transaction. One that was acknowledged locally may be lost, so that the
	// operation is not done.
	Commit commit.Outcome
	// Took is how long the transaction took, from its first byte to its outcome.
	Took time.Duration
}

// Wait waits as long as it takes for the record to last until the end of the run, when that is known.
func (c *Client) Wait(ctx context.Context) {
	wait := c.run.ahead()
	if wait <= 0 {
		return
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// Next picks an operation. Whoever swaps expects the value that the client saw last.
func (c *Client) Next() Operation {
	if c.random.IntN(100) < earlierShare {
		return Operation{Kind: Read, Key: c.random.Int32N(int32(c.run.Keys()))}
	}
	if c.random.IntN(100) >= stayShare {
		c.place = c.random.IntN(c.run.places())
	}
	op := Operation{Key: c.run.key(c.place)}
	expected, seen := c.seen[op.Key]
	switch share := c.random.IntN(100); {
	case share < readShare:
		op.Kind = Read
	case share < readShare+writeShare:
		op.Kind, op.Value = Write, c.run.newValue()
	case seen:
		op.Kind, op.Expected, op.Value = Swap, expected, c.run.newValue()
	default:
		op.Kind = Read
	}
	return op
}

// Do does an operation and enters what became of it. The error explains a commit that is not
// acknowledged, or is ErrFull.
func (c *Client) Do(ctx context.Context, op Operation) (Answer, error) {
	if c.run.full() {
		return Answer{}, ErrFull
	}
	return c.do(ctx, op)
}

func (c *Client) do(ctx context.Context, op Operation) (Answer, error) {
	op.Client = c.id
	began, sent := time.Now(), false
	outcome, err := c.session.Transact(ctx, func(ctx context.Context, conn *pgconn.PgConn) error {
		// Until now nothing was said about the key.
		op.CallUS, sent = c.run.microseconds(time.Now()), true
		return op.send(ctx, conn, c.run.id)
	})
	ended := time.Now()
	op.ReturnUS = c.run.microseconds(ended)
	switch outcome {
	case commit.Acknowledged:
		op.Outcome = Done
	case commit.Failed:
		op.Outcome = Failed
	default:
		op.Outcome = Unknown
	}
	if sent {
		c.run.keep(op)
	} else {
		op.CallUS = c.run.microseconds(began)
	}
	c.remember(&op)
	answer := Answer{Operation: op, Commit: outcome, Took: ended.Sub(began)}
	if err != nil {
		return answer, fmt.Errorf("%s key %d: %w", op.Kind, op.Key, err)
	}
	return answer, nil
}

// Look reads every key of the run once, also when the record is full. It ends with the first read that
// is not answered.
func (c *Client) Look(ctx context.Context) error {
	for key := range int32(c.run.Keys()) {
		answer, err := c.do(ctx, Operation{Kind: Read, Key: key})
		if err != nil {
			return err
		}
		if answer.Operation.Outcome != Done {
			return fmt.Errorf("read key %d: %s", key, answer.Commit)
		}
	}
	return nil
}

func (r *Run) microseconds(t time.Time) int64 { return t.Sub(r.started).Microseconds() }

// remember takes note of the value that the key has now, as far as the client knows.
func (c *Client) remember(op *Operation) {
	if op.Outcome == Unknown {
		// What is in flight may still happen beside what comes next: that is another client's then.
		c.id = c.run.newClient()
	}
	if len(c.seen) > 4*c.run.places() {
		clear(c.seen)
	}
	switch {
	case op.Outcome != Done:
		delete(c.seen, op.Key)
	case op.Kind == Read:
		c.seen[op.Key] = op.Found
	case op.changes():
		c.seen[op.Key] = op.Value
	default:
		delete(c.seen, op.Key)
	}
}

// send does the operation in the transaction that is open, and takes over what the server says. Each is
// one statement: a swap has to look and to write at one moment.
func (o *Operation) send(ctx context.Context, conn *pgconn.PgConn, run int64) error {
	var sql string
	insert := fmt.Sprintf("insert into verify.registers (run, key, value) values (%d, %d, %d)", run, o.Key, o.Value)
	switch {
	case o.Kind == Read:
		sql = fmt.Sprintf("select value from verify.registers where run = %d and key = %d", run, o.Key)
	case o.Kind == Write:
		sql = insert + " on conflict (run, key) do update set value = excluded.value"
	case o.Expected == 0:
		sql = insert + " on conflict (run, key) do nothing"
	default:
		sql = fmt.Sprintf("update verify.registers set value = %d where run = %d and key = %d and value = %d", o.Value, run, o.Key, o.Expected)
	}
	results, err := conn.Exec(ctx, sql).ReadAll()
	if err != nil {
		return err
	}
	if len(results) != 1 {
		return fmt.Errorf("the server gave %d answers to one statement", len(results))
	}
	affected := results[0].CommandTag.RowsAffected()
	switch {
	case affected > 1, o.Kind == Write && affected != 1:
		return fmt.Errorf("the server says that it is about %d rows", affected)
	case o.Kind == Swap:
		o.Took = affected == 1
	case o.Kind == Read && affected == 1:
		if len(results[0].Rows) != 1 || len(results[0].Rows[0]) != 1 {
			return errors.New("the server did not send the row")
		}
		o.Found, err = strconv.ParseInt(string(results[0].Rows[0][0]), 10, 64)
	}
	return err
}
