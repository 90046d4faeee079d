package command

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"stateful-postgres/verify/internal/check"
	"stateful-postgres/verify/internal/cycle"
	"stateful-postgres/verify/internal/pulumicli"
)

const cycleTimeout = time.Hour

// cycleSettings are the flags of cycle.
type cycleSettings struct {
	settings
	times      int
	to         int
	through    []int
	rows       int64
	hold       time.Duration
	configFile string
	// timesOrTo says that --times or --to was given.
	timesOrTo bool
}

func newCycle(streams Streams, exitCode *int) *cobra.Command {
	s := &cycleSettings{settings: settings{streams: streams}}
	command := &cobra.Command{
		Use:   "cycle",
		Short: "Scale the stack down and up through Pulumi, and prove that nothing was lost",
		Long: `Cycle plays the whole story: check, set replicas to 0, prove that the database is
down, set them back, check again; with a writer that runs throughout, and every
phase measured. With --through it goes through any numbers of replicas, and
measures for each step how long no write was acknowledged. The stack's settings
are not changed: other replicas come from a copy of them, and however the cycle
ends, the stack's own are deployed again.`,
		Example: `  verify cycle
  verify cycle --times 10 -o json
  verify cycle --through 3,1,3,0,1,0,3,2,3   with highAvailability`,
		Args: noArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			s.timesOrTo = command.Flags().Changed("times") || command.Flags().Changed("to")
			code, err := s.run(command.Context())
			*exitCode = code
			return err
		},
	}
	s.register(command, cycleTimeout)
	flags := command.Flags()
	flags.IntVar(&s.times, "times", 1, "how many times")
	flags.IntVar(&s.to, "to", 0, "replicas to scale to")
	flags.IntSliceVar(&s.through, "through", nil, "instead: replicas to go through, one after the other, like 3,1,0,3")
	flags.Int64Var(&s.rows, "rows", check.DefaultRows, "how many new rows each check writes, besides the writer's")
	flags.DurationVar(&s.hold, "hold", check.DefaultHold, "at 0 replicas: how long nothing may answer")
	flags.StringVar(&s.configFile, "config-file", "", "settings file of the stack (default: Pulumi.STACK.yaml)")
	return command
}

func (s *cycleSettings) validate() error {
	var problems []string
	if s.times < 1 {
		problems = append(problems, fmt.Sprintf("--times %d: expected 1 or more", s.times))
	}
	if s.to < 0 {
		problems = append(problems, fmt.Sprintf("--to %d: expected 0 or more", s.to))
	}
	problems = append(problems, s.validateThrough()...)
	if s.rows < 1 {
		problems = append(problems, fmt.Sprintf("--rows %d: expected 1 or more", s.rows))
	}
	if s.hold < 0 {
		problems = append(problems, fmt.Sprintf("--hold %s: expected 0 or more", s.hold))
	}
	if s.dsn != "" || s.namespace != "" {
		problems = append(problems, "cycle needs a Pulumi stack: --dsn and --namespace cannot scale anything")
	}
	if len(problems) > 0 {
		return usageError{strings.Join(problems, "; ")}
	}
	return s.settings.validate()
}

// validateThrough finds what cannot be meant by --through.
func (s *cycleSettings) validateThrough() []string {
	var problems []string
	if len(s.through) > 0 && s.timesOrTo {
		problems = append(problems, "--through and --times or --to exclude each other")
	}
	for i, replicas := range s.through {
		switch {
		case replicas < 0:
			problems = append(problems, fmt.Sprintf("--through %d: expected 0 or more", replicas))
		case i > 0 && replicas == s.through[i-1]:
			problems = append(problems, fmt.Sprintf("--through %d,%[1]d: expected another number after it", replicas))
		}
	}
	return problems
}

func (s *cycleSettings) run(ctx context.Context) (int, error) {
	if err := s.validate(); err != nil {
		return 0, err
	}
	sink := s.sink("cycle")
	defer sink.Progress.Stop()
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	found, entries, err := s.open(ctx, sink)
	if err != nil {
		return s.cannotStart(ctx, sink, err)
	}
	if found.project == "" {
		return 0, errors.Join(usageError{"cycle needs a Pulumi stack: PG* variables cannot scale anything"}, entries.Close())
	}
	played := &cycle.Cycle{
		Subject: found.Subject,
		Deployer: &pulumicli.Deployer{
			Project: found.project, Stack: found.stack, ConfigFile: s.configFile, Scratch: filepath.Dir(found.ledger),
		},
		Ledger: entries, Sink: sink, Times: s.times, To: s.to, Through: s.through, Rows: s.rows, Hold: s.hold, Others: s.others(found, entries),
		Notice: func(text string) { sink.Progress.Print(func() { fmt.Fprintln(s.streams.Err, text) }) },
	}
	return s.finish(sink, entries, played.Summarize, played.Run(ctx))
}
