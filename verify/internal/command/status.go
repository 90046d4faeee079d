package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"stateful-postgres/verify/internal/ledger"
	"stateful-postgres/verify/internal/pulumicli"
	"stateful-postgres/verify/internal/report"
)

// ledgerStatus is what a ledger knows, as it is printed.
type ledgerStatus struct {
	SchemaVersion int              `json:"schema_version"`
	Ledger        string           `json:"ledger"`
	Exists        bool             `json:"exists"`
	ID            string           `json:"id,omitempty"`
	CreatedAt     time.Time        `json:"created_at,omitzero"`
	SizeBytes     int64            `json:"size_bytes"`
	TornBytes     int64            `json:"torn_bytes"`
	Runs          []runStatus      `json:"runs"`
	Required      int64            `json:"required"`
	FillLeft      int64            `json:"fill_left"`
	Sighting      *ledger.Sighting `json:"last_seen,omitempty"`
	Results       int64            `json:"results"`
	LastResult    *ledger.Result   `json:"last_result,omitempty"`
}

// runStatus is one run of a ledger.
type runStatus struct {
	Run                 int64     `json:"run"`
	StartedAt           time.Time `json:"started_at"`
	Adopted             bool      `json:"adopted"`
	Acknowledged        int64     `json:"acknowledged"`
	AcknowledgedLocally int64     `json:"acknowledged_locally"`
	Seen                int64     `json:"seen"`
	Undecided           int64     `json:"undecided"`
	Failed              int64     `json:"failed"`
}

func newStatus(streams Streams, exitCode *int) *cobra.Command {
	s := &settings{streams: streams}
	command := &cobra.Command{
		Use:   "status",
		Short: "Show what the ledger knows, without touching the server",
		Example: `  verify status
  verify status --stack prod -o json`,
		Args: noArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			code, err := s.status(command.Context())
			*exitCode = code
			return err
		},
	}
	s.register(command, checkTimeout)
	return command
}

func (s *settings) status(ctx context.Context) (int, error) {
	if err := s.validate(); err != nil {
		return 0, err
	}
	if s.output == "junit" {
		return 0, usageError{"--output junit: status makes no checks; expected table or json"}
	}
	if s.newLedger {
		return 0, usageError{"--new-ledger: status changes nothing"}
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	path, err := s.ledgerPath(ctx)
	if err != nil {
		var unread *pulumicli.Error
		if errors.As(err, &unread) && unread.Usage {
			return 0, usageError{unread.Problem + ": " + unread.Hint}
		}
		return report.ExitUnknown, err
	}
	state, err := ledger.Read(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return report.ExitUnknown, err
	}
	status := describe(path, state)
	if s.output == "json" {
		encoder := json.NewEncoder(s.streams.Out)
		encoder.SetIndent("", "  ")
		return report.ExitProven, encoder.Encode(status)
	}
	return report.ExitProven, status.print(s.streams.Out)
}

// ledgerPath is where the ledger lies. Nothing but its name is needed when the flags give it.
func (s *settings) ledgerPath(ctx context.Context) (string, error) {
	if s.ledger != "" {
		return s.ledger, nil
	}
	found, err := s.find(ctx)
	if err != nil {
		return "", err
	}
	return found.ledger, nil
}

func describe(path string, state *ledger.State) *ledgerStatus {
	status := &ledgerStatus{SchemaVersion: 1, Ledger: path, Runs: []runStatus{}}
	if state == nil {
		return status
	}
	status.Exists, status.ID, status.CreatedAt = true, state.ID, state.CreatedAt
	status.SizeBytes, status.TornBytes = state.Size, state.TornBytes
	status.Required, status.FillLeft, status.Results = state.Required(), state.Left(), state.Results
	for _, run := range state.Runs {
		status.Runs = append(status.Runs, runStatus{
			Run: run.ID, StartedAt: run.StartedAt, Adopted: run.Adopted,
			Acknowledged: run.Count(ledger.Acknowledged), AcknowledgedLocally: run.Count(ledger.AcknowledgedLocally),
			Seen: run.Count(ledger.Seen), Undecided: run.Count(ledger.Undecided), Failed: run.Count(ledger.Failed),
		})
	}
	if !state.Sighting.At.IsZero() {
		status.Sighting = &state.Sighting
	}
	if state.Results > 0 {
		status.LastResult = &state.LastResult
	}
	return status
}

func (l *ledgerStatus) print(out io.Writer) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "ledger\t%s\n", l.Ledger)
	if !l.Exists {
		fmt.Fprintf(table, "\tdoes not exist yet: nothing was ever written; run: verify\n")
		return table.Flush()
	}
	fmt.Fprintf(table, "since\t%s\n", report.Time(l.CreatedAt))
	fmt.Fprintf(table, "size\t%s bytes\n", report.Number(l.SizeBytes))
	if l.TornBytes > 0 {
		fmt.Fprintf(table, "\tits last record (%d bytes) is incomplete and does not count\n", l.TornBytes)
	}
	fmt.Fprintf(table, "rows\t%s must be in the database\n", report.Number(l.Required))
	if l.FillLeft > 0 {
		fmt.Fprintf(table, "fill\tinterrupted with %s left to write\n", report.Plural(l.FillLeft, "row"))
	}
	if seen := l.Sighting; seen != nil {
		fmt.Fprintf(table, "last seen\t%s: system_identifier %s, timeline %d, log position %s\n",
			report.Time(seen.At), seen.SystemIdentifier, seen.Timeline, seen.FlushedLSN)
		if seen.Pod != "" {
			fmt.Fprintf(table, "\tthe server in pod %s took the writes\n", seen.Pod)
		}
		if seen.ClaimUID != "" {
			fmt.Fprintf(table, "\tclaim UID %s, volume %s\n", seen.ClaimUID, seen.Volume)
		}
		for _, claim := range seen.Claims {
			fmt.Fprintf(table, "\tclaim of ordinal %d: UID %s, volume %s\n", claim.Ordinal, claim.UID, claim.Volume)
		}
	}
	if last := l.LastResult; last != nil {
		fmt.Fprintf(table, "last result\t%s %s, %s: %s\n", report.Time(last.At), last.Command, last.Verdict, last.Summary)
	}
	if len(l.Runs) > 0 {
		fmt.Fprintf(table, "\nRUN\tSINCE\tACKNOWLEDGED\tSEEN\tUNDECIDED\tFAILED\t\n")
	}
	for _, run := range l.Runs {
		note := ""
		if run.Adopted {
			note = "adopted"
		}
		fmt.Fprintf(table, "%d\t%s\t%s\t%s\t%s\t%s\t%s\n", run.Run, report.Time(run.StartedAt),
			report.Number(run.Acknowledged+run.AcknowledgedLocally), report.Number(run.Seen), report.Number(run.Undecided), report.Number(run.Failed), note)
	}
	return table.Flush()
}
