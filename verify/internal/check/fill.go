package check

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"stateful-postgres/verify/internal/commit"
	"stateful-postgres/verify/internal/ledger"
	"stateful-postgres/verify/internal/report"
	"stateful-postgres/verify/internal/rows"
	"stateful-postgres/verify/internal/server"
)

// DefaultBatch is how many rows a fill sends in one transaction: enough that commits cost
// nothing, few enough that an interruption costs little.
const DefaultBatch = 100_000

// Fill is a number of rows to write.
type Fill struct {
	Rows int64
	// Batch is the number of rows in a transaction.
	Batch int64
}

// fill writes rows until as many as asked for are known to be committed. A fill of the same
// number of rows that was interrupted is continued.
func (c *Checker) fill(ctx context.Context, conn *pgx.Conn, way *way, evidence *server.Evidence) error {
	switch {
	case c.Sink.Report.Has(report.Violated):
		c.add(report.Rows, "new rows", report.Skipped, "none written: a violation was found, and the evidence is left as it is", "")
		return nil
	case evidence.InRecovery:
		c.add(report.Rows, "new rows", report.Unknown, "none written: the server is a standby", connectToPrimary)
		return nil
	}
	condition, ok := c.inspect(ctx, conn, evidence)
	if !ok {
		return nil
	}
	if !condition.Exists() && c.State().Required() > 0 {
		c.reportRows(rows.EverythingLost(c.State()), fmt.Sprintf("table %s does not exist", rows.Table), c.copies(ctx, conn))
		return nil
	}
	used, err := c.settleBeforeFill(ctx, conn, condition)
	if err != nil {
		c.broken(ctx, report.Rows, "new rows", err)
		return nil
	}
	writer, err := rows.NewWriter(c.Ledger, used)
	if err != nil {
		return err
	}
	if left := c.State().Left(); left > 0 && c.State().Goal.Rows == c.Fill.Rows && c.State().Goal.Run == writer.Run().ID {
		c.add(report.Rows, "resumed", report.Passed, fmt.Sprintf("an earlier fill of %s was interrupted: %s left to write",
			report.Plural(c.Fill.Rows, "row"), report.Plural(left, "row")), "")
	} else if err := c.Ledger.Aim(writer.Run().ID, c.Fill.Rows); err != nil {
		return err
	}
	counts := &report.Counts{}
	c.Sink.Report.Rows = counts
	if err := c.fillTo(ctx, way, writer, condition, counts); err != nil {
		return err
	}
	return c.keepSighting(ctx, conn)
}

// settleBeforeFill decides about what an interrupted fill left undecided, and returns the first
// sequence number of the current run that no row has.
func (c *Checker) settleBeforeFill(ctx context.Context, conn *pgx.Conn, condition rows.Condition) (int64, error) {
	run := c.State().Current()
	if run == nil || !condition.Exists() {
		return 0, nil
	}
	var undecided []ledger.Span
	for _, span := range run.Spans {
		if span.Status != ledger.Undecided {
			continue
		}
		for first := span.First; first < span.End(); first += span.Unit {
			undecided = append(undecided, ledger.Span{First: first, Rows: min(span.Unit, span.End()-first)})
		}
	}
	for _, unit := range undecided {
		// Intact means there and whole; anything else is for the check to judge.
		intact, err := rows.ReadBack(ctx, conn, run, unit.First, unit.Rows)
		if err != nil {
			return 0, err
		}
		if intact {
			if err := c.Ledger.Resolve(run.ID, unit.First, unit.Rows, ledger.Seen); err != nil {
				return 0, err
			}
		}
	}
	return rows.Used(ctx, conn, run)
}

// fillTo writes transactions until the goal is reached. A connection that breaks is opened again.
func (c *Checker) fillTo(ctx context.Context, way *way, writer *rows.Writer, condition rows.Condition, counts *report.Counts) error {
	started := time.Now()
	var session *commit.Session
	defer func() {
		if session != nil {
			_ = session.Close()
		}
	}()
	total := c.State().Left()
	for left := total; left > 0; left = c.State().Left() {
		if ctx.Err() != nil {
			c.stopped(ctx, left)
			return nil
		}
		if session == nil || !session.Usable() || session.Standby() {
			if session != nil {
				_ = session.Close()
			}
			next, err := way.session(ctx)
			if err != nil {
				c.stopped(ctx, left)
				c.add(report.Rows, "connection", report.Unknown, err.Error(), "")
				return nil
			}
			session = next
			writer.Use(session)
			if !condition.Complete {
				if err := rows.Create(ctx, session.Exec); err != nil {
					c.broken(ctx, report.Rows, "new rows", err)
					return nil
				}
				condition.Complete = true
			}
		}
		written, err := writer.Add(ctx, min(left, c.Fill.Batch))
		var broken *rows.LedgerError
		if errors.As(err, &broken) {
			return err
		}
		switch written.Outcome {
		case commit.Acknowledged, commit.AcknowledgedLocally:
			counts.Added += written.Rows
		case commit.Failed:
			if session.Usable() && !session.Standby() && ctx.Err() == nil {
				// The server refuses this itself: trying again would go on forever.
				c.refusedWrites(ctx, fmt.Sprintf("%s left unwritten: %v", report.Plural(left, "row"), err), err)
				return nil
			}
		case commit.Unknown:
			counts.Undecided += written.Rows
		}
		rate := float64(counts.Added) / time.Since(started).Seconds()
		c.Sink.Progress.Say("writing: %s of %s rows, %s a second", report.Number(counts.Added), report.Number(total), report.Number(int64(rate)))
	}
	took := time.Since(started)
	c.add(report.Rows, "new rows", report.Passed, fmt.Sprintf("%s acknowledged in %s, %s a second", report.Plural(counts.Added, "row"),
		report.Duration(took), report.Number(int64(float64(counts.Added)/took.Seconds()))), "")
	if counts.Undecided > 0 {
		c.add(report.Rows, "undecided", report.Warning, fmt.Sprintf("the commit of %s was never answered: they may be there or not, on top of those asked for",
			report.Plural(counts.Undecided, "row")), "run verify to see which")
	}
	return nil
}

// stopped reports a fill that ended before its goal.
func (c *Checker) stopped(ctx context.Context, left int64) {
	c.cutShort(ctx)
	c.add(report.Rows, "new rows", report.Unknown, fmt.Sprintf("stopped with %s left to write", report.Plural(left, "row")),
		fmt.Sprintf("verify fill --rows %d goes on where it stopped", c.Fill.Rows))
}
