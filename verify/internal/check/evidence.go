package check

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	corev1 "k8s.io/api/core/v1"

	"stateful-postgres/verify/internal/kubernetes"
	"stateful-postgres/verify/internal/report"
	"stateful-postgres/verify/internal/server"
)

// checkEvidence compares what the server shows about itself with what was seen the last time.
func (c *Checker) checkEvidence(ctx context.Context, conn *pgx.Conn, e *server.Evidence, observed *kubernetes.Observation) {
	c.checkStart(ctx, e, observed)
	c.checkLog(ctx, conn, e)
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
	c.checkDefaults(e)
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

// checkDefaults warns of settings that change what an acknowledged commit is worth to others. For
// verify's own sessions they are set aside.
func (c *Checker) checkDefaults(e *server.Evidence) {
	for _, found := range e.Defaults {
		detail := fmt.Sprintf("%s is %s: ", found.Name, found.Value)
		switch found.Name {
		case "fsync":
			c.add(report.Server, "defaults", report.Warning, detail+"what was acknowledged can be lost with the machine, and the whole database with it", "set fsync = on")
		case "synchronous_commit":
			c.add(report.Server, "defaults", report.Warning, detail+"what clients are told is committed can be lost in a crash; verify's own rows are not written so",
				"set synchronous_commit = on, or let those set it off who can do without")
		default:
			c.add(report.Server, "defaults", report.Warning, detail+"clients that set nothing cannot write; verify's own sessions do", "")
		}
	}
}

// see keeps what is to be compared the next time. What the role may not see stays as it was.
func (c *Checker) see(e *server.Evidence) {
	c.sighting.SystemIdentifier = cmp.Or(e.SystemIdentifier, c.sighting.SystemIdentifier)
	c.sighting.Timeline = cmp.Or(e.Timeline, c.sighting.Timeline)
	c.sighting.FlushedLSN = cmp.Or(e.FlushedLSN, c.sighting.FlushedLSN)
	c.sighting.PostmasterStart, c.sighting.ServerVersion = e.PostmasterStart.UTC(), e.Version
	c.sighting.Commits, c.sighting.StatisticsReset = e.Commits, e.StatisticsReset.UTC()
	c.sighting.Database, c.sighting.DatabaseOID = e.Database.Name, e.Database.OID
}

// podBefore is the pod of the server that took the writes at the last look. Ledgers of earlier
// versions do not know it: there was the one of ordinal 0 alone.
func (c *Checker) podBefore() string {
	return cmp.Or(c.State().Sighting.Pod, c.Subject.Objects.PodName(0))
}

// checkStart says which server runs and since when, and how the one before it ended.
func (c *Checker) checkStart(ctx context.Context, e *server.Evidence, observed *kubernetes.Observation) {
	before := c.State().Sighting
	var pod *corev1.Pod
	if observed != nil {
		pod = observed.PrimaryPod()
	}
	detail := fmt.Sprintf("PostgreSQL %s, up since %s", e.Version, report.Time(e.PostmasterStart))
	if pod != nil {
		c.sighting.Pod, c.Sink.Report.Target.Pod = pod.Name, pod.Name
	}
	if c.several() && pod != nil {
		detail = fmt.Sprintf("PostgreSQL %s in pod %s, up since %s", e.Version, pod.Name, report.Time(e.PostmasterStart))
		if !before.PostmasterStart.IsZero() && pod.Name != c.podBefore() {
			// Starts and ends of two servers cannot be compared.
			c.add(report.Server, "server", report.Passed, fmt.Sprintf("%s; at the last look %s took the writes", detail, c.podBefore()), "")
			return
		}
	}
	restarted := !before.PostmasterStart.IsZero() && !before.PostmasterStart.Equal(e.PostmasterStart)
	if restarted {
		detail += ", restarted since the last look"
	}
	c.add(report.Server, "server", report.Passed, detail, "")
	if restarted && before.SystemIdentifier == e.SystemIdentifier {
		c.checkShutdown(ctx, e, pod)
	}
}

// checkShutdown says how the server of before went down, of which there is the pod's log. The pod is
// nil where there is none to look at.
func (c *Checker) checkShutdown(ctx context.Context, e *server.Evidence, pod *corev1.Pod) {
	before := c.State().Sighting
	shutdown, said := kubernetes.ShutdownUnseen, "its log does not tell"
	if pod != nil {
		var since time.Time
		if c.several() {
			// Patroni starts servers in a container that has long been running.
			since = e.PostmasterStart.Add(-time.Second)
		}
		var err error
		if shutdown, said, err = c.Subject.Cluster.LastShutdown(ctx, pod, since); err != nil {
			said = err.Error()
		}
	}
	switch {
	case shutdown == kubernetes.ShutdownClean:
		c.add(report.Server, "last shutdown", report.Passed, "clean: the log says it was shut down, no crash recovery", "")
	case shutdown == kubernetes.ShutdownCrash:
		c.add(report.Server, "last shutdown", report.Warning, "not clean: the server recovered from its write-ahead log", "the log says: "+said)
	case e.Commits < before.Commits && e.StatisticsReset.Equal(before.StatisticsReset) && !c.several():
		// Crash recovery discards the statistics, a clean shutdown keeps them. Patroni starts a server
		// as a standby first, and before PostgreSQL 15 that discards them, too.
		c.add(report.Server, "last shutdown", report.Warning, "not clean: the server's statistics were discarded, as crash recovery does", "")
	case c.Subject.Cluster != nil && said != "":
		c.add(report.Server, "last shutdown", report.Warning, "could not be seen: "+said, "")
	}
}

// checkLog looks for a write-ahead log that went back: the volume was exchanged for an older
// copy of itself.
func (c *Checker) checkLog(ctx context.Context, conn *pgx.Conn, e *server.Evidence) {
	before := c.State().Sighting
	if e.FlushedLSN == "" {
		c.add(report.Server, "write-ahead log", report.Unknown, "the server is a standby, or in recovery", connectToPrimary)
		return
	}
	detail := fmt.Sprintf("timeline %d, position %s", e.Timeline, e.FlushedLSN)
	if c.several() && !c.checkHistory(ctx, conn, e, detail) {
		return
	}
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
			"the volume is an older copy of itself", detail, report.Time(before.At), before.FlushedLSN, before.Timeline), findNewer)
	case before.Timeline != 0 && e.Timeline != 0 && e.Timeline != before.Timeline:
		c.add(report.Server, "write-ahead log", report.Warning, fmt.Sprintf("%s; it was timeline %d: a standby was promoted or a backup restored", detail, before.Timeline), "")
	default:
		c.add(report.Server, "write-ahead log", report.Passed, fmt.Sprintf("%s, went on from %s", detail, before.FlushedLSN), "")
	}
}

// findNewer is what to do about a volume that is an older copy of itself.
const findNewer = "what was acknowledged in between is lost on this volume: find the newer one before anything is written here"

// age writes how long ago something was.
func age(t time.Time) string { return report.Duration(time.Since(t).Truncate(time.Second)) }
