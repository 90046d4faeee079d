package check

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"stateful-postgres/verify/internal/report"
	"stateful-postgres/verify/internal/server"
)

// With several servers every start as the primary begins a timeline of its own. So it rises with each
// failover and each restart, and what counts is that each timeline branched off from the one before,
// behind everything that was acknowledged on it.

// checkHistory compares the timeline and its history with those of the last look. It returns true when
// the timeline is still the same, and the positions on it can be compared.
func (c *Checker) checkHistory(ctx context.Context, conn *pgx.Conn, e *server.Evidence, detail string) bool {
	before := c.State().Sighting
	history, seen, err := server.ReadHistory(ctx, conn, e.Timeline)
	began, branched := history.Began()
	c.sighting.TimelineBegan = ""
	if seen && branched {
		c.sighting.TimelineBegan = began.String()
	}
	violated := func(found string) {
		c.add(report.Server, "write-ahead log", report.Violated, fmt.Sprintf("%s: %s, recorded on %s was timeline %d, position %s",
			found, detail, report.Time(before.At), before.Timeline, before.FlushedLSN), findNewer)
	}
	switch {
	case err != nil:
		c.broken(ctx, report.Server, "write-ahead log", err)
		return false
	case before.FlushedLSN == "" || before.Timeline == 0 || before.SystemIdentifier != e.SystemIdentifier:
		return true
	case e.Timeline < before.Timeline:
		violated("went back to an earlier timeline")
		return false
	case e.Timeline == before.Timeline && seen && branched && before.TimelineBegan != "" && before.TimelineBegan != began.String():
		violated(fmt.Sprintf("another timeline of the same number: it began at %s, the recorded one at %s", began, before.TimelineBegan))
		return false
	case e.Timeline == before.Timeline:
		return true
	case !seen:
		// The rows decide.
		c.withdrawable = true
		c.add(report.Server, "write-ahead log", report.Warning, fmt.Sprintf("%s; it was timeline %d; this role may not read how one came of the other", detail, before.Timeline),
			"a superuser may, or who is granted pg_read_file(text, bigint, bigint, boolean)")
		return false
	}
	c.checkBranch(e, history, detail, violated)
	return false
}

// checkBranch looks at where the history left the timeline of the last look.
func (c *Checker) checkBranch(e *server.Evidence, history server.History, detail string, violated func(string)) {
	before := c.State().Sighting
	left, descends := history.Left(before.Timeline)
	if !descends {
		violated(fmt.Sprintf("history broken: timeline %d does not descend from timeline %d", e.Timeline, before.Timeline))
		return
	}
	for i, branch := range history {
		if branch.Parent == before.Timeline && i > 0 && before.TimelineBegan != "" && history[i-1].At.String() != before.TimelineBegan {
			violated(fmt.Sprintf("history broken: its timeline %d began at %s, the recorded one at %s", before.Timeline, history[i-1].At, before.TimelineBegan))
			return
		}
	}
	if replayed, err := server.ParseLSN(before.ReplayedLSN); err == nil && left < replayed {
		violated(fmt.Sprintf("went back: timeline %d was left at %s, and all servers had it up to %s", before.Timeline, left, before.ReplayedLSN))
		return
	}
	detail = fmt.Sprintf("%s; it was timeline %d, and the history is unbroken: each failover and each start begins another one", detail, before.Timeline)
	if flushed, err := server.ParseLSN(before.FlushedLSN); err == nil && left < flushed {
		// A commit that no standby has is not acknowledged, but others may have seen it after a restart.
		c.withdrawable = true
		detail += fmt.Sprintf("; the last %s of timeline %d were on the server before alone and are given up", report.Plural(flushed.Sub(left), "byte"), before.Timeline)
	}
	c.add(report.Server, "write-ahead log", report.Passed, detail, "")
}
