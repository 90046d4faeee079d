// Command bench measures the program and verify against plain tools on the
// cluster that kubectl leads to, prints a table of ratios, and keeps it in
// docs/benchmarks.md. `make bench` runs it on the local cluster.
//
// Both sides of a ratio are measured in turns in one run: times differ from one
// machine and one hour to the next, their ratio much less.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"stateful-postgres/internal/stack"
)

// cleanTimeout is for all namespaces to be gone at the end.
const cleanTimeout = 5 * time.Minute

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, arguments []string) error {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	runs := flags.Int("runs", 5, "how often each thing is measured; the median counts")
	rows := flags.Int64("rows", 10_000_000, "rows of the largest table that verify is measured with; the others have a tenth and a thousandth of it")
	names := flags.String("sections", "program,verify", "what to measure")
	output := flags.String("output", filepath.Join("docs", "benchmarks.md"), "file for the report, below the top of the checkout")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	if *runs < 1 {
		return fmt.Errorf("-runs %d: expected 1 or more", *runs)
	}

	if *rows < leastRows {
		return fmt.Errorf("-rows %d: expected %d or more", *rows, leastRows)
	}
	chosen, err := chooseSections(*names)
	if err != nil {
		return err
	}

	report, err := measureAll(ctx, chosen, *runs, *rows, *output)
	if err != nil {
		return err
	}
	fmt.Print(report.terminal())
	return nil
}

// measurement makes one section of the report.
type measurement struct {
	name    string
	measure func(context.Context, *bench) (section, error)
}

var measurements = []measurement{{"program", measureProgram}, {"verify", measureVerify}}

// chooseSections finds measurements by their names, which commas separate.
func chooseSections(names string) ([]measurement, error) {
	var known []string
	for _, m := range measurements {
		known = append(known, m.name)
	}
	wanted := strings.Split(names, ",")
	for _, name := range wanted {
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("-sections %q: expected one or more of %s, separated by commas", names, strings.Join(known, ","))
		}
	}
	return slices.DeleteFunc(slices.Clone(measurements), func(m measurement) bool { return !slices.Contains(wanted, m.name) }), nil
}

func measureAll(ctx context.Context, chosen []measurement, runs int, rows int64, output string) (_ *report, err error) {
	workspace, err := stack.Open(ctx, "bench")
	if err != nil {
		return nil, err
	}
	defer func() {
		// Also after an interrupt.
		ctx, cancel := context.WithTimeout(context.Background(), cleanTimeout)
		defer cancel()
		err = errors.Join(err, workspace.Close(ctx))
	}()
	if err := workspace.Build(ctx); err != nil {
		return nil, err
	}
	machine, err := describeMachine(ctx, workspace)
	if err != nil {
		return nil, err
	}
	report := &report{
		command: strings.TrimSpace("go run ./bench " + strings.Join(os.Args[1:], " ")),
		machine: machine,
		date:    time.Now(),
	}
	b := &bench{Workspace: workspace, runs: runs, rows: rows}
	for _, m := range chosen {
		section, err := m.measure(ctx, b)
		if err != nil {
			return nil, err
		}
		report.sections = append(report.sections, section)
	}
	path := filepath.Join(workspace.Root, output)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	return report, os.WriteFile(path, []byte(report.markdown()), 0o644)
}

// bench is what all sections measure with.
type bench struct {
	*stack.Workspace
	runs int
	// rows are those of the largest table.
	rows int64
}

// say shows what is being measured.
func (b *bench) say(format string, arguments ...any) {
	fmt.Fprintf(os.Stderr, "%s %s\n", time.Now().Format(time.TimeOnly), fmt.Sprintf(format, arguments...))
}
