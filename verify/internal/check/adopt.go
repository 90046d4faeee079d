package check

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"stateful-postgres/verify/internal/ledger"
	"stateful-postgres/verify/internal/report"
	"stateful-postgres/verify/internal/rows"
)

// adopt takes the rows of a run that are in the table and have the content they should have into
// the ledger.
func (c *Checker) adopt(ctx context.Context, conn *pgx.Conn, unrecorded rows.Unrecorded) error {
	seed, err := rows.Seed(ctx, conn, unrecorded.Run)
	if err != nil {
		c.add(report.Rows, "adopted", report.Unknown, fmt.Sprintf("run %d cannot be adopted: %v", unrecorded.Run, err),
			"without the seed nobody can tell what its rows should contain")
		return nil
	}
	run := c.State().Run(unrecorded.Run)
	if run != nil && run.Seed != seed {
		c.add(report.Rows, "adopted", report.Unknown, fmt.Sprintf("run %d cannot be adopted: verify.runs has another seed for it than the ledger", unrecorded.Run), "")
		return nil
	}
	found, err := rows.Survey(ctx, conn, unrecorded.Run, seed)
	if err != nil {
		c.broken(ctx, report.Rows, "adopted", err)
		return nil
	}
	if run == nil {
		if err := c.Ledger.StartRun(unrecorded.Run, seed, true); err != nil {
			return err
		}
		run = c.State().Run(unrecorded.Run)
	}
	adopted := int64(0)
	for _, span := range found.Intact {
		for seq := span.First; seq < span.First+span.Rows; {
			// What the ledger knows already stays as it is.
			known, ok := run.At(seq)
			if ok {
				seq = known.End()
				continue
			}
			end := min(span.First+span.Rows, nextKnown(run, seq, span.First+span.Rows))
			if err := c.Ledger.Resolve(run.ID, seq, end-seq, ledger.Seen); err != nil {
				return err
			}
			adopted += end - seq
			seq = end
		}
	}
	status, detail := report.Passed, fmt.Sprintf("%s of run %d: from now on they must stay", report.Plural(adopted, "row"), unrecorded.Run)
	if found.Altered > 0 {
		status = report.Warning
		detail += fmt.Sprintf("; %s with another content than their run gives them were left out", report.Plural(found.Altered, "row"))
	}
	c.add(report.Rows, "adopted", status, detail, "")
	return nil
}

// nextKnown is the first sequence number from seq on that the ledger knows, or end.
func nextKnown(run *ledger.Run, seq, end int64) int64 {
	next := end
	run.Within(seq, end, func(span ledger.Span) { next = min(next, span.First) })
	return next
}
