// Command soak lets faults strike stacks on the local cluster, for as often as is asked for, while
// verify durability writes to them and accounts for every write. Many stacks, with one server or with
// three, are struck side by side, in groups of three nodes; each server has a disk of its own. What
// happens to a stack strikes one at a time in each of them; what happens to a node strikes all stacks of
// a group at once: one of them lets it strike, the others write meanwhile. What was found is kept in
// .local/soak-results, so that a run that was interrupted goes on where it was; at the end a table says how often
// each fault struck, and what became of the rows. `make soak` starts it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"stateful-postgres/internal/stack"
)

const (
	// freeTimeout is for the nodes to be as they were.
	freeTimeout = 5 * time.Minute
	// historyFolder is below .local.
	historyFolder = "soak-results"
	// defaultResults has a line for each run of verify durability.
	defaultResults = ".local/" + historyFolder + "/results.jsonl"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		stop()
		os.Exit(1)
	}
}

// options are what strikes, and how.
type options struct {
	times   int
	pattern *regexp.Regexp
	// groups are how many groups of nodes there are, lanes how many stacks each of them has, by their
	// number of servers.
	groups int
	lanes  map[int]int
	rate   float64
	// lasts is after how long no new round begins; 0 for never.
	lasts time.Duration
	// results is the file for what was found, below the top of the checkout.
	results string
	// only prints the table of what there is.
	only bool
}

func readOptions(arguments []string) (options, error) {
	o := options{lanes: map[int]int{}}
	var pattern string
	var one, three int
	flags := flag.NewFlagSet("soak", flag.ContinueOnError)
	flags.IntVar(&o.times, "times", 1, "how often each kind of fault strikes one server, and three")
	flags.StringVar(&pattern, "fault", "", "regular expression for the faults (default: every one that the cluster can do)")
	flags.IntVar(&o.groups, "groups", 1, "how many groups of three nodes there are")
	flags.IntVar(&one, "one", 1, "how many stacks with one server each group has")
	flags.IntVar(&three, "three", 1, "how many stacks with three servers each group has")
	flags.Float64Var(&o.rate, "rate", 100, "commits a second that are tried on each stack")
	flags.DurationVar(&o.lasts, "for", 0, "begin nothing new after this time (default: until every fault has struck as often as asked for)")
	flags.StringVar(&o.results, "results", defaultResults, "file for what is found, below the top of the checkout; what is there is gone on with")
	flags.BoolVar(&o.only, "table", false, "strike nothing: print the table of what was found until now")
	if err := flags.Parse(arguments); err != nil {
		return o, err
	}
	switch {
	case flags.NArg() > 0:
		return o, fmt.Errorf("%q: expected nothing after the flags", flags.Arg(0))
	case o.times < 1:
		return o, fmt.Errorf("-times %d: expected 1 or more", o.times)
	case o.groups < 1:
		return o, fmt.Errorf("-groups %d: expected 1 or more", o.groups)
	case one < 0 || three < 0 || one+three == 0:
		return o, fmt.Errorf("-one %d -three %d: expected 0 or more, and one stack at least", one, three)
	case o.rate < 1:
		return o, fmt.Errorf("-rate %g: expected 1 or more", o.rate)
	case o.lasts < 0:
		return o, fmt.Errorf("-for %s: expected more than 0", o.lasts)
	}
	o.lanes[1], o.lanes[3] = one, three
	var err error
	if o.pattern, err = regexp.Compile(pattern); err != nil {
		return o, fmt.Errorf("-fault: %w", err)
	}
	return o, nil
}

// soak is one run of this command.
type soak struct {
	options
	*stack.Workspace
	folder  string
	commit  string
	results *results
	groups  []*group
	// until is when nothing new begins any more; zero for never.
	until time.Time
}

func run(ctx context.Context, arguments []string) (err error) {
	o, err := readOptions(arguments)
	if err != nil {
		return err
	}
	root, err := stack.FindRoot()
	if err != nil {
		return err
	}
	s := &soak{options: o, folder: filepath.Join(root, ".local", historyFolder)}
	if err := os.MkdirAll(s.folder, 0o755); err != nil {
		return err
	}
	if s.results, err = openResults(filepath.Join(root, o.results), o.times); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.results.close()) }()
	if !o.only {
		if err := s.strike(ctx); err != nil {
			return err
		}
	}
	fmt.Print(s.results.table())
	return s.results.problem()
}

// strike makes the stacks, and lets faults strike them.
func (s *soak) strike(ctx context.Context) (err error) {
	if s.Workspace, err = stack.Open(ctx, "soak"); err != nil {
		return err
	}
	defer s.CloseAtEnd(&err)
	described := s.Run(ctx, "git", "describe", "--always", "--dirty")
	s.commit = strings.TrimSpace(described.Stdout)
	if err := s.BuildOnce(ctx); err != nil {
		return err
	}
	if s.lasts > 0 {
		s.until = time.Now().Add(s.lasts)
	}
	defer s.freeNodes()
	if err := s.openGroups(ctx); err != nil {
		return err
	}
	// All lanes have it in common, and can do nothing else meanwhile.
	if err := s.stopAPIServer(ctx); err != nil || ctx.Err() != nil {
		return errors.Join(err, ctx.Err())
	}
	var running sync.WaitGroup
	errs := make([]error, len(s.groups))
	for i, g := range s.groups {
		running.Go(func() {
			if errs[i] = g.run(ctx, i%2 == 1); errs[i] != nil {
				say("group %s: is struck no more: %v", g.name, errs[i])
			}
		})
	}
	running.Wait()
	if err := errors.Join(append(errs, ctx.Err())...); err != nil || s.late() {
		return err
	}
	return s.missing()
}

// missing says which faults did not strike as often as was asked for.
func (s *soak) missing() error {
	missing := map[string]error{}
	for _, g := range s.groups {
		for _, l := range g.lanes {
			for kind := range l.faults {
				if left := s.results.leftOf(l.servers, kind); left > 0 {
					what := fmt.Sprintf("%s, %s", plural(l.servers, "server"), kind)
					missing[what] = fmt.Errorf("%s: %d of %d are missing; run it again to go on", what, left, s.times)
				}
			}
		}
	}
	return errors.Join(slices.Collect(maps.Values(missing))...)
}

// late says that nothing new is to begin.
func (s *soak) late() bool { return !s.until.IsZero() && time.Now().After(s.until) }

// say shows what happens.
func say(format string, arguments ...any) {
	fmt.Fprintf(os.Stderr, "%s %s\n", time.Now().Format(time.TimeOnly), fmt.Sprintf(format, arguments...))
}
