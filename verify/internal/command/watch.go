package command

import (
	"context"
	"fmt"
	"time"

	"stateful-postgres/verify/internal/check"
	"stateful-postgres/verify/internal/report"
)

// defaultInterval is the pause between two rounds of a watch.
const defaultInterval = 2 * time.Second

// watchWith takes looks until it is interrupted or one finds a violation. The timeout is that of
// each round.
func (s *checkSettings) watchWith(ctx context.Context, configure func(*check.Checker)) (int, error) {
	if err := s.validate(); err != nil {
		return 0, err
	}
	if s.output == "junit" {
		return 0, usageError{"--output junit: a watch has no end to report; expected table or json"}
	}
	if s.every < 0 {
		return 0, usageError{fmt.Sprintf("--interval %s: expected 0 or more", s.every)}
	}
	printer := s.roundPrinter()
	for {
		sink := s.sink("check")
		sink.Printer = printer
		exitCode, err := s.lookInto(ctx, sink, configure)
		if err != nil || exitCode == report.ExitViolated || exitCode == report.ExitInterrupted {
			return exitCode, err
		}
		// Only the first round may start a new ledger.
		s.newLedger = false
		select {
		case <-ctx.Done():
			return report.ExitInterrupted, nil
		case <-time.After(s.every):
		}
	}
}

func (s *checkSettings) roundPrinter() report.Printer {
	if s.output == "json" {
		return report.JSON{Out: s.streams.Out, Line: true}
	}
	return report.NewRounds(s.streams.Out, s.style())
}
