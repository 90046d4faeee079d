// Package e2e tests the whole, on a real cluster and through the command lines
// alone. It makes namespaces of its own there and removes them again.
//
// It runs when E2E=1 is set, on the cluster that kubectl leads to; then
// everything that it needs has to be there. `make test` does that. Otherwise
// `go test` says "no tests to run" for this package, and with -v why.
package e2e

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"stateful-postgres/internal/stack"
)

const (
	// buildTimeout is for the program and verify with a cold build cache.
	buildTimeout = 10 * time.Minute
	// cleanTimeout is for all namespaces to be gone.
	cleanTimeout = 5 * time.Minute
	// testTimeout is for one test with all that it starts.
	testTimeout = 10 * time.Minute
)

var workspace *stack.Workspace

// interrupted ends when the test process is asked to.
var interrupted context.Context

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if os.Getenv("E2E") != "1" {
		fmt.Fprintln(os.Stderr, "e2e: no test ran: they need a cluster to make namespaces in. Run `make test`, or for the cluster that kubectl leads to: E2E=1 go test -count=1 -v ./e2e")
		if err := flag.Set("test.run", "^$"); err != nil {
			panic(err)
		}
		return m.Run()
	}
	var stop context.CancelFunc
	interrupted, stop = signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	code, err := runInWorkspace(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return max(code, 1)
	}
	return code
}

func runInWorkspace(m *testing.M) (code int, err error) {
	if workspace, err = stack.Open(interrupted, "e2e"); err != nil {
		return 1, err
	}
	defer func() {
		// Also after an interrupt.
		ctx, cancel := context.WithTimeout(context.Background(), cleanTimeout)
		defer cancel()
		if failed := workspace.Close(ctx); failed != nil {
			err = fmt.Errorf("cleaning up: %w", failed)
		}
	}()
	ctx, cancel := context.WithTimeout(interrupted, buildTimeout)
	defer cancel()
	if err := workspace.BuildOnce(ctx); err != nil {
		return 1, err
	}
	return m.Run(), nil
}
