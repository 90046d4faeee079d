// Command setup makes this machine ready for the local cluster: it installs
// the Debian packages that are missing, assembles the container images,
// compiles the Pulumi program and verify and builds the cluster's programs and,
// where there is no Pulumi CLI, the pinned one. Run again with nothing changed
// it only looks, killed at any moment it goes on where it was.
//
// It is run from source before anything else is built, so it uses nothing but
// the standard library and small packages.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sync/errgroup"

	"stateful-postgres/local/internal/layout"
	"stateful-postgres/local/internal/setup/tool"
	"stateful-postgres/local/internal/status"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stderr))
}

const (
	exitFailed      = 1
	exitUsage       = 64
	exitInterrupted = 130
)

// run is main with its surroundings as arguments; it returns the exit code.
func run(ctx context.Context, args []string, stderr io.Writer) int {
	flags := flag.NewFlagSet("setup", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprintln(stderr, "Usage: go run ./cmd/setup [-go-only]\n\nMakes this machine ready for the local cluster.")
		flags.PrintDefaults()
	}
	goOnly := flags.Bool("go-only", false, "do not build what only Pulumi programs in TypeScript or YAML need, unless it is there already")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		return exitUsage
	}
	if flags.NArg() > 0 {
		fmt.Fprintf(stderr, "setup: unexpected argument %q: there are none\n", flags.Arg(0))
		return exitUsage
	}
	err := ready(ctx, stderr, *goOnly)
	if err == nil {
		return 0
	}
	if ctx.Err() != nil {
		fmt.Fprintln(stderr, "setup: interrupted; run it again to go on")
		return exitInterrupted
	}
	var failure *tool.Failure
	if errors.As(err, &failure) {
		for _, line := range failure.Tail {
			fmt.Fprintln(stderr, "    "+line)
		}
	}
	fmt.Fprintln(stderr, "setup:", err)
	return exitFailed
}

// ready makes the machine ready.
func ready(ctx context.Context, stderr io.Writer, goOnly bool) error {
	facts, err := checkHost()
	if err != nil {
		return err
	}
	l, err := layout.FindFromExecutable()
	if err != nil {
		return err
	}
	unlock, err := lock(ctx, l, stderr)
	if err != nil {
		return err
	}
	defer unlock()
	s := setup{layout: l, facts: facts, status: status.New(stderr), goOnly: goOnly}
	// Packages and modules come over the network, the compilers keep the
	// processors busy: together they take little longer than the compilers alone.
	err = together(ctx,
		inOrder(s.packages, s.postgresImages),
		inOrder(s.programs, s.programImages),
	)
	if err != nil {
		return err
	}
	s.status.Note("All that the local cluster needs is in place.")
	return nil
}

// inOrder is a step made of several, one after the other.
func inOrder(steps ...func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		for _, step := range steps {
			if err := step(ctx); err != nil {
				return err
			}
		}
		return nil
	}
}

// together runs steps at the same time. The first that fails interrupts the
// others, and its error is returned when they have ended.
func together(ctx context.Context, steps ...func(context.Context) error) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, step := range steps {
		group.Go(func() error { return step(ctx) })
	}
	return group.Wait()
}
