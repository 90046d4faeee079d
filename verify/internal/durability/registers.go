package durability

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"stateful-postgres/verify/internal/commit"
	"stateful-postgres/verify/internal/history"
	"stateful-postgres/verify/internal/register"
	"stateful-postgres/verify/internal/report"
)

const (
	// lookTimeout is for reading every key once at the end, lookPause between two attempts.
	lookTimeout = time.Minute
	lookPause   = 200 * time.Millisecond
	// decideTimeout is for finding an order that explains what came back.
	decideTimeout = 3 * time.Minute
)

// registers is a client that reads, writes and exchanges the values of keys.
type registers struct {
	client
	operations *register.Client
}

// run works until ctx ends. A transaction in flight is waited for.
func (r *registers) run(ctx context.Context) error {
	defer r.leave()
	for ctx.Err() == nil {
		session := r.connected(ctx)
		if session == nil {
			continue
		}
		r.operations.Use(session)
		if r.pace.Wait(ctx) != nil {
			break
		}
		// What can be decided at the end is bounded: a long run is slower.
		r.operations.Wait(ctx)
		var full bool
		outcome := r.transact(func() (commit.Outcome, error) {
			// The end of the run interrupts nobody: what was begun comes to its end.
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), workTimeout)
			defer cancel()
			answer, err := r.operations.Do(ctx, r.operations.Next())
			full = errors.Is(err, register.ErrFull)
			return answer.Commit, err
		})
		if full {
			return fmt.Errorf("%w: run it for a shorter time, or with fewer --writers", register.ErrFull)
		}
		r.after(ctx, outcome)
	}
	return nil
}

// lookAtAll reads every key once, when everything is over.
func (r *registers) lookAtAll(ctx context.Context) error {
	defer r.leave()
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	for {
		err := r.problem()
		if session := r.connected(ctx); session != nil {
			r.operations.Use(session)
			if err = r.operations.Look(ctx); err == nil {
				return nil
			}
			r.leave()
		}
		if ctx.Err() != nil {
			return fmt.Errorf("read every key once: %w; last problem: %w", context.Cause(ctx), err)
		}
		pause(ctx, lookPause)
	}
}

// linearizable says whether what the clients saw can be explained by one value a key that changes at one
// moment.
func linearizable(h *history.History) []report.Check {
	check := report.Check{Section: report.Registers, Name: "linearizable"}
	operations, err := register.Decode(h.Operations)
	if err != nil {
		check.Status, check.Detail = report.Unknown, err.Error()
		return []report.Check{check}
	}
	ctx, cancel := context.WithTimeout(context.Background(), decideTimeout)
	defer cancel()
	result := register.Check(ctx, operations)
	check.Detail = result.String()
	switch result.Verdict {
	case register.Linearizable:
		check.Status = report.Passed
		if result.Done == 0 {
			check.Status, check.Detail = report.Unknown, "no operation was answered"
		}
	case register.Violated:
		check.Status = report.Violated
		check.Hint = "below is the shortest history that shows it"
	default:
		check.Status, check.Hint = report.Unknown, "run it for a shorter time, or with fewer --writers"
	}
	checks := []report.Check{check}
	if shortest := result.Shortest(); shortest != nil {
		for line := range strings.Lines(shortest.String()) {
			checks = append(checks, report.Check{Section: report.Registers, Name: "history", Status: report.Violated, Detail: strings.TrimSpace(line)})
		}
	}
	return checks
}

// Picture draws the history of the keys, as HTML.
func Picture(w io.Writer, h *history.History) error {
	operations, err := register.Decode(h.Operations)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), decideTimeout)
	defer cancel()
	return register.Visualize(w, register.Check(ctx, operations), operations)
}
