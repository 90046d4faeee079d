package command

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"stateful-postgres/verify/internal/check"
	"stateful-postgres/verify/internal/ledger"
	"stateful-postgres/verify/internal/pulumicli"
	"stateful-postgres/verify/internal/report"
)

// checkSettings are the flags of check.
type checkSettings struct {
	settings
	rows  int64
	hold  time.Duration
	adopt bool
	deep  bool
	watch bool
	every time.Duration
}

func newCheck(streams Streams, exitCode *int) *cobra.Command {
	s := &checkSettings{settings: settings{streams: streams}}
	command := &cobra.Command{
		Use:   "check",
		Short: "Look at the stack as it is now, and prove what can be proven",
		Example: `  verify                                   the selected stack
  verify --stack prod --timeout 10m
  verify --watch --interval 5s             round after round
  verify --namespace shop --context prod   a database somebody else deployed
  verify --dsn postgres://app@db.example.org/app
  verify --dsn 'postgres://app@db1,db2/app?target_session_attrs=read-write'
  verify -o json | jq .verdict`,
		Args: noArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			code, err := s.run(command.Context())
			*exitCode = code
			return err
		},
	}
	s.register(command, checkTimeout)
	flags := command.Flags()
	flags.Int64Var(&s.rows, "rows", check.DefaultRows, "how many new rows to write; 0 only reads")
	flags.DurationVar(&s.hold, "hold", check.DefaultHold, "at 0 replicas: how long nothing may answer")
	flags.BoolVar(&s.deep, "deep", false, "compare heap and index again, also of millions of rows")
	flags.BoolVarP(&s.watch, "watch", "w", false, "repeat until interrupted or a violation is found, one line a round")
	flags.DurationVar(&s.every, "interval", defaultInterval, "with --watch: from the end of a round to the next")
	flags.BoolVar(&s.adopt, "adopt", false, "take rows that no ledger knows into this one")
	return command
}

func (s *checkSettings) run(ctx context.Context) (int, error) {
	if s.rows < 0 {
		return 0, usageError{fmt.Sprintf("--rows %d: expected 0 or more", s.rows)}
	}
	if s.hold < 0 {
		return 0, usageError{fmt.Sprintf("--hold %s: expected 0 or more", s.hold)}
	}
	configure := func(checker *check.Checker) {
		checker.Rows, checker.Hold, checker.Adopt, checker.Deep = s.rows, s.hold, s.adopt, s.deep
	}
	if s.watch {
		return s.watchWith(ctx, configure)
	}
	return s.look(ctx, "check", configure)
}

// look finds the subject, opens its ledger and runs a checker once.
func (s *settings) look(ctx context.Context, verb string, configure func(*check.Checker)) (int, error) {
	if err := s.validate(); err != nil {
		return 0, err
	}
	return s.lookInto(ctx, s.sink(verb), configure)
}

// lookInto is one look whose result goes into a sink.
func (s *settings) lookInto(ctx context.Context, sink *report.Sink, configure func(*check.Checker)) (int, error) {
	defer sink.Progress.Stop()
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	found, entries, err := s.open(ctx, sink)
	if err != nil {
		return s.cannotStart(ctx, sink, err)
	}
	checker := &check.Checker{Subject: found.Subject, Ledger: entries, Sink: sink, Others: s.others(found, entries)}
	configure(checker)
	return s.finish(sink, entries, checker.Summarize, checker.Run(ctx))
}

// finish enters the outcome of a command in the ledger, closes it and prints the report. What the
// ledger could not take is part of the outcome: rows that it does not know are proven to nobody.
// The failure is one of before, or nil.
func (s *settings) finish(sink *report.Sink, entries *ledger.Ledger, summarize func(*report.Report) string, failure error) (int, error) {
	sink.Conclude(summarize)
	if failure == nil {
		failure = enterResult(entries, sink.Report)
	}
	if failure = cmp.Or(failure, entries.Close()); failure != nil {
		sink.Add(report.Check{Section: report.Rows, Name: "ledger", Status: report.Unknown,
			Detail: strings.ReplaceAll(failure.Error(), "\n", "; "),
			Hint:   "make room where the ledger lies and run verify again: until then rows without an outcome in it may be there or not"})
	}
	err := sink.Finish(summarize)
	return sink.Report.ExitCode, err
}

// enterResult enters the outcome of a command in the ledger.
func enterResult(entries *ledger.Ledger, result *report.Report) error {
	return entries.Finish(ledger.Result{
		At: time.Now().UTC().Truncate(time.Millisecond), Command: result.Command, Verdict: string(result.Verdict), Summary: result.Summary,
	})
}

// open finds out what the command is about and opens its ledger.
func (s *settings) open(ctx context.Context, sink *report.Sink) (*subject, *ledger.Ledger, error) {
	sink.Progress.Say("reading the stack")
	found, err := s.find(ctx)
	if err != nil {
		return nil, nil, err
	}
	waiting := func(holder string) { sink.Progress.Say("waiting: %s holds the ledger", holder) }
	if s.newLedger {
		aside, err := ledger.SetAside(ctx, found.ledger, waiting)
		if err != nil {
			return nil, nil, err
		}
		if aside != "" {
			fmt.Fprintf(s.streams.Err, "the old ledger is kept as %s\n", aside)
		}
	}
	entries, err := ledger.Open(ctx, found.ledger, waiting)
	if err != nil {
		return nil, nil, err
	}
	return found, entries, nil
}

// cannotStart reports a command that came to nothing before the first check.
func (s *settings) cannotStart(ctx context.Context, sink *report.Sink, err error) (int, error) {
	var usage usageError
	var unread *pulumicli.Error
	hint := ""
	switch {
	case errors.As(err, &usage):
		return 0, err
	case errors.As(err, &unread) && unread.Usage:
		return 0, usageError{unread.Problem + ": " + unread.Hint}
	case errors.As(err, &unread):
		hint = unread.Hint
	}
	sink.Report.CutShort(ctx)
	sink.Add(report.Check{Section: "Stack", Name: "start", Status: report.Unknown, Detail: err.Error(), Hint: hint})
	finished := sink.Finish(func(*report.Report) string { return "nothing was looked at" })
	return sink.Report.ExitCode, finished
}
