package check

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"stateful-postgres/verify/internal/report"
	"stateful-postgres/verify/internal/server"
)

const (
	// expiryWarning is how long before a certificate's end it is said.
	expiryWarning = 30 * 24 * time.Hour

	// defaultReload is for a kubelet to bring a changed file to the pod, and for the server's next
	// readiness probe: together less than two minutes after the update.
	defaultReload = 150 * time.Second
	plainInterval = time.Second
	plainTimeout  = 5 * time.Second
)

// checkEncryption says how the connection is protected. One with a certificate that does not
// check was never opened.
func (c *Checker) checkEncryption(ctx context.Context, conn *pgx.Conn) {
	found := server.EncryptionOf(conn)
	if found == nil {
		c.add(report.Server, "encryption", report.Skipped, "none: the connection is in plain text", "")
		return
	}
	c.Sink.Report.TLS = &report.TLS{Version: found.Version, ServerName: found.ServerName, ExpiresAt: found.Expires.UTC()}
	until := found.Expires.UTC().Format(time.DateOnly)
	left := time.Until(found.Expires)
	switch {
	case found.ServerName == "":
		c.add(report.Server, "encryption", report.Warning, fmt.Sprintf("%s; whose certificate it is was not checked, valid until %s", found.Version, until),
			"sslmode=verify-full in --dsn, or PGSSLMODE, checks it")
	case left < expiryWarning:
		c.add(report.Server, "encryption", report.Warning, fmt.Sprintf("%s, certificate of %s checked (verify-full), valid only until %s, %s more",
			found.Version, found.ServerName, until, report.Plural(int64(left/(24*time.Hour)), "day")),
			"run: pulumi up, which renews it; one of your own (tlsSecret) is renewed where it came from")
	default:
		c.add(report.Server, "encryption", report.Passed, fmt.Sprintf("%s, certificate of %s checked (verify-full), valid until %s",
			found.Version, found.ServerName, until), "")
	}
	if c.Subject.Cluster != nil {
		c.checkPlain(ctx, conn)
	}
}

// checkPlain tries what a client without encryption would. Where that has to be refused, it is
// tried for as long as a server may need to hear of it.
func (c *Checker) checkPlain(ctx context.Context, conn *pgx.Conn) {
	address := conn.PgConn().Conn().RemoteAddr().String()
	reload := c.Reload
	if reload == 0 {
		reload = defaultReload
	}
	deadline := time.Now().Add(reload)
	for {
		met, said := server.ProbePlain(ctx, address, conn.Config().User, conn.Config().Database, plainTimeout)
		switch {
		case met == server.PlainRefused:
			c.plainRefused(true)
			c.add(report.Server, "plain text", report.Passed, "refused: "+said, "")
			return
		case !c.Subject.RequireTLS && met == server.PlainAccepted:
			c.plainRefused(false)
			c.add(report.Server, "plain text", report.Skipped, "accepted too; requireTls would refuse it", "")
			return
		case !c.Subject.RequireTLS:
			return
		case ctx.Err() != nil || time.Now().After(deadline):
			c.plainViolated(ctx, met, said)
			return
		}
		c.Sink.Progress.Say("waiting for plain connections to be refused: %s", said)
		select {
		case <-ctx.Done():
		case <-time.After(plainInterval):
		}
	}
}

func (c *Checker) plainRefused(refused bool) { c.Sink.Report.TLS.PlainRefused = &refused }

// plainViolated reports connections that should have been refused and were not, as far as could
// be seen.
func (c *Checker) plainViolated(ctx context.Context, met server.Plain, said string) {
	if c.cutShort(ctx) || met == server.PlainUnclear {
		c.add(report.Server, "plain text", report.Unknown, "could not see whether it is refused, at last: "+said, "run verify again")
		return
	}
	c.plainRefused(false)
	c.add(report.Server, "plain text", report.Violated, fmt.Sprintf("not refused, though requireTls is true: a connection without encryption was %s", said),
		"run: pulumi up; then see pg_hba_file_rules in the server")
}
