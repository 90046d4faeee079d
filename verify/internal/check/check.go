// Package check takes one look at a PostgreSQL server as it is now: its objects in Kubernetes,
// the server, the rows of earlier runs, and new rows.
package check

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"stateful-postgres/verify/internal/kubernetes"
	"stateful-postgres/verify/internal/ledger"
	"stateful-postgres/verify/internal/report"
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
	// defaultSettle is how long several servers may take to agree on who takes the writes, and a
	// standby to replay what the primary has written: longer than a failover.
	defaultSettle = 30 * time.Second
	// forwardAgainAfter is that time where a forwarded port was the way before.
	forwardAgainAfter = 300 * time.Millisecond
)

// Subject is what is checked.
type Subject struct {
	// Cluster is nil for a server that is only known by its address.
	Cluster *kubernetes.Cluster
	Objects kubernetes.Objects
	// Desired is the number of replicas that should run; nil takes the StatefulSet's word.
	Desired *int
	// Via is the way to the server, one of package kubernetes's names.
	Via string
	// Forwarded says that the server was reached through a forwarded port before, since its own
	// addresses did not answer.
	Forwarded bool
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
	// Settle is how long several servers may take to agree, and each to replay what the primary has
	// written; 0 is as long as a failover may need.
	Settle time.Duration
	// Fill, when it is set, replaces the look at the rows.
	Fill *Fill
	// Others are the ledgers that may know the same database under another name.
	Others []Other

	// sighting collects what is seen, to be compared with the next time.
	sighting ledger.Sighting
	// elsewhere says where in Kubernetes the server of the ledger was, when that is another place.
	elsewhere string
	// withdrawable says that a timeline ended since the last look before any standby had all of it.
	withdrawable bool
	// members are nil where one server runs by itself.
	members *members
}

// Other is a ledger of another name.
type Other struct {
	Path  string
	State *ledger.State
}

// Run makes all checks. Every problem that is found is in the report; the error is only about
// the ledger, without which nothing can be said.
func (c *Checker) Run(ctx context.Context) error {
	// What is not seen this time stays as it was seen last.
	c.sighting = c.State().Sighting
	c.sighting.ReplayedLSN = ""
	c.sighting.At = time.Now().UTC().Truncate(time.Millisecond)
	c.Subject.Forwarded = c.State().Sighting.Via == kubernetes.ViaPortForward
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
func (c *Checker) cutShort(ctx context.Context) bool { return c.Sink.Report.CutShort(ctx) }

// checkServer connects and looks at the server and its rows.
func (c *Checker) checkServer(ctx context.Context, observed *kubernetes.Observation) error {
	started := time.Now()
	way, err := findWay(ctx, &c.Subject, observed, c.Sink)
	if err != nil {
		c.add(report.Server, "connection", report.Unknown, err.Error(), "")
		c.cutShort(ctx)
		return nil
	}
	defer way.close()
	if c.several() {
		way.onlyPrimary = time.Now().Add(c.settleTime())
	}
	arrived, err := way.connect(ctx)
	if err != nil {
		c.notConnected(ctx, observed, way, err)
		return nil
	}
	conn, evidence := arrived.conn, arrived.evidence
	defer closeConnection(conn)
	c.Sink.Report.Target.Via, c.Sink.Report.Target.Address = way.usedVia, way.address(conn)
	if c.Subject.Cluster != nil {
		c.sighting.Via, c.sighting.Address = way.usedVia, way.usedAddress
	}
	c.add(report.Server, "connection", report.Passed, fmt.Sprintf("%s answered in %s",
		way.describe(conn), report.Duration(time.Since(started))), way.note)

	c.checkEncryption(ctx, conn)
	if arrived.unseen != nil {
		c.broken(ctx, report.Server, "evidence", arrived.unseen)
		return nil
	}
	if !c.checkIdentity(evidence) {
		return nil
	}
	c.checkEvidence(ctx, conn, evidence, observed)
	if !c.checkDatabase(ctx, conn, evidence) || !c.checkOthers(ctx, conn, evidence) {
		return nil
	}
	if c.several() {
		c.members = newMembers(c, conn, observed)
		defer c.members.close()
		c.checkMembers(ctx)
	}
	if c.Fill != nil {
		return c.fill(ctx, conn, way, evidence)
	}
	return c.checkRows(ctx, conn, way, evidence)
}

// several says whether there may be several servers, which Patroni runs.
func (c *Checker) several() bool {
	return c.Subject.Cluster != nil && c.Subject.Objects.HighAvailability
}

func (c *Checker) settleTime() time.Duration { return cmp.Or(c.Settle, defaultSettle) }

func closeConnection(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	// The work is done: whether the goodbye arrives does not matter.
	_ = conn.Close(ctx)
}

// notConnected reports a server that did not let anyone in. That is never a loss, except when
// the server shows that the database with the rows is not there any more.
func (c *Checker) notConnected(ctx context.Context, observed *kubernetes.Observation, way *way, err error) {
	var refusal *server.Refusal
	if !errors.As(err, &refusal) {
		c.cutShort(ctx)
		hint := "could not connect: this says nothing about the rows"
		if observed != nil {
			for i := range observed.Pods {
				hint += "; " + kubernetes.DescribePod(&observed.Pods[i])
			}
			hint += fmt.Sprintf("; see: kubectl -n %s describe pod, kubectl -n %s logs", observed.Objects.Namespace, observed.Objects.Namespace)
		}
		c.add(report.Server, "connection", report.Unknown, err.Error(), hint)
		return
	}
	if refusal.NoSuchDatabase() && c.State().Required() > 0 {
		c.missingDatabase(ctx, way, refusal)
		return
	}
	c.add(report.Server, "connection", report.Unknown, refusal.Problem, refusal.Hint)
}

// broken reports a look that was cut off by an error.
func (c *Checker) broken(ctx context.Context, section, name string, err error) {
	if c.cutShort(ctx) {
		c.add(section, name, report.Unknown, fmt.Sprintf("not finished: %v", context.Cause(ctx)), "a longer --timeout gives it more time; pg_stat_activity shows what its sessions wait for")
		return
	}
	status, hint := judgeError(err)
	if status == report.Unknown {
		hint = cmp.Or(hint, "run verify again") + ": this says nothing about the rows"
	}
	c.add(section, name, status, err.Error(), hint)
}

// judgeError says what the error of a statement amounts to, and what to do about it; empty when
// nothing is known that helps.
func judgeError(err error) (report.Status, string) {
	var serverError *pgconn.PgError
	if !errors.As(err, &serverError) {
		return report.Unknown, ""
	}
	switch code := serverError.Code; {
	case code == "XX001", code == "XX002":
		return report.Violated, "the server finds its own files damaged: stop it, keep a copy of the volume, and see its log; pg_amcheck finds more, a backup has what was there"
	case code == "42501":
		return report.Unknown, "have the role's rights extended: it needs usage on schema verify, select and insert on its tables, and where they do not exist yet create on the database"
	case code == "25006", code == "0A000" && strings.Contains(serverError.Message, "during recovery"):
		return report.Unknown, "the server takes no writes: a standby does not"
	case code == "57014", code == "57P01":
		return report.Unknown, "somebody ended it on the server; run verify again"
	case strings.HasPrefix(code, "53"):
		return report.Unknown, "the server has run out of disk, memory or connections: see its log"
	}
	return report.Unknown, ""
}

// Summarize says in one sentence what the checks amount to.
func (c *Checker) Summarize(r *report.Report) string {
	return r.Summarize(func() string {
		switch required := c.State().Required(); {
		case c.Fill != nil:
			return report.Plural(r.Rows.Added, "row") + " written and acknowledged"
		case r.Target.Replicas != nil && *r.Target.Replicas == 0 && required == 0:
			return "the database is down and its volume is kept; no row was ever acknowledged, so nothing is proven about rows"
		case r.Target.Replicas != nil && *r.Target.Replicas == 0:
			return fmt.Sprintf("the database is down, its volume with %s is kept", report.Plural(required, "acknowledged row"))
		case r.Rows != nil && r.Rows.Required == 0:
			return report.Plural(r.Rows.Added, "row") + " written and read back; there were no earlier rows to lose"
		}
		return "no acknowledged row was lost or altered"
	})
}
