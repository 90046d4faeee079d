package check

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"stateful-postgres/verify/internal/commit"
	"stateful-postgres/verify/internal/ledger"
	"stateful-postgres/verify/internal/payload"
	"stateful-postgres/verify/internal/report"
	"stateful-postgres/verify/internal/rows"
	"stateful-postgres/verify/internal/server"
)

// checkRows audits the rows of earlier runs, and writes new ones when nothing is wrong.
func (c *Checker) checkRows(ctx context.Context, conn *pgx.Conn, way *way, evidence *server.Evidence) error {
	condition, ok := c.inspect(ctx, conn, evidence)
	if !ok {
		return nil
	}
	ahead := &ahead{way: way}
	defer ahead.close()
	if c.Rows > 0 && !evidence.InRecovery {
		ahead.open(ctx)
	}
	audit := rows.EverythingLost(c.State())
	if !condition.Exists() {
		c.reportRows(audit, fmt.Sprintf("table %s does not exist", rows.Table), c.copies(ctx, conn))
	} else {
		c.Sink.Progress.Say("comparing %s with the ledger", report.Plural(c.State().Required(), "row"))
		var err error
		audit, err = rows.Compare(ctx, conn, c.State(), rows.Options{Index: c.comparesIndex(condition), Withdrawable: c.withdrawable})
		if err != nil {
			c.broken(ctx, report.Rows, "earlier rows", err)
			return nil
		}
		if c.isUnknownServer(evidence) && audit.Required > 0 && audit.Count[rows.Lost] == audit.Required {
			c.add(report.Rows, "earlier rows", report.Unknown, fmt.Sprintf("none of %s is there, and it is not known that this is the server that had them",
				report.Plural(audit.Required, "acknowledged row")), whichServer)
			return nil
		}
		c.sighting.Digests = audit.Computed
		copies := ""
		if audit.Count[rows.Lost] > 0 {
			copies = c.copies(ctx, conn)
		}
		if copies != "" && condition.Partitioned {
			c.add(report.Rows, "earlier rows", report.Unknown, fmt.Sprintf("%s are not in %s, and there are %s: was a partition detached?",
				report.Plural(audit.Count[rows.Lost], "row"), rows.Table, copies), "attach it again, then run verify")
			return nil
		}
		c.reportRows(audit, "", copies)
		c.reportIndex(audit, condition)
		if err := c.settle(ctx, conn, audit); err != nil {
			return err
		}
	}
	total, err := c.writeRows(ctx, conn, ahead, evidence, condition, audit)
	if err != nil {
		return err
	}
	if c.members != nil && (condition.Exists() || total.Rows > 0) {
		c.compareStandbys(ctx, total)
	}
	return c.keepSighting(ctx, conn)
}

// inspect looks at the table. It returns false when the rows in it cannot be seen, or are known to
// be elsewhere.
func (c *Checker) inspect(ctx context.Context, conn *pgx.Conn, evidence *server.Evidence) (rows.Condition, bool) {
	recorded, before := uint32(0), c.State().Sighting
	if before.DatabaseOID == evidence.Database.OID && (evidence.SystemIdentifier == "" || c.isSameServer(evidence)) {
		recorded = before.TableOID
	}
	condition, err := rows.Inspect(ctx, conn, recorded)
	if err != nil {
		c.broken(ctx, report.Rows, "earlier rows", err)
		return condition, false
	}
	c.sighting.TableOID = condition.OID
	moved := ""
	if condition.Moved != nil {
		moved = fmt.Sprintf("the table with the rows is now %s", condition.Moved)
	}
	switch {
	case condition.Unseen != "" && moved != "":
		c.add(report.Rows, "earlier rows", report.Unknown, condition.Unseen+"; "+moved, "take away what is in its place, and run: "+condition.Moved.WayBack())
	case condition.Unseen != "":
		c.add(report.Rows, "earlier rows", report.Unknown, condition.Unseen, condition.Remedy)
	case moved != "" && condition.Exists():
		c.add(report.Rows, "earlier rows", report.Unknown, fmt.Sprintf("%s is another table than the one with the rows; %s", rows.Table, moved),
			"nothing is lost by that: take away what is in its place, and run: "+condition.Moved.WayBack())
	case moved != "":
		c.add(report.Rows, "earlier rows", report.Unknown, fmt.Sprintf("table %s is not there: %s", rows.Table, moved), "nothing is lost by that: run: "+condition.Moved.WayBack())
	case !condition.Exists() && c.State().Required() > 0:
		return condition, c.isGone(ctx, conn, evidence)
	case condition.Exists() && !condition.Columns:
		c.add(report.Rows, "earlier rows", report.Unknown, fmt.Sprintf("table %s is not the one that verify makes: expected exactly the columns "+
			"run bigint, seq bigint, payload text", rows.Table), "rename it, or restore its columns")
	default:
		return condition, true
	}
	return condition, false
}

// whichServer is what to do where neither the server's identity nor any of its rows is known.
const whichServer = "is this the right server and database? A role that may see the server's identity could tell"

// isUnknownServer says that nothing is known about whether this server is the ledger's.
func (c *Checker) isUnknownServer(evidence *server.Evidence) bool {
	return c.State().Sighting.SystemIdentifier == "" || evidence.SystemIdentifier == ""
}

// isGone decides about a table that is not there. It returns true when it is known to have been.
func (c *Checker) isGone(ctx context.Context, conn *pgx.Conn, evidence *server.Evidence) bool {
	if !c.isUnknownServer(evidence) && c.State().Sighting.DatabaseOID != 0 {
		return true
	}
	copies := c.copies(ctx, conn)
	switch {
	case copies != "":
		c.add(report.Rows, "earlier rows", report.Unknown, fmt.Sprintf("table %s is not there, and there are %s: was it renamed?", rows.Table, copies),
			"bring it back to its place, and run verify again")
	case c.isUnknownServer(evidence):
		c.add(report.Rows, "earlier rows", report.Unknown, fmt.Sprintf("table %s is not there, and it is not known that this is the server that had it", rows.Table), whichServer)
	default:
		return true
	}
	return false
}

// copies describes the other tables that hold rows of the ledger; empty when there are none. It is
// looked for to help: that it could not be seen changes nothing.
func (c *Checker) copies(ctx context.Context, conn *pgx.Conn) string {
	if c.State().Required() == 0 {
		return ""
	}
	found, err := rows.Elsewhere(ctx, conn, c.State())
	if err != nil {
		return ""
	}
	return describeCopies(found)
}

// reportRows reports an audit. The cause is what explains that everything is missing; copies are
// other tables that hold such rows.
func (c *Checker) reportRows(audit *rows.Audit, cause, copies string) {
	counts := &report.Counts{
		Before: audit.Rows, Now: audit.Rows, Required: audit.Required, Intact: audit.Intact,
		Lost: audit.Count[rows.Lost], Altered: audit.Count[rows.Altered], Duplicated: audit.Count[rows.Duplicated],
		Phantom: audit.Count[rows.Phantom], Torn: audit.Count[rows.Torn],
		Unindexed: audit.Count[rows.Unindexed], Dangling: audit.Count[rows.Dangling],
		Undecided: audit.UndecidedAbsent,
	}
	c.Sink.Report.Rows = counts
	required := report.Plural(audit.Required, "acknowledged row")
	switch {
	case audit.Wrong() > 0:
		c.reportFindings(audit, cause, copies)
	case audit.Required == 0:
		c.add(report.Rows, "earlier rows", report.Skipped, "none were ever acknowledged: there is nothing to lose yet", "")
	default:
		c.add(report.Rows, "earlier rows", report.Passed, required+", all there and unaltered", "")
	}
}

// comparesIndex decides whether heap and index are compared. That takes as long as reading all
// rows, and an index does not lose entries by itself: many rows are compared once for each start
// of the server, or when it is asked for.
func (c *Checker) comparesIndex(condition rows.Condition) bool {
	return condition.PrimaryKey != "" && (c.Deep || c.State().Required() <= alwaysCompared ||
		!c.State().Sighting.IndexComparedFor.Equal(c.sighting.PostmasterStart))
}

func (c *Checker) reportIndex(audit *rows.Audit, condition rows.Condition) {
	counts := c.Sink.Report.Rows
	switch {
	case condition.PrimaryKey == "":
		c.sighting.IndexComparedFor = time.Time{}
		c.add(report.Rows, "index", report.Warning, fmt.Sprintf("table %s has no primary key: doubled rows are possible", rows.Table),
			fmt.Sprintf("run: alter table %s add primary key (run, seq)", rows.Table))
	case counts.Unindexed+counts.Dangling > 0:
		c.Sink.Add(report.Check{Section: report.Rows, Name: "index", Status: report.Violated,
			Detail: fmt.Sprintf("heap and primary key disagree: %s not in the index, %s only in the index",
				report.Plural(counts.Unindexed, "row"), report.Plural(counts.Dangling, "row")),
			Hint: fmt.Sprintf("the index is damaged: reindex table %s, and look for other damage with pg_amcheck", rows.Table),
			Rows: append(named(audit, rows.Dangling), named(audit, rows.Unindexed)...)})
	case !audit.IndexCompared:
		c.sighting.IndexComparedFor = c.State().Sighting.IndexComparedFor
		c.add(report.Rows, "index", report.Skipped, "not compared again: it agreed with the heap before, and the server has not been restarted since", "--deep compares it all the same")
	default:
		c.sighting.IndexComparedFor = c.sighting.PostmasterStart
		c.add(report.Rows, "index", report.Passed, fmt.Sprintf("heap and primary key agree on %s", report.Plural(audit.Rows, "row")), "")
	}
}

// reportFindings names the rows that are wrong.
func (c *Checker) reportFindings(audit *rows.Audit, cause, copies string) {
	detail := ""
	var list []report.Row
	for _, kind := range rows.Kinds {
		count := audit.Count[kind]
		if count == 0 || kind == rows.Unindexed || kind == rows.Dangling {
			continue
		}
		if detail != "" {
			detail += ", "
		}
		detail += report.Number(count) + " " + string(kind)
		if room := rows.Named - len(list); room > 0 {
			of := named(audit, kind)
			list = append(list, of[:min(room, len(of))]...)
		}
	}
	detail = fmt.Sprintf("%s; %s of %s are there and unaltered", detail, report.Number(audit.Intact), report.Plural(audit.Required, "acknowledged row"))
	if cause != "" {
		detail = cause + ": " + detail
	}
	hint := "-o json names them with their content"
	if total := audit.Wrong(); total > int64(len(list)) {
		hint = fmt.Sprintf("these are the first %d of %s; -o json names the first %d of each kind", len(list), report.Number(total), rows.Named)
	}
	if copies != "" {
		hint += "; there are " + copies
	}
	c.Sink.Add(report.Check{Section: report.Rows, Name: "earlier rows", Status: report.Violated, Detail: detail, Hint: hint, Rows: list})
}

func named(audit *rows.Audit, kind rows.Kind) []report.Row {
	var list []report.Row
	for _, finding := range audit.Of(kind) {
		list = append(list, report.Row{
			Finding: string(kind), Run: finding.Run, Seq: finding.Seq, Recorded: string(finding.Status), RecordedAt: finding.At,
			Expected: finding.Expected, Found: finding.Found,
		})
	}
	return list
}

// settle enters what the audit decided about undecided rows, and reports what the ledger does
// not know.
func (c *Checker) settle(ctx context.Context, conn *pgx.Conn, audit *rows.Audit) error {
	for _, seen := range audit.Seen {
		if err := c.Ledger.Resolve(seen.Run, seen.First, seen.Rows, ledger.Seen); err != nil {
			return err
		}
	}
	if withdrawn := audit.WithdrawnRows(); withdrawn > 0 {
		c.Sink.Report.Rows.Withdrawn = withdrawn
		c.add(report.Rows, "withdrawn", report.Warning, fmt.Sprintf("%s that were never acknowledged, and seen once, went with the end of a timeline: no standby had them",
			report.Plural(withdrawn, "row")), "")
		for _, gone := range audit.Withdrawn {
			if c.Sink.Report.Has(report.Violated) {
				break // What is wrong now must still be wrong the next time.
			}
			if err := c.Ledger.Resolve(gone.Run, gone.First, gone.Rows, ledger.Failed); err != nil {
				return err
			}
		}
	}
	if audit.UndecidedPresent+audit.UndecidedAbsent > 0 {
		c.add(report.Rows, "undecided", report.Passed, fmt.Sprintf("of the rows whose commit was never answered %s there and must stay from now on, "+
			"%s not; both are right", areRows(audit.UndecidedPresent), areRows(audit.UndecidedAbsent)), "")
	}
	for _, unrecorded := range audit.Unrecorded {
		c.Sink.Report.Rows.Unrecorded += unrecorded.Rows
		if c.Adopt {
			if err := c.adopt(ctx, conn, unrecorded); err != nil {
				return err
			}
			continue
		}
		whose := "of a run that this ledger does not know (another person's, or a lost ledger's)"
		if unrecorded.Ours {
			whose = "of this ledger's own run that it has forgotten (was it put back from a copy?)"
		}
		c.add(report.Rows, "unrecorded", report.Warning, fmt.Sprintf("%s %s: run %d; nothing is proven about them",
			report.Plural(unrecorded.Rows, "row"), whose, unrecorded.Run), "--adopt takes them into this ledger, so that they must stay")
	}
	return nil
}

func areRows(n int64) string {
	if n == 1 {
		return "1 is"
	}
	return report.Number(n) + " are"
}

// writeRows adds rows and reads them back through the other connection. It returns what the table
// holds then, as far as it is known.
func (c *Checker) writeRows(ctx context.Context, conn *pgx.Conn, ahead *ahead, evidence *server.Evidence, condition rows.Condition, audit *rows.Audit) (payload.Digest, error) {
	total := audit.Total
	switch {
	case c.Rows == 0 && c.State().Required() == 0:
		c.add(report.Rows, "new rows", report.Unknown, "none asked for, and none were ever acknowledged: nothing is proven", "leave out --rows 0")
		return total, nil
	case c.Rows == 0:
		return total, nil
	case c.Sink.Report.Has(report.Violated):
		c.add(report.Rows, "new rows", report.Skipped, "none written: a violation was found, and the evidence is left as it is", "")
		return total, nil
	case evidence.InRecovery:
		c.add(report.Rows, "new rows", report.Unknown, "none written: the server is a standby", connectToPrimary)
		return total, nil
	}
	c.Sink.Progress.Say("writing %s", report.Plural(c.Rows, "row"))
	session, err := ahead.session(ctx)
	if err != nil {
		c.broken(ctx, report.Rows, "new rows", err)
		return total, nil
	}
	defer session.Close()
	if !condition.Complete {
		if err := rows.Create(ctx, session.Exec); err != nil {
			c.broken(ctx, report.Rows, "new rows", err)
			return total, nil
		}
	}
	writer, err := rows.NewWriter(c.Ledger, audit.Used)
	if err != nil {
		return total, err
	}
	writer.Use(session)
	written, err := writer.Add(ctx, c.Rows)
	var broken *rows.LedgerError
	if errors.As(err, &broken) {
		return total, err
	}
	switch written.Outcome {
	case commit.Acknowledged, commit.AcknowledgedLocally:
	case commit.Failed:
		c.refusedWrites(ctx, fmt.Sprintf("not written: %v", err), err)
		return total, nil
	default:
		c.broken(ctx, report.Rows, "new rows", fmt.Errorf("it is not known whether they were committed: %w", err))
		return total, nil
	}
	run := writer.Run()
	intact, err := rows.ReadBack(ctx, conn, run, written.First, written.Rows)
	if err != nil {
		c.broken(ctx, report.Rows, "new rows", err)
		return total, nil
	}
	if !intact {
		c.add(report.Rows, "new rows", report.Violated, fmt.Sprintf("%s of run %d from row %d on were acknowledged, and a new read does not return them unaltered",
			report.Plural(written.Rows, "row"), run.ID, written.First), "")
		return total, nil
	}
	total.Merge(payload.NewSource(run.Seed, run.ID).Digest(written.First, written.Rows))
	c.Sink.Report.Rows.Added, c.Sink.Report.Rows.Now = written.Rows, audit.Rows+written.Rows
	detail := fmt.Sprintf("%s acknowledged in %s, read back unaltered", report.Plural(written.Rows, "row"), report.Duration(written.Took.Round(time.Millisecond/10)))
	if written.Outcome == commit.AcknowledgedLocally {
		c.add(report.Rows, "new rows", report.Warning, detail+"; on this server only: the wait for the synchronous standby was given up", "")
		return total, nil
	}
	c.add(report.Rows, "new rows", report.Passed, detail, "")
	return total, nil
}

// refusedWrites reports a server that takes no rows.
func (c *Checker) refusedWrites(ctx context.Context, detail string, err error) {
	c.cutShort(ctx)
	status, hint := judgeError(err)
	if hint != "" {
		hint = "; " + hint
	}
	c.add(report.Rows, "new rows", status, detail, "the server refuses writes"+hint)
}

// keepSighting enters what was seen, to be compared with the next time. After a violation the
// old sighting stays: what is wrong now must still be wrong then.
func (c *Checker) keepSighting(ctx context.Context, conn *pgx.Conn) error {
	if c.Sink.Report.Has(report.Violated) {
		return nil
	}
	// The newer the recorded position, the smaller the gap in which an older copy goes unnoticed.
	if evidence, err := server.ObserveState(ctx, conn); err == nil {
		c.see(evidence)
		if c.members != nil && c.members.alone() {
			c.sighting.ReplayedLSN = evidence.FlushedLSN
		}
	}
	if c.sighting.TableOID == 0 {
		// It was made in this look.
		if condition, err := rows.Inspect(ctx, conn, 0); err == nil {
			c.sighting.TableOID = condition.OID
		}
	}
	return c.Ledger.Saw(c.sighting)
}
