package command

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"stateful-postgres/verify/internal/check"
)

// fillTimeout is longer than that of a check: millions of rows take their time.
const fillTimeout = time.Hour

// fillSettings are the flags of fill.
type fillSettings struct {
	settings
	rows  int64
	batch int64
}

func newFill(streams Streams, exitCode *int) *cobra.Command {
	s := &fillSettings{settings: settings{streams: streams}}
	command := &cobra.Command{
		Use:   "fill",
		Short: "Write many rows, to be proven by later checks",
		Long: `Fill writes rows through COPY and enters them in the ledger. Interrupted in any
way, the same command goes on where it stopped: no row is lost or doubled.`,
		Example: `  verify fill --rows 1000000
  verify fill --rows 10000000 --batch 500000 --dsn postgres://app@db.example.org/app`,
		Args: noArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			code, err := s.run(command.Context())
			*exitCode = code
			return err
		},
	}
	s.register(command, fillTimeout)
	command.Flags().Int64Var(&s.rows, "rows", 0, "how many rows to write (required)")
	command.Flags().Int64Var(&s.batch, "batch", check.DefaultBatch, "rows in a transaction")
	return command
}

func (s *fillSettings) run(ctx context.Context) (int, error) {
	var problems []string
	if s.rows < 1 {
		problems = append(problems, fmt.Sprintf("--rows %d: expected 1 or more", s.rows))
	}
	if s.batch < 1 {
		problems = append(problems, fmt.Sprintf("--batch %d: expected 1 or more", s.batch))
	}
	if len(problems) > 0 {
		return 0, usageError{strings.Join(problems, "; ")}
	}
	return s.look(ctx, "fill", func(checker *check.Checker) {
		checker.Fill = &check.Fill{Rows: s.rows, Batch: s.batch}
	})
}
