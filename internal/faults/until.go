package faults

import (
	"context"
	"fmt"
	"time"
)

const (
	// interval is between two looks at something that is waited for.
	interval = time.Second
	// settleTimeout is for all servers to follow again; one of them may copy
	// everything first.
	settleTimeout = 4 * time.Minute
	// commandTimeout is for one command of kubectl. None is to wait longer than for all servers to follow.
	commandTimeout = settleTimeout + time.Minute
	// primaryTimeout is for somebody to take the writes.
	primaryTimeout = 3 * time.Minute
)

// Until looks once a second until it sees what is waited for. Its error says what it
// saw last.
func Until(ctx context.Context, what string, timeout time.Duration, look func(context.Context) (seen string, done bool)) error {
	return UntilEvery(ctx, interval, what, timeout, look)
}

// UntilEvery is Until with another time between two looks.
func UntilEvery(ctx context.Context, interval time.Duration, what string, timeout time.Duration, look func(context.Context) (seen string, done bool)) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for {
		seen, done := look(ctx)
		if done {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited for %s: not within %s (%w); last seen: %s", what, timeout, ctx.Err(), seen)
		case <-time.After(interval):
		}
	}
}
