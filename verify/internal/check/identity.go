package check

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"stateful-postgres/verify/internal/kubernetes"
	"stateful-postgres/verify/internal/ledger"
	"stateful-postgres/verify/internal/report"
	"stateful-postgres/verify/internal/rows"
	"stateful-postgres/verify/internal/server"
)

// checkPlace compares where in Kubernetes the server is with where the ledger's was. A namespace of
// the same name in another cluster holds another server.
func (c *Checker) checkPlace(ctx context.Context) error {
	uid, err := c.Subject.Cluster.UID(ctx)
	if err != nil {
		return err
	}
	before, now := c.State().Sighting, c.Subject.Objects
	switch {
	case uid != "" && before.ClusterUID != "" && uid != before.ClusterUID:
		c.elsewhere = fmt.Sprintf("namespace %s of the cluster with the UID %s (this one has %s)", before.Namespace, before.ClusterUID, uid)
	case before.Namespace != "" && before.Namespace != now.Namespace:
		c.elsewhere = fmt.Sprintf("namespace %s, and this is %s", before.Namespace, now.Namespace)
	case before.StatefulSet != "" && before.StatefulSet != now.StatefulSet:
		c.elsewhere = fmt.Sprintf("StatefulSet %s, and this is %s", before.StatefulSet, now.StatefulSet)
	}
	c.sighting.ClusterUID, c.sighting.Namespace, c.sighting.StatefulSet = cmp.Or(uid, before.ClusterUID), now.Namespace, now.StatefulSet
	return nil
}

// ledgerOfItsOwn is what to do about a ledger of another server.
func (c *Checker) ledgerOfItsOwn() string {
	return fmt.Sprintf("look there for the rows of ledger %s (--context, --stack, or the settings kubernetes:*); for this server choose another one with --ledger, or --new-ledger", c.Ledger.Path())
}

// checkIdentity compares the server with the ledger's. It returns false when nothing can be said
// about the rows.
func (c *Checker) checkIdentity(e *server.Evidence) bool {
	recorded := c.State().Sighting.SystemIdentifier
	c.see(e)
	switch {
	case e.SystemIdentifier == "":
		c.add(report.Server, "identity", report.Warning, "could not be seen", "")
	case recorded == "":
		c.add(report.Server, "identity", report.Passed, "system_identifier "+e.SystemIdentifier+", recorded from now on", "")
	case recorded != e.SystemIdentifier && c.elsewhere != "":
		c.add(report.Server, "identity", report.Unknown, fmt.Sprintf("this is another server: system_identifier %s, the ledger's is %s and was in %s",
			e.SystemIdentifier, recorded, c.elsewhere), c.ledgerOfItsOwn())
		return false
	case recorded != e.SystemIdentifier:
		c.otherServer(e.SystemIdentifier)
	case c.elsewhere != "":
		c.add(report.Server, "identity", report.Warning, fmt.Sprintf("system_identifier %s, as recorded; it was in %s", e.SystemIdentifier, c.elsewhere), "")
	default:
		c.add(report.Server, "identity", report.Passed, "system_identifier "+e.SystemIdentifier+", as recorded", "")
	}
	return true
}

func (c *Checker) otherServer(found string) {
	c.add(report.Server, "identity", report.Violated, fmt.Sprintf("this is another database: system_identifier %s, the ledger's is %s: "+
		"its volume was emptied or exchanged, or the ledger belongs to another server", found, c.State().Sighting.SystemIdentifier),
		fmt.Sprintf("if that is intended, start a new ledger with --new-ledger; the old one is kept beside %s", c.Ledger.Path()))
}

// isSameServer says whether the server is known to be the ledger's.
func (c *Checker) isSameServer(e *server.Evidence) bool {
	return e.SystemIdentifier != "" && e.SystemIdentifier == c.State().Sighting.SystemIdentifier
}

// checkDatabase compares the database with the ledger's, which may have another name on the same
// server. It returns false when nothing can be said about the rows.
func (c *Checker) checkDatabase(ctx context.Context, conn *pgx.Conn, e *server.Evidence) bool {
	before := c.State().Sighting
	if before.DatabaseOID == 0 || before.DatabaseOID == e.Database.OID || !c.isSameServer(e) {
		return true
	}
	now, err := server.FindDatabase(ctx, conn, before.DatabaseOID)
	switch {
	case err != nil:
		c.broken(ctx, report.Server, "database", err)
	case now == "":
		c.add(report.Server, "database", report.Warning, fmt.Sprintf("%s was made anew: that of the ledger (OID %d) does not exist any more, this one has the OID %d",
			e.Database.Name, before.DatabaseOID, e.Database.OID), "")
		return true
	case now == before.Database:
		c.add(report.Server, "database", report.Unknown, fmt.Sprintf("the rows of ledger %s are in database %s, and this is %s", c.Ledger.Path(), now, e.Database.Name),
			"look at that one, or give this one a ledger of its own with --ledger")
	default:
		c.add(report.Server, "database", report.Unknown, fmt.Sprintf("the database with the rows (OID %d) is now %s; this is another one, of its name: %s",
			before.DatabaseOID, now, e.Database.Name), c.renameBack(now, e.Database.Name))
	}
	return false
}

// renameBack is what to do about a database that was renamed.
func (c *Checker) renameBack(now, before string) string {
	return fmt.Sprintf("nothing is lost by that: look at %s, or in another database run: alter database %s rename to %s",
		now, pgx.Identifier{now}.Sanitize(), pgx.Identifier{before}.Sanitize())
}

// missingDatabase finds out what became of a database that the server says it does not have.
func (c *Checker) missingDatabase(ctx context.Context, way *way, refusal *server.Refusal) {
	conn, err := c.connectBeside(ctx, way)
	if err != nil {
		c.cutShort(ctx)
		c.add(report.Server, "connection", report.Unknown, fmt.Sprintf("%s; no other database lets this role in, so that it cannot be seen whether it was renamed or dropped: %v",
			refusal.Problem, err), refusal.Hint)
		return
	}
	defer closeConnection(conn)
	e, err := server.Observe(ctx, conn)
	if err != nil {
		c.broken(ctx, report.Server, "connection", fmt.Errorf("%s; in another database: %w", refusal.Problem, err))
		return
	}
	before := c.State().Sighting
	switch {
	case !c.isSameServer(e):
		if before.SystemIdentifier == "" || e.SystemIdentifier == "" || c.elsewhere != "" {
			c.add(report.Server, "connection", report.Unknown, refusal.Problem+"; it is not known that this is the server that had the rows", refusal.Hint)
			return
		}
		c.otherServer(e.SystemIdentifier)
	case before.DatabaseOID == 0:
		if !c.searchDatabases(ctx, way, conn, refusal) {
			return
		}
	default:
		now, err := server.FindDatabase(ctx, conn, before.DatabaseOID)
		if err != nil {
			c.broken(ctx, report.Server, "connection", fmt.Errorf("%s; in another database: %w", refusal.Problem, err))
			return
		}
		if now != "" {
			c.add(report.Server, "connection", report.Unknown, fmt.Sprintf("%s; the database with the rows (OID %d) is now %s", refusal.Problem, before.DatabaseOID, now),
				c.renameBack(now, before.Database))
			return
		}
	}
	c.add(report.Server, "connection", report.Passed, refusal.Problem, "")
	c.reportRows(rows.EverythingLost(c.State()), "the database does not exist", "")
}

// connectBeside connects to a database that every server has, or that of the role's name.
func (c *Checker) connectBeside(ctx context.Context, way *way) (*pgx.Conn, error) {
	var problems []error
	for _, database := range []string{"postgres", "template1", ""} {
		if database == "" {
			config, err := way.config("localhost:0")
			if err != nil {
				return nil, err
			}
			database = config.User
		}
		conn, err := open(ctx, way.in(database), server.Connect, closeConnection)
		if err == nil {
			return conn, nil
		}
		problems = append(problems, fmt.Errorf("%s: %s", database, server.Met(err)))
	}
	return nil, errors.New(strings.ReplaceAll(errors.Join(problems...).Error(), "\n", "; "))
}

// searchDatabases looks for the ledger's rows in all databases of the server, where it is not known
// which of them it was. It returns true when none has any.
func (c *Checker) searchDatabases(ctx context.Context, way *way, conn *pgx.Conn, refusal *server.Refusal) bool {
	names, err := server.Databases(ctx, conn)
	if err != nil {
		c.broken(ctx, report.Server, "connection", fmt.Errorf("%s; in another database: %w", refusal.Problem, err))
		return false
	}
	var closed []string
	for _, name := range names {
		copies, err := c.searchDatabase(ctx, way.in(name))
		switch {
		case err != nil:
			closed = append(closed, fmt.Sprintf("%s (%s)", name, server.Met(err)))
		case len(copies) > 0:
			c.add(report.Server, "connection", report.Unknown, fmt.Sprintf("%s; database %s has %s of this ledger: was it renamed?", refusal.Problem, name, describeCopies(copies)), "look at "+name)
			return false
		}
	}
	if len(closed) > 0 {
		c.cutShort(ctx)
		c.add(report.Server, "connection", report.Unknown, fmt.Sprintf("%s; whether the rows are in another database cannot be seen: %s", refusal.Problem, strings.Join(closed, ", ")), refusal.Hint)
		return false
	}
	return true
}

func (c *Checker) searchDatabase(ctx context.Context, way *way) ([]rows.Copy, error) {
	conn, err := open(ctx, way, server.Connect, closeConnection)
	if err != nil {
		return nil, err
	}
	defer closeConnection(conn)
	copies, err := rows.Elsewhere(ctx, conn, c.State())
	if err != nil {
		return nil, err
	}
	condition, err := rows.Inspect(ctx, conn, 0)
	if err != nil || !condition.Exists() {
		return copies, err
	}
	if condition.Unseen != "" {
		return nil, errors.New(condition.Unseen)
	}
	found, err := rows.Count(ctx, conn, c.State())
	if err == nil && found > 0 {
		copies = append(copies, rows.Copy{Name: rows.Name{Schema: "verify", Table: "rows"}, Rows: found})
	}
	return copies, err
}

func describeCopies(copies []rows.Copy) string {
	var texts []string
	for _, found := range copies {
		texts = append(texts, fmt.Sprintf("%s in table %s", report.Plural(found.Rows, "row"), found.Name))
	}
	return strings.Join(texts, ", ")
}

// checkOthers looks for a ledger of another name that knows this database, where this one knows
// nothing of it. It returns false when there is one: whatever this ledger would prove, the rows of
// that one are what is to be proven.
func (c *Checker) checkOthers(ctx context.Context, conn *pgx.Conn, e *server.Evidence) bool {
	if c.State().Required() > 0 || len(c.Others) == 0 {
		return true
	}
	runs, err := rows.Runs(ctx, conn)
	if err != nil {
		c.broken(ctx, report.Rows, "ledger", err)
		return false
	}
	for _, other := range c.Others {
		seen := other.State.Sighting
		same := e.SystemIdentifier != "" && seen.SystemIdentifier == e.SystemIdentifier && seen.DatabaseOID == e.Database.OID
		for _, run := range other.State.Runs {
			same = same || runs[run.ID]
		}
		if same && c.knownTo(other) {
			return false
		}
	}
	return true
}

// checkOthersAtZero is checkOthers where there is no server to ask: the claim tells.
func (c *Checker) checkOthersAtZero(observed *kubernetes.Observation) {
	claim := observed.Claims[0].Object
	if c.State().Required() > 0 || claim == nil {
		return
	}
	for _, other := range c.Others {
		if other.State.Sighting.ClaimUID == string(claim.UID) && c.knownTo(other) {
			return
		}
	}
}

// knownTo reports another ledger that knows this database. It returns false for one without rows.
func (c *Checker) knownTo(other Other) bool {
	required := other.State.Required()
	if required == 0 || other.State.ID == c.State().ID {
		return false
	}
	c.add(report.Rows, "ledger", report.Unknown, fmt.Sprintf("this database is known to another ledger, %s, with %s; this one knows nothing of it: was the stack renamed?",
		other.Path, report.Plural(required, "acknowledged row")),
		fmt.Sprintf("go on with that ledger: mv %s %s (or name it with --ledger); to do without it, remove it", other.Path, c.Ledger.Path()))
	return true
}

// Known reads the ledgers at the paths that other names lead to. One that cannot be read is left
// out: it is no less damaged for this server.
func Known(paths []string, own string) []Other {
	var others []Other
	for _, path := range paths {
		if path == own {
			continue
		}
		if state, err := ledger.Read(path); err == nil {
			others = append(others, Other{Path: path, State: state})
		}
	}
	return others
}
