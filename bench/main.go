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
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"

	"stateful-postgres/internal/stack"
)

const (
	// longRuns is how often what takes long is measured.
	longRuns = 3
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

// options are what to measure, and how.
type options struct {
	parts    []part
	runs     int
	rows     int64
	baseline string
	// output is the file for the sections that are measured as a whole, "" for none.
	output string
	// set are the flags that were given.
	set []*flag.Flag
}

// plainWord needs no quotes in a shell.
var plainWord = regexp.MustCompile(`^[\w./:=-]+$`)

// command is how all this was asked for, as it is typed in a shell, without paths of this machine.
func (o options) command(baseline *earlier) string {
	words := []string{"go run ./bench"}
	for _, f := range o.set {
		value := f.Value.String()
		if f.Name == "baseline" {
			value = "CHECKOUT-OF-" + baseline.commit
		}
		if !plainWord.MatchString(value) {
			value = "'" + strings.ReplaceAll(value, "'", `'\''`) + "'"
		}
		words = append(words, "-"+f.Name, value)
	}
	return strings.Join(words, " ")
}

func run(ctx context.Context, arguments []string) error {
	o, err := readOptions(arguments)
	if err != nil {
		return err
	}
	report, err := measureAll(ctx, o)
	if report != nil {
		// What was found before something failed, too.
		fmt.Print(report.terminal())
	}
	return err
}

func readOptions(arguments []string) (options, error) {
	defaultOutput := filepath.Join("docs", "benchmarks.md")
	var o options
	var pattern string
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.IntVar(&o.runs, "runs", 10, fmt.Sprintf("how often each thing is measured; first updates and tables %d times, traces half as often", longRuns))
	flags.Int64Var(&o.rows, "rows", 10_000_000, "rows of the largest table that verify is measured with; the others have a tenth and a thousandth of it")
	flags.StringVar(&pattern, "run", "", "regular expression for the parts to measure, of "+strings.Join(partNames(), ", ")+" (default all)")
	flags.StringVar(&o.baseline, "baseline", "", "top of a checkout of an earlier commit, whose program is deployed and measured beside this one")
	flags.StringVar(&o.output, "output", "", "file for the report, below the top of the checkout (default "+defaultOutput+", and none when -run takes no section as a whole)")
	if err := flags.Parse(arguments); err != nil {
		return options{}, err
	}
	flags.Visit(func(f *flag.Flag) { o.set = append(o.set, f) })
	if flags.NArg() > 0 {
		return options{}, fmt.Errorf("%q: expected nothing after the flags", flags.Arg(0))
	}
	if o.runs < 1 {
		return options{}, fmt.Errorf("-runs %d: expected 1 or more", o.runs)
	}
	if o.rows < leastRows {
		return options{}, fmt.Errorf("-rows %d: expected %d or more", o.rows, leastRows)
	}
	var err error
	if o.parts, err = chooseParts(pattern); err != nil {
		return options{}, err
	}
	if o.output == "" && len(wholeSections(o.parts)) > 0 {
		o.output = defaultOutput
	}
	return o, nil
}

// Titles of the report's sections.
const (
	programSection    = "Program"
	serverSection     = "Server"
	verifySection     = "Verify"
	traceSection      = "Where the time of `pulumi up` goes"
	membersSection    = "Several servers"
	durabilitySection = "Writing under load"
)

// part measures something, for one of the report's sections.
type part struct {
	name, section string
	measure       func(context.Context, *bench) (findings, error)
	// nodes are how many the cluster must have, 0 for any number.
	nodes int
}

// parts in the order in which they are measured. Those of one section are
// together.
var parts = []part{
	{name: "first", section: programSection, measure: measureFirstUp},
	{name: "scale", section: programSection, measure: measureScaling},
	{name: "nothing", section: programSection, measure: measureNothingToDo},
	{name: "look", section: programSection, measure: measureLook},
	{name: "memory", section: programSection, measure: measureMemory},
	{name: "start", section: serverSection, measure: measureStart},
	{name: "interruption", section: serverSection, measure: measureInterruptions},
	{name: "tables", section: verifySection, measure: measureTables},
	{name: "evidence", section: verifySection, measure: measureEvidence},
	{name: "trace", section: traceSection, measure: measureTrace},
	{name: "faults", section: membersSection, measure: measureFaults, nodes: 3},
	{name: "commits", section: membersSection, measure: measureCommits, nodes: 3},
	{name: "rates", section: durabilitySection, measure: measureRates},
	{name: "readback", section: durabilitySection, measure: measureReadBack},
	{name: "long", section: durabilitySection, measure: measureLong},
}

// wholeSections are the titles of the sections all parts of which are among some.
func wholeSections(some []part) []string {
	count := func(of []part, title string) (number int) {
		for _, p := range of {
			if p.section == title {
				number++
			}
		}
		return number
	}
	return slices.DeleteFunc(sectionTitles(), func(title string) bool { return count(some, title) != count(parts, title) })
}

// sectionTitles are those of all sections, in their order.
func sectionTitles() []string {
	var titles []string
	for _, p := range parts {
		titles = append(titles, p.section)
	}
	return slices.Compact(titles)
}

func partNames() []string {
	var names []string
	for _, p := range parts {
		names = append(names, p.name)
	}
	return names
}

// chooseParts finds parts by a regular expression, all by an empty one.
func chooseParts(pattern string) ([]part, error) {
	expression, err := regexp.Compile(pattern)
	if err != nil {
		return nil, fmt.Errorf("-run %q: %w", pattern, err)
	}
	var chosen []part
	for _, p := range parts {
		if expression.MatchString(p.name) {
			chosen = append(chosen, p)
		}
	}
	if len(chosen) == 0 {
		return nil, fmt.Errorf("-run %q: expected to match one or more of %s", pattern, strings.Join(partNames(), ", "))
	}
	return chosen, nil
}

func measureAll(ctx context.Context, o options) (_ *report, err error) {
	workspace, err := stack.Open(ctx, "bench")
	if err != nil {
		return nil, err
	}
	defer workspace.CloseAtEnd(&err)
	b := &bench{Workspace: workspace, runs: o.runs, rows: o.rows}
	if o.baseline != "" {
		if b.baseline, err = openBaseline(ctx, o.baseline); err != nil {
			return nil, err
		}
		defer b.baseline.CloseAtEnd(&err)
	}
	if b.core, err = newCoreClient(); err != nil {
		return nil, err
	}
	if err := workspace.Build(ctx); err != nil {
		return nil, err
	}
	machine, err := describeMachine(ctx, workspace)
	if err != nil {
		return nil, err
	}
	nodes, err := countNodes(ctx, workspace)
	if err != nil {
		return nil, err
	}
	whole := wholeSections(o.parts)
	report := &report{command: o.command(b.baseline), machine: machine, date: time.Now()}
	for _, p := range o.parts {
		if nodes < p.nodes {
			b.say("left out: %s, which takes %d nodes, and the cluster has %d; start it with: make cluster NODES=%d", p.name, p.nodes, nodes, p.nodes)
			continue
		}
		found, err := p.measure(ctx, b)
		if err != nil {
			return report, fmt.Errorf("%s: %w", p.name, err)
		}
		report.add(p.section, found)
	}
	if len(report.sections) == 0 {
		return nil, fmt.Errorf("nothing was measured: the cluster has %d nodes", nodes)
	}
	if o.output == "" {
		return report, nil
	}
	kept := *report
	kept.sections = slices.DeleteFunc(slices.Clone(report.sections), func(s section) bool { return !slices.Contains(whole, s.title) })
	path := filepath.Join(workspace.Root, o.output)
	before, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return report, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	return report, os.WriteFile(path, []byte(kept.markdown(string(before), sectionTitles())), 0o644)
}

// earlier is the program of another commit.
type earlier struct {
	*stack.Workspace
	// commit is what git calls it.
	commit string
}

// openBaseline opens another checkout's program.
func openBaseline(ctx context.Context, folder string) (*earlier, error) {
	root, err := filepath.Abs(folder)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(root, "Pulumi.yaml")); err != nil {
		return nil, fmt.Errorf("-baseline %s: expected the top of a checkout of this project: %w", folder, err)
	}
	workspace, err := stack.OpenIn(ctx, root, "bench")
	if err != nil {
		return nil, err
	}
	commit := workspace.Run(ctx, "git", "describe", "--always", "--dirty")
	if err := commit.Err(); err != nil {
		return nil, errors.Join(fmt.Errorf("-baseline %s: %w", folder, err), workspace.Close(ctx))
	}
	return &earlier{Workspace: workspace, commit: strings.TrimSpace(commit.Stdout)}, nil
}

// bench is what all parts measure with.
type bench struct {
	*stack.Workspace
	// baseline is what is compared with, nil when there is none.
	baseline *earlier
	core     corev1client.CoreV1Interface
	runs     int
	// rows are those of the largest table.
	rows int64
	// shared is the server of sharedServer, once it is made.
	shared *server
}

// few is how often something is measured that differs little.
func (b *bench) few() int { return max(1, b.runs/2) }

// say shows what is being measured.
func (b *bench) say(format string, arguments ...any) {
	fmt.Fprintf(os.Stderr, "%s %s\n", time.Now().Format(time.TimeOnly), fmt.Sprintf(format, arguments...))
}
