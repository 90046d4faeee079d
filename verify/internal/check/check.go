// Package check takes one look at a PostgreSQL server as it is now: its objects in Kubernetes,
// the server, the rows of earlier runs, and new rows.
package check

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"stateful-postgres/verify/internal/cluster"
	"stateful-postgres/verify/internal/ledger"
	"stateful-postgres/verify/internal/report"
	"stateful-postgres/verify/internal/rows"
	"stateful-postgres/verify/internal/server"
)

const (
	// DefaultRows is how many new rows a check writes.
	DefaultRows = 10
	// DefaultHold is how long a server at zero replicas must stay unreachable.
	DefaultHold = 2 * time.Second

	// alwaysCompared is up to how many rows heap and index are compared every time.
	alwaysCompared = 100_000

	observeInterval = 200 * time.Millisecond
	probeInterval   = 100 * time.Millisecond
	probeTimeout    = time.Second
	// forwardAfter is how long a ready server's own addresses are tried before its port is
	// forwarded instead: node addresses cannot be reached from everywhere.
	forwardAfter = 4 * time.Second
)

// Subject is what is checked.
type Subject struct {
	// Cluster is nil for a server that is only known by its address.
	Cluster *cluster.Cluster
	Objects cluster.Objects
	// Desired is the number of replicas that should run; nil takes the StatefulSet's word.
	Desired *int
	// Via is the way to the server, of the cluster package's names.
	Via string
	// Port is the server's port in its pod.
	Port int
	// Config describes how to connect to any of some addresses. Without a cluster the addresses
	// are nil.
	Config func(addresses []string) (*pgx.ConnConfig, error)
	// RequireTLS says that the server has to refuse connections that are not encrypted.
	RequireTLS bool
	// Target is how the subject is named in the report.
	Target report.Target
}

// Checker checks one subject with one ledger.
type Checker struct {
	Subject Subject
	Ledger  *ledger.Ledger
	Sink    *report.Sink
	// Rows is how many new rows are written; 0 only reads.
	Rows int64
	// Hold is how long a server at zero replicas must stay unreachable.
	Hold time.Duration
	// Adopt takes rows that no ledger knows into this one.
	Adopt bool
	// Deep compares heap and index however many rows there are.
	Deep bool
	// Reload is how long a server may take to hear of a changed rule about who may connect; 0 is as
	// long as it may need in Kubernetes.
	Reload time.Duration
	// Fill, when it is set, replaces the look at the rows.
	Fill *Fill

	// sighting collects what is seen, to be compared with the next time.
	sighting ledger.Sighting
}

// Run makes all checks. Every problem that is found is in the report; the error is only about
// the ledger, without which nothing can be said.
func (c *Checker) Run(ctx context.Context) error {
	c.sighting = ledger.Sighting{At: time.Now().UTC().Truncate(time.Millisecond)}
	c.Sink.Report.Ledger = c.Ledger.Path()
	if torn := c.Ledger.State().TornBytes; torn > 0 {
		c.add(report.Rows, "ledger", report.Warning, fmt.Sprintf("an incomplete last record of %s was dropped: "+
			"verify or this machine was stopped while writing it", report.Plural(torn, "byte")), "")
	}
	if c.Subject.Cluster == nil {
		c.Sink.Header(c.Subject.Target)
		return c.checkServer(ctx, nil)
	}
	return c.checkCluster(ctx)
}

// State is what the checks were made against.
func (c *Checker) State() *ledger.State { return c.Ledger.State() }

func (c *Checker) add(section, name string, status report.Status, detail, hint string) {
	c.Sink.Add(report.Check{Section: section, Name: name, Status: status, Detail: detail, Hint: hint})
}

// cutShort notes that a wait ended from outside, and says whether it did.
func (c *Checker) cutShort(ctx context.Context) bool {
	if ctx.Err() == nil {
		return false
	}
	if errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
		c.Sink.Report.Cut(report.ExitDeadline)
	} else {
		c.Sink.Report.Cut(report.ExitInterrupted)
	}
	return true
}

// checkServer connects and looks at the server and its rows.
func (c *Checker) checkServer(ctx context.Context, observed *cluster.Observation) error {
	started := time.Now()
	way := &way{subject: &c.Subject, observed: observed, sink: c.Sink}
	if err := way.find(ctx); err != nil {
		c.add(report.Server, "connection", report.Unknown, err.Error(), "")
		c.cutShort(ctx)
		return nil
	}
	conn, err := server.Wait(ctx, way.connect, func(met string) { c.Sink.Progress.Say("waiting for the server: %s", met) })
	if err != nil {
		return c.notConnected(ctx, observed, err)
	}
	defer closeConnection(conn)
	c.Sink.Report.Target.Via, c.Sink.Report.Target.Address = way.via, way.address(conn)
	c.add(report.Server, "connection", report.Passed, fmt.Sprintf("%s answered in %s",
		way.describe(conn), report.Duration(time.Since(started))), way.note)

	c.checkEncryption(ctx, conn)
	evidence, err := server.Observe(ctx, conn)
	if err != nil {
		c.broken(ctx, report.Server, "evidence", err)
		return nil
	}
	c.checkEvidence(ctx, evidence, observed)
	if c.Fill != nil {
		return c.fill(ctx, conn, way, evidence)
	}
	return c.checkRows(ctx, conn, way, evidence)
}

func closeConnection(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	// The work is done: whether the goodbye arrives does not matter.
	_ = conn.Close(ctx)
}

// notConnected reports a server that did not let anyone in. That is never a loss, except when
// the server itself says that the database with the rows is not there.
func (c *Checker) notConnected(ctx context.Context, observed *cluster.Observation, err error) error {
	var refusal *server.Refusal
	if !errors.As(err, &refusal) {
		c.cutShort(ctx)
		hint := "could not connect: this says nothing about the rows"
		if observed != nil {
			for i := range observed.Pods {
				hint += "; " + cluster.DescribePod(&observed.Pods[i])
			}
			hint += fmt.Sprintf("; see: kubectl -n %s describe pod, kubectl -n %s logs", observed.Objects.Namespace, observed.Objects.Namespace)
		}
		c.add(report.Server, "connection", report.Unknown, err.Error(), hint)
		return nil
	}
	if refusal.NoSuchDatabase() && c.State().Required() > 0 {
		c.add(report.Server, "connection", report.Passed, refusal.Problem, "")
		c.reportRows(rows.EverythingLost(c.State()), "the database does not exist")
		return nil
	}
	c.add(report.Server, "connection", report.Unknown, refusal.Problem, refusal.Hint)
	return nil
}

// broken reports a look that was cut off by an error.
func (c *Checker) broken(ctx context.Context, section, name string, err error) {
	if c.cutShort(ctx) {
		c.add(section, name, report.Unknown, fmt.Sprintf("not finished: %v", context.Cause(ctx)), "a longer --timeout gives it more time")
		return
	}
	c.add(section, name, report.Unknown, err.Error(), "run verify again: this says nothing about the rows")
}

// Summarize says in one sentence what the checks amount to.
func (c *Checker) Summarize(r *report.Report) string {
	took := "in " + report.Duration(time.Duration(r.DurationMS)*time.Millisecond)
	down := r.Target.Replicas != nil && *r.Target.Replicas == 0
	switch {
	case r.Verdict == report.NotKept && r.Rows != nil && r.Rows.Lost+r.Rows.Altered > 0:
		return fmt.Sprintf("%s lost, %s altered, of %s that had to be there (%s)",
			report.Plural(r.Rows.Lost, "row"), report.Number(r.Rows.Altered), report.Number(r.Rows.Required), took)
	case r.Verdict == report.NotKept:
		return "what was seen is not as it should be: see ✗ above (" + took + ")"
	case r.ExitCode == report.ExitInterrupted:
		return "interrupted; nothing was decided (" + took + ")"
	case r.ExitCode == report.ExitDeadline:
		return "the deadline passed; nothing was found wrong until then (" + took + ")"
	case r.Verdict == report.NotProven:
		return "nothing was found wrong, and not everything could be seen: see ? above (" + took + ")"
	case c.Fill != nil:
		return fmt.Sprintf("%s written and acknowledged (%s)", report.Plural(r.Rows.Added, "row"), took)
	case down && c.State().Required() == 0:
		return "the database is down and its volume is kept; no row was ever acknowledged, so nothing is proven about rows (" + took + ")"
	case down:
		return fmt.Sprintf("the database is down, its volume with %s is kept (%s)", report.Plural(c.State().Required(), "acknowledged row"), took)
	case r.Rows != nil && r.Rows.Required == 0:
		return fmt.Sprintf("%s written and read back; there were no earlier rows to lose (%s)", report.Plural(r.Rows.Added, "row"), took)
	default:
		return fmt.Sprintf("no acknowledged row was lost or altered (%s)", took)
	}
}
