package check

import (
	"context"
	"fmt"
	"strings"
	"time"

	"stateful-postgres/verify/internal/cluster"
	"stateful-postgres/verify/internal/report"
	"stateful-postgres/verify/internal/server"
)

// checkEvidence compares what the server shows about itself with what was seen the last time.
func (c *Checker) checkEvidence(ctx context.Context, e *server.Evidence, observed *cluster.Observation) {
	c.see(e)
	c.checkIdentity(e)
	c.checkStart(ctx, e, observed)
	c.checkLog(e)
	switch {
	case e.ChecksumFailures > 0:
		c.add(report.Server, "checksums", report.Violated, fmt.Sprintf("%s since the statistics began", report.Plural(e.ChecksumFailures, "page checksum failure")),
			"the volume returned damaged pages: see checksum_last_failure in pg_stat_database, and restore from a backup")
	case e.Checksums:
		c.add(report.Server, "checksums", report.Passed, "on, no failures", "")
	default:
		c.add(report.Server, "checksums", report.Warning, "off: a page that the volume damages is not noticed",
			"stop the server and run pg_checksums --enable, or initialise with --data-checksums")
	}
	c.checkCollations(e)
	if len(e.Unseen) > 0 {
		c.add(report.Server, "role", report.Warning, "could not see: "+strings.Join(e.Unseen, ", "), "grant the role pg_monitor to see it")
	}
}

// checkCollations warns of indexes that may be out of order since the library that sorts text is
// another one. That is no violation: no row is lost by it, and the rows are proven apart from it;
// but a query that uses such an index may miss some, until it is made anew.
func (c *Checker) checkCollations(e *server.Evidence) {
	for i := 0; i < len(e.Collations); {
		// Databases mostly have all the same versions: one line for them.
		first := e.Collations[i]
		var databases, hints []string
		check := report.Check{Section: report.Server, Name: "collation", Status: report.Warning}
		for ; i < len(e.Collations); i++ {
			next := e.Collations[i]
			if next.Name != first.Name || next.Recorded != first.Recorded || next.Actual != first.Actual {
				break
			}
			databases = append(databases, next.Database)
			hints = append(hints, fmt.Sprintf("in %s: %s", next.Database, strings.Join(next.Statements, " ")))
			for _, statement := range next.Statements {
				check.Statements = append(check.Statements, report.Statement{Database: next.Database, SQL: statement})
			}
		}
		subject := strings.Join(databases, ", ")
		if first.Name != "" {
			subject = fmt.Sprintf("%s of %s", first.Name, subject)
		}
		brings := "version " + first.Actual
		if first.Actual == "" {
			brings = "one that tells no version"
		}
		check.Detail = fmt.Sprintf("%s: made with version %s, the image brings %s: indexes on text may be out of order", subject, first.Recorded, brings)
		check.Hint = "run " + strings.Join(hints, " and ")
		if first.Actual == "" {
			check.Hint += " or use an image with the C library that it was made with"
		}
		c.Sink.Add(check)
	}
}

// see keeps what is to be compared the next time.
func (c *Checker) see(e *server.Evidence) {
	c.sighting.SystemIdentifier, c.sighting.Timeline, c.sighting.FlushedLSN = e.SystemIdentifier, e.Timeline, e.FlushedLSN
	c.sighting.PostmasterStart, c.sighting.ServerVersion = e.PostmasterStart.UTC(), e.Version
	c.sighting.Commits, c.sighting.StatisticsReset = e.Commits, e.StatisticsReset.UTC()
}

func (c *Checker) checkIdentity(e *server.Evidence) {
	recorded := c.State().Sighting.SystemIdentifier
	switch {
	case e.SystemIdentifier == "":
		c.add(report.Server, "identity", report.Warning, "could not be seen", "")
	case recorded == "":
		c.add(report.Server, "identity", report.Passed, "system_identifier "+e.SystemIdentifier+", recorded from now on", "")
	case recorded != e.SystemIdentifier:
		c.add(report.Server, "identity", report.Violated, fmt.Sprintf("this is another database: system_identifier %s, the ledger's is %s: "+
			"its volume was emptied or exchanged, or the ledger belongs to another server", e.SystemIdentifier, recorded),
			fmt.Sprintf("if that is intended, start a new ledger with --new-ledger; the old one is kept beside %s", c.Ledger.Path()))
	default:
		c.add(report.Server, "identity", report.Passed, "system_identifier "+e.SystemIdentifier+", as recorded", "")
	}
}

// checkStart says which server runs and since when, and how the one before it ended.
func (c *Checker) checkStart(ctx context.Context, e *server.Evidence, observed *cluster.Observation) {
	before := c.State().Sighting
	detail := fmt.Sprintf("PostgreSQL %s, up since %s", e.Version, report.Time(e.PostmasterStart))
	restarted := !before.PostmasterStart.IsZero() && !before.PostmasterStart.Equal(e.PostmasterStart)
	if restarted {
		detail += ", restarted since the last look"
	}
	c.add(report.Server, "server", report.Passed, detail, "")
	if !restarted || before.SystemIdentifier != e.SystemIdentifier {
		return
	}
	shutdown, said := cluster.ShutdownUnseen, "its log does not tell"
	if observed != nil {
		if pod := observed.ReadyPod(); pod != nil {
			var err error
			if shutdown, said, err = c.Subject.Cluster.LastShutdown(ctx, pod); err != nil {
				said = err.Error()
			}
		}
	}
	switch {
	case shutdown == cluster.ShutdownClean:
		c.add(report.Server, "last shutdown", report.Passed, "clean: the log says it was shut down, no crash recovery", "")
	case shutdown == cluster.ShutdownCrash:
		c.add(report.Server, "last shutdown", report.Warning, "not clean: the server recovered from its write-ahead log", "the log says: "+said)
	case e.Commits < before.Commits && e.StatisticsReset.Equal(before.StatisticsReset):
		// Crash recovery discards the statistics, a clean shutdown keeps them.
		c.add(report.Server, "last shutdown", report.Warning, "not clean: the server's statistics were discarded, as crash recovery does", "")
	case observed != nil && said != "":
		c.add(report.Server, "last shutdown", report.Warning, "could not be seen: "+said, "")
	}
}

// checkLog looks for a write-ahead log that went back: the volume was exchanged for an older
// copy of itself.
func (c *Checker) checkLog(e *server.Evidence) {
	before := c.State().Sighting
	if e.FlushedLSN == "" {
		c.add(report.Server, "write-ahead log", report.Unknown, "the server is a standby, or in recovery", "connect to the primary")
		return
	}
	detail := fmt.Sprintf("timeline %d, position %s", e.Timeline, e.FlushedLSN)
	if before.FlushedLSN == "" || before.SystemIdentifier != e.SystemIdentifier {
		c.add(report.Server, "write-ahead log", report.Passed, detail, "")
		return
	}
	recorded, recordedErr := server.ParseLSN(before.FlushedLSN)
	now, nowErr := server.ParseLSN(e.FlushedLSN)
	switch {
	case recordedErr != nil || nowErr != nil:
		c.add(report.Server, "write-ahead log", report.Unknown, fmt.Sprintf("%s cannot be compared with %s", detail, before.FlushedLSN), "")
	case now < recorded:
		c.add(report.Server, "write-ahead log", report.Violated, fmt.Sprintf("went back: %s, and on %s it was durable up to %s on timeline %d: "+
			"the volume is an older copy of itself", detail, report.Time(before.At), before.FlushedLSN, before.Timeline),
			"what was acknowledged in between is lost on this volume: find the newer one before anything is written here")
	case before.Timeline != 0 && e.Timeline != 0 && e.Timeline != before.Timeline:
		c.add(report.Server, "write-ahead log", report.Warning, fmt.Sprintf("%s; it was timeline %d: a standby was promoted or a backup restored", detail, before.Timeline), "")
	default:
		c.add(report.Server, "write-ahead log", report.Passed, fmt.Sprintf("%s, went on from %s", detail, before.FlushedLSN), "")
	}
}

// age writes how long ago something was.
func age(t time.Time) string { return report.Duration(time.Since(t).Truncate(time.Second)) }
