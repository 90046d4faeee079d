package check_test

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"stateful-postgres/verify/internal/check"
	"stateful-postgres/verify/internal/pgtest"
	"stateful-postgres/verify/internal/report"
	"stateful-postgres/verify/internal/server"
)

// encrypted is a server of a test's own in a cluster of a test's own, that offers TLS.
type encrypted struct {
	*world
	own       *pgtest.Server
	authority *pgtest.Authority
	witness   *witness
	require   bool
}

func newEncrypted(t *testing.T) *encrypted {
	t.Helper()
	e := &encrypted{world: newWorld(t), own: pgtest.Start(t), authority: pgtest.NewAuthority(t)}
	e.port, e.dsn = int32(e.own.Port), e.own.CreateDatabase(t)
	e.encryptUntil(t, 365*24*time.Hour)
	e.witness = newWitness(t, e.dsn)
	return e
}

// encryptUntil gives the server a certificate, and waits until it shows that.
func (e *encrypted) encryptUntil(t *testing.T, left time.Duration) {
	t.Helper()
	until := time.Now().Add(left)
	certificate, key := e.authority.Issue(t, until, "postgres.ns.svc")
	e.own.Encrypt(t, certificate, key)
	config, err := server.ConfigFromDSN(e.dsn[:len(e.dsn)-len("disable")] + "require")
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		conn, err := server.Connect(t.Context(), config)
		if err != nil {
			return false
		}
		defer conn.Close(t.Context())
		return server.EncryptionOf(conn).Expires.Equal(until.UTC().Truncate(time.Second))
	}, 10*time.Second, 20*time.Millisecond)
}

func (e *encrypted) check(t *testing.T, encryption *server.TLS) *report.Report {
	t.Helper()
	e.witness.change = func(checker *check.Checker) {
		parsed, err := pgx.ParseConfig(e.dsn)
		require.NoError(t, err)
		checker.Subject.RequireTLS = e.require
		checker.Subject.Config = func(addresses []string) (*pgx.ConnConfig, error) {
			return server.Config(addresses, parsed.Database, parsed.User, "unused", encryption)
		}
		checker.Reload = 2 * time.Second
	}
	return e.look(t, e.witness, 1, 30*time.Second)
}

func (e *encrypted) checked() *server.TLS {
	return &server.TLS{Authority: e.authority.PEM, ServerName: "postgres.ns.svc"}
}

func TestEncryptionIsCheckedAndReported(t *testing.T) {
	t.Parallel()
	e := newEncrypted(t)
	for range 2 {
		r := e.check(t, e.checked())
		require.Equal(t, report.ExitProven, r.ExitCode, r.Summary)
		until := time.Now().Add(365 * 24 * time.Hour).UTC()
		requireCheck(t, r, "encryption", report.Passed, "TLS 1.3, certificate of postgres.ns.svc checked (verify-full), valid until "+until.Format(time.DateOnly))
		requireCheck(t, r, "plain text", report.Skipped, "accepted too")
		require.Equal(t, "TLS 1.3", r.TLS.Version)
		require.Equal(t, "postgres.ns.svc", r.TLS.ServerName)
		require.WithinDuration(t, until, r.TLS.ExpiresAt, time.Minute)
		require.False(t, *r.TLS.PlainRefused)
		require.Equal(t, "nodeport", r.Target.Via)
	}

	e.encryptUntil(t, 29*24*time.Hour)
	r := e.check(t, e.checked())
	require.Equal(t, report.ExitProven, r.ExitCode, "a warning is no failure")
	soon := requireCheck(t, r, "encryption", report.Warning, "valid only until")
	require.Contains(t, soon.Detail, "28 days more")
	require.Contains(t, soon.Hint, "pulumi up")
}

func TestCertificateThatDoesNotCheckIsNeverALoss(t *testing.T) {
	t.Parallel()
	e := newEncrypted(t)
	require.Equal(t, report.ExitProven, e.check(t, e.checked()).ExitCode, "there are rows that could be lost")
	for _, wrong := range []*server.TLS{
		{Authority: pgtest.NewAuthority(t).PEM, ServerName: "postgres.ns.svc"},
		{Authority: e.authority.PEM, ServerName: "postgres.other.svc"},
	} {
		r := e.check(t, wrong)
		require.Equal(t, report.ExitUnknown, r.ExitCode)
		requireCheck(t, r, "connection", report.Unknown, "the server's certificate does not check: x509: ")
		require.Nil(t, r.Rows)
		require.Nil(t, r.TLS)
	}
	e.encryptUntil(t, -time.Hour)
	r := e.check(t, e.checked())
	require.Equal(t, report.ExitUnknown, r.ExitCode)
	requireCheck(t, r, "connection", report.Unknown, "expired")
}

func TestServerWithoutEncryptionSaysSo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	witness := newWitness(t, w.dsn)
	r := w.look(t, witness, 1, 30*time.Second)
	require.Equal(t, report.ExitProven, r.ExitCode, r.Summary)
	requireCheck(t, r, "encryption", report.Skipped, "none: the connection is in plain text")
	require.Nil(t, r.TLS)

	// The stack says that there is encryption, and the server has none.
	e := &encrypted{world: w, witness: witness, authority: pgtest.NewAuthority(t)}
	r = e.check(t, e.checked())
	require.Equal(t, report.ExitUnknown, r.ExitCode)
	requireCheck(t, r, "connection", report.Unknown, "the server offers no encryption (TLS), and nothing was sent without")
}

func TestPlainConnectionsHaveToBeRefusedWhereTheStackSaysSo(t *testing.T) {
	t.Parallel()
	e := newEncrypted(t)
	e.require = true
	started := time.Now()
	r := e.check(t, e.checked())
	require.Equal(t, report.ExitViolated, r.ExitCode)
	requireCheck(t, r, "plain text", report.Violated, "not refused, though requireTls is true: a connection without encryption was let in without a password")
	require.GreaterOrEqual(t, time.Since(started), 2*time.Second, "a server may need a moment to hear of it")
	require.False(t, *r.TLS.PlainRefused)

	// It hears of it while verify looks.
	time.AfterFunc(time.Second, func() { e.own.RefusePlain(t, true) })
	r = e.check(t, e.checked())
	require.Equal(t, report.ExitProven, r.ExitCode, r.Summary)
	requireCheck(t, r, "plain text", report.Passed, "refused: pg_hba.conf rejects connection for host")
	require.True(t, *r.TLS.PlainRefused)

	e.require = false
	r = e.check(t, e.checked())
	requireCheck(t, r, "plain text", report.Passed, "refused: ")
	e.own.RefusePlain(t, false)
}

func TestDSNIsReportedAsItIs(t *testing.T) {
	t.Parallel()
	e := newEncrypted(t)
	w := newWitness(t, e.dsn[:len(e.dsn)-len("disable")]+"require")
	r := w.proven()
	requireCheck(t, r, "encryption", report.Warning, "TLS 1.3; whose certificate it is was not checked, valid until ")
	require.Empty(t, r.TLS.ServerName)
	require.Nil(t, r.TLS.PlainRefused, "what else it lets in is not this command's business")
}
