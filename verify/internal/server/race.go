package server

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// headStart is what each of several addresses has before the next one is tried as well. One that
// swallows packets costs no more than this, as RFC 8305 has it.
const headStart = 250 * time.Millisecond

// Candidate is one of several ways to the same server.
type Candidate[C any] struct {
	// NotBefore is when it may be tried at the earliest; zero is at once.
	NotBefore time.Time
	Connect   func(context.Context) (C, error)
}

// First tries candidates in their order, each some time after the one before or as soon as that has
// failed, and returns what the first one yields and its index. A server that answers and lets the client
// not in ends it, because every way leads to that one: a server that starts has enough to do without
// being asked over each of them. The index is its candidate's then. What others yield too late is
// discarded.
func First[C any](ctx context.Context, candidates []Candidate[C], discard func(C)) (C, int, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		index int
		value C
		err   error
	}
	results := make(chan result)
	started, ended := 0, 0
	start := func() {
		index := started
		started++
		go func() {
			value, err := candidates[index].Connect(ctx)
			select {
			case results <- result{index, value, err}:
			case <-ctx.Done():
				if err == nil {
					discard(value)
				}
			}
		}()
	}
	var none C
	var failures []error
	// due is when the next candidate is started; nothing is due once all are.
	due := time.NewTimer(0)
	defer due.Stop()
	schedule := func(pause time.Duration) {
		if started < len(candidates) {
			due.Reset(max(pause, time.Until(candidates[started].NotBefore)))
		}
	}
	for ended < len(candidates) {
		select {
		case <-due.C:
			start()
			schedule(headStart)
		case r := <-results:
			ended++
			if r.err == nil {
				return r.value, r.index, nil
			}
			failures = append(failures, r.err)
			if toldByServer(r.err) {
				return none, r.index, r.err
			}
			if ended == started && started < len(candidates) && time.Now().Before(candidates[started].NotBefore) {
				// What is left is not to be tried yet, and nothing else goes on.
				return none, 0, errors.Join(failures...)
			}
			schedule(0)
		case <-ctx.Done():
			return none, 0, errors.Join(append(failures, context.Cause(ctx))...)
		}
	}
	return none, 0, errors.Join(failures...)
}

// toldByServer says whether an error is an answer of a server.
func toldByServer(err error) bool {
	var told *pgconn.PgError
	return errors.As(err, &told)
}
