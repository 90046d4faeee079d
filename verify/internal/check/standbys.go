package check

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"stateful-postgres/verify/internal/kubernetes"
	"stateful-postgres/verify/internal/payload"
	"stateful-postgres/verify/internal/report"
	"stateful-postgres/verify/internal/rows"
	"stateful-postgres/verify/internal/server"
)

// compareAttempts is how often standbys are compared with a primary whose rows change meanwhile: so often
// with all rows of the table, and then so often with those of the ledger.
const compareAttempts = 3

// compared is what was found on one standby.
type compared struct {
	memberView
	conn *pgx.Conn
	// at is how far it has replayed the log, found what its table holds then.
	at    server.LSN
	found payload.Digest
	// late says that it did not come far enough.
	late bool
	err  error
}

// compareStandbys compares the rows on every standby with the primary's, which were expected to be
// these, at one position of the log or behind it. When somebody else writes to the table all the time,
// the rows of the ledger are compared: nobody else writes those.
func (c *Checker) compareStandbys(ctx context.Context, expected payload.Digest) {
	if c.members.last == nil || c.Sink.Report.CutShort(ctx) {
		return
	}
	var standbys []*compared
	unasked := 0
	for _, member := range c.members.last.members {
		switch {
		case member.state == nil:
			unasked++
		case member.state.InRecovery:
			standbys = append(standbys, &compared{memberView: member, conn: c.members.reached[member.pod.Name].conn})
		}
	}
	if len(standbys) == 0 {
		return
	}
	c.Sink.Progress.Say("comparing the rows on %s", report.Plural(int64(len(standbys)), "standby"))
	deadline := time.Now().Add(c.settleTime())
	which := rows.All
	for attempt := 1; ; attempt++ {
		position, err := server.Replayed(ctx, c.members.primary)
		if err != nil {
			c.broken(ctx, report.Rows, "standby rows", err)
			return
		}
		c.readStandbys(ctx, standbys, which, position, deadline)
		now, open := expected, 0
		if !agree(standbys, expected) {
			// Somebody else may write to the table, too.
			if open, err = c.untilVisible(ctx); err == nil {
				now, err = which.Digest(ctx, c.members.primary)
			}
			if err != nil {
				c.broken(ctx, report.Rows, "standby rows", err)
				return
			}
		}
		if now == expected {
			c.reportStandbys(ctx, standbys, which, expected, position, unasked, open)
			return
		}
		expected = now
		switch {
		case attempt < compareAttempts:
		case which == rows.All:
			which, attempt = rows.OfLedger(c.State()), 0
			if expected, err = which.Digest(ctx, c.members.primary); err != nil {
				c.broken(ctx, report.Rows, "standby rows", err)
				return
			}
		default:
			c.add(report.Rows, "standby rows", report.Unknown, "could not be compared: the rows of this ledger change all the time on the primary", "does another verify use this ledger? Run verify again")
			return
		}
	}
}

// untilVisible waits until the primary shows every row that a standby has shown before, and returns how many
// transactions that may have written some did not end in time. A standby shows a row as soon as it has replayed
// the commit. The primary shows it when the commit has been acknowledged, for which it may wait for a standby.
func (c *Checker) untilVisible(ctx context.Context) (open int, err error) {
	before, err := rows.Writers(ctx, c.members.primary)
	deadline := time.Now().Add(c.settleTime())
	for now := before; err == nil; now, err = rows.Writers(ctx, c.members.primary) {
		before = slices.DeleteFunc(before, func(writer string) bool { return !slices.Contains(now, writer) })
		if len(before) == 0 || time.Now().After(deadline) {
			return len(before), nil
		}
		select {
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		case <-time.After(memberInterval):
		}
	}
	return 0, err
}

// readStandbys reads rows of all standbys at the same time, each once it has come to a position.
func (c *Checker) readStandbys(ctx context.Context, standbys []*compared, which *rows.Selection, position server.LSN, deadline time.Time) {
	var reads sync.WaitGroup
	for _, standby := range standbys {
		reads.Go(func() { standby.read(ctx, which, position, deadline) })
	}
	reads.Wait()
}

func (s *compared) read(ctx context.Context, which *rows.Selection, position server.LSN, deadline time.Time) {
	for s.late = true; ; {
		if s.at, s.err = server.Replayed(ctx, s.conn); s.err != nil {
			return
		}
		if s.at >= position {
			break
		}
		if time.Now().After(deadline) {
			return
		}
		select {
		case <-ctx.Done():
			s.err = context.Cause(ctx)
			return
		case <-time.After(memberInterval):
		}
	}
	s.late = false
	s.found, s.err = which.Digest(ctx, s.conn)
}

// agree says whether all standbys that could be read have the expected rows.
func agree(standbys []*compared, expected payload.Digest) bool {
	for _, standby := range standbys {
		if standby.err == nil && !standby.late && standby.found != expected {
			return false
		}
	}
	return true
}

// reportStandbys says of each standby whether it has the primary's rows. When all have, what was seen
// up to the position can be lost with no server alone. So many transactions are open that may have written more
// than the primary shows.
func (c *Checker) reportStandbys(ctx context.Context, standbys []*compared, which *rows.Selection, expected payload.Digest, position server.LSN, unasked, open int) {
	same, synchronous := 0, false
	for _, standby := range standbys {
		pod := standby.pod.Name
		switch {
		case standby.err != nil && ctx.Err() != nil:
			c.broken(ctx, report.Rows, "standby rows", fmt.Errorf("%s: %w", pod, standby.err))
		case standby.err != nil:
			status, hint := judgeError(standby.err)
			c.add(report.Rows, "standby rows", status, fmt.Sprintf("%s could not be read: %v", pod, standby.err), hint)
		case standby.late:
			c.add(report.Rows, "standby rows", report.Unknown, fmt.Sprintf("%s has replayed the log up to %s, %s behind the primary's %s, and did not come further within %s: its rows could not be compared",
				pod, standby.at, report.Plural(position.Sub(standby.at), "byte"), position, report.Duration(c.settleTime())), "see the log of that pod, and pg_stat_replication on the primary")
		case standby.found != expected:
			c.otherRows(ctx, standby, which, expected, open)
		default:
			same++
			c.countRows(pod, which, standby.found.Rows)
			stream, _ := c.members.last.primary.Stream(pod)
			synchronous = synchronous || stream.SyncState == "sync" || stream.SyncState == "quorum"
			c.add(report.Rows, "standby rows", report.Passed, fmt.Sprintf("%s has the same %s%s, at %s", pod, report.Plural(expected.Rows, "row"), ofWhat(which), standby.at), "")
		}
	}
	if same == len(standbys) && unasked == 0 && synchronous {
		c.sighting.ReplayedLSN = position.String()
	}
}

// ofWhat says which rows were compared, where these were not all.
func ofWhat(which *rows.Selection) string {
	if which == rows.All {
		return ""
	}
	return " of this ledger (somebody else writes to the table all the time: other rows were not compared)"
}

// countRows enters how many rows the table of a server has.
func (c *Checker) countRows(pod string, which *rows.Selection, count int64) {
	if which != rows.All {
		return
	}
	for i := range c.Sink.Report.Members {
		if c.Sink.Report.Members[i].Pod == pod {
			c.Sink.Report.Members[i].Rows = &count
		}
	}
}

// otherRows names the rows that are wrong on a standby. Only more than the primary shows is no error while the
// transactions are open that may have written them.
func (c *Checker) otherRows(ctx context.Context, standby *compared, which *rows.Selection, expected payload.Digest, open int) {
	pod := standby.pod.Name
	c.countRows(pod, which, standby.found.Rows)
	detail := fmt.Sprintf("%s has other rows%s than the primary: %s with the digest %s, expected %s with the digest %s",
		pod, ofWhat(which), report.Number(standby.found.Rows), standby.found.Sum(), report.Number(expected.Rows), expected.Sum())
	var list []report.Row
	audit, err := rows.Compare(ctx, standby.conn, c.State(), rows.Options{})
	if err != nil {
		detail += fmt.Sprintf("; which ones could not be seen: %v", err)
	} else {
		for _, kind := range rows.Kinds {
			if count := audit.Count[kind]; count > 0 {
				detail += fmt.Sprintf("; %s %s", report.Number(count), kind)
				list = append(list, named(audit, kind)...)
			}
		}
	}
	if open > 0 && err == nil && len(list) == 0 && standby.found.Rows > expected.Rows {
		c.add(report.Rows, "standby rows", report.Unknown, fmt.Sprintf("%s; %s that may have written them did not end within %s", detail, report.Plural(int64(open), "transaction"), report.Duration(c.settleTime())),
			"a standby shows a row before the primary does while the commit waits for a synchronous standby: see pg_stat_activity on the primary, and run verify again when these transactions are over")
		return
	}
	c.Sink.Add(report.Check{Section: report.Rows, Name: "standby rows", Status: report.Violated, Detail: detail, Rows: list[:min(len(list), rows.Named)],
		Hint: fmt.Sprintf("a failover to it would lose rows: find out what became of its volume, then have the server copy the primary's files: delete the claim %s and the pod",
			c.Subject.Objects.ClaimName(kubernetes.Ordinal(pod)))})
}
