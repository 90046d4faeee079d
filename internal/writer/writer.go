// Package writer is a client that writes to a database all the time, keeps which
// writes were acknowledged and when, and connects anew after an error.
package writer

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// Options are how a Writer writes.
type Options struct {
	// Connect makes a connection to whoever takes the writes.
	Connect func(context.Context) (*pgx.Conn, error)
	// Write writes the row of a number, in a transaction of its own. No number is
	// written twice.
	Write func(context.Context, *pgx.Conn, int64) error
	// Pace is from one write to the next, and between attempts to connect.
	Pace time.Duration
	// Timeout is for one write.
	Timeout time.Duration
}

// Writer writes until it is halted.
type Writer struct {
	options Options
	stop    context.CancelFunc
	done    chan struct{}

	mu      sync.Mutex
	numbers []int64
	times   []time.Time
	// broken counts the connections that broke, inRow the writes since the last
	// problem.
	broken, inRow int
	last          error
}

// Start starts a writer, which ends with the context or when it is halted.
func Start(ctx context.Context, options Options) *Writer {
	ctx, stop := context.WithCancel(ctx)
	w := &Writer{options: options, stop: stop, done: make(chan struct{})}
	go func() {
		defer close(w.done)
		w.run(ctx)
	}()
	return w
}

// Halt stops the writer; what it has noted stays.
func (w *Writer) Halt() {
	w.stop()
	<-w.done
}

func (w *Writer) run(ctx context.Context) {
	ticker := time.NewTicker(w.options.Pace)
	defer ticker.Stop()
	var connection *pgx.Conn
	leave := func() {
		if connection != nil {
			// The server is of no interest any more.
			_ = connection.Close(context.WithoutCancel(ctx))
			connection = nil
		}
	}
	defer leave()
	for number := int64(1); ; {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if connection == nil {
			var err error
			if connection, err = w.options.Connect(ctx); err != nil {
				connection = nil
				w.note(0, err)
				continue
			}
		}
		err := w.write(ctx, connection, number)
		w.note(number, err)
		number++
		if err != nil {
			leave()
		}
	}
}

// write lets a write that has begun come to its end, also when the writer is
// halted: only then it is known what became of it.
func (w *Writer) write(ctx context.Context, connection *pgx.Conn, number int64) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), w.options.Timeout)
	defer cancel()
	return w.options.Write(ctx, connection, number)
}

// note enters what became of a write, or of an attempt to connect, which has the
// number 0.
func (w *Writer) note(number int64, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.last, w.inRow = err, 0
		if number > 0 {
			w.broken++
		}
		return
	}
	w.numbers, w.times = append(w.numbers, number), append(w.times, time.Now())
	w.inRow++
}

// Acknowledged are the numbers of the writes that were acknowledged, in their
// order.
func (w *Writer) Acknowledged() []int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.numbers)
}

// Times are when they were.
func (w *Writer) Times() []time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.times)
}

// LongestPause is the longest time without an acknowledged write since a moment,
// until the last one.
func (w *Writer) LongestPause(since time.Time) time.Duration {
	longest, before := time.Duration(0), since
	for _, at := range w.Times() {
		if at.After(since) {
			longest, before = max(longest, at.Sub(before)), at
		}
	}
	return longest
}

// Broken is how many connections broke so far.
func (w *Writer) Broken() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.broken
}

// Count is how many writes were acknowledged, and the last problem, nil when there
// was none since.
func (w *Writer) Count() (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.inRow > 0 {
		return len(w.numbers), nil
	}
	return len(w.numbers), w.last
}

// UntilSteady returns once at least so many connections broke and then so many
// writes were acknowledged in a row. It ends with the context, and says what it saw
// last.
func (w *Writer) UntilSteady(ctx context.Context, broken, inRow int) error {
	ticker := time.NewTicker(w.options.Pace)
	defer ticker.Stop()
	for {
		w.mu.Lock()
		hasBroken, hasWritten, last := w.broken, w.inRow, w.last
		w.mu.Unlock()
		if hasBroken >= broken && hasWritten >= inRow {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("expected %d writes in a row after %d broken connections, got %d after %d (last problem: %v): %w",
				inRow, broken, hasWritten, hasBroken, last, context.Cause(ctx))
		case <-ticker.C:
		}
	}
}
