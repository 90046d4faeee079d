package server_test

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/stretchr/testify/require"

	"stateful-postgres/verify/internal/pgtest"
	"stateful-postgres/verify/internal/server"
)

const serverName = "postgres.shop.svc"

func inADay() time.Time { return time.Now().Add(24 * time.Hour) }

// reach connects to a server by its address, and reports how.
func reach(t *testing.T, own *pgtest.Server, check *server.TLS) (*server.Encryption, error) {
	t.Helper()
	config, err := server.Config([]string{net.JoinHostPort("127.0.0.1", strconv.Itoa(own.Port))}, "postgres", "verifier", "x", check)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	return server.Wait(ctx, func(ctx context.Context) (*server.Encryption, error) {
		conn, err := server.Connect(ctx, config)
		if err != nil {
			return nil, err
		}
		defer conn.Close(ctx)
		return server.EncryptionOf(conn), nil
	}, func(string) {})
}

// eventually waits for a server to have read its files again.
func eventually(t *testing.T, done func() bool) {
	t.Helper()
	require.Eventually(t, done, 10*time.Second, 20*time.Millisecond)
}

func TestCertificateIsCheckedInFullWhateverTheAddress(t *testing.T) {
	t.Parallel()
	own, authority, other := pgtest.Start(t), pgtest.NewAuthority(t), pgtest.NewAuthority(t)
	check := &server.TLS{Authority: authority.PEM, ServerName: serverName}

	_, err := reach(t, own, check)
	var refusal *server.Refusal
	require.ErrorAs(t, err, &refusal, "a server without TLS is not talked to in plain text")
	require.Equal(t, "the server offers no encryption (TLS), and nothing was sent without", refusal.Problem)

	until := inADay()
	encrypt(t, own, authority, until)
	eventually(t, func() bool { _, err := reach(t, own, check); return err == nil })
	found, err := reach(t, own, check)
	require.NoError(t, err)
	require.Equal(t, &server.Encryption{Version: "TLS 1.3", ServerName: serverName, Expires: until.UTC().Truncate(time.Second)}, found)

	for _, test := range []struct {
		name    string
		check   server.TLS
		problem string
		hint    string
	}{
		{"another authority", server.TLS{Authority: other.PEM, ServerName: serverName}, "certificate signed by unknown authority", "something else answered"},
		{"this machine's authorities", server.TLS{ServerName: serverName}, "certificate signed by unknown authority", "something else answered"},
		{"another name", server.TLS{Authority: authority.PEM, ServerName: "postgres.other.svc"}, "certificate is valid for postgres.shop.svc, not postgres.other.svc", "something else answered"},
	} {
		_, err := reach(t, own, &test.check)
		require.ErrorAs(t, err, &refusal, test.name)
		require.Contains(t, refusal.Problem, "the server's certificate does not check: x509: ", test.name)
		require.Contains(t, refusal.Problem, test.problem, test.name)
		require.Contains(t, refusal.Hint, "no password was sent; either "+test.hint, test.name)
		require.Empty(t, refusal.Code)
	}

	encrypt(t, own, authority, time.Now().Add(-time.Minute))
	eventually(t, func() bool { _, err := reach(t, own, check); return err != nil })
	_, err = reach(t, own, check)
	require.ErrorAs(t, err, &refusal)
	require.Contains(t, refusal.Problem, "certificate has expired")
	require.Contains(t, refusal.Hint, "run: pulumi up, which renews it")
}

// encrypt gives a server a certificate that is good until a time.
func encrypt(t *testing.T, own *pgtest.Server, authority *pgtest.Authority, until time.Time) {
	t.Helper()
	certificate, key := authority.Issue(t, until, serverName)
	own.Encrypt(t, certificate, key)
}

func TestConnectionThatIsNotCheckedSaysSo(t *testing.T) {
	t.Parallel()
	own, authority := pgtest.Start(t), pgtest.NewAuthority(t)
	describe := func(dsn string) *server.Encryption {
		config, err := server.ConfigFromDSN(dsn)
		require.NoError(t, err)
		conn, err := server.Connect(t.Context(), config)
		require.NoError(t, err)
		defer conn.Close(t.Context())
		return server.EncryptionOf(conn)
	}
	base := "host=127.0.0.1 user=verifier dbname=postgres port=" + strconv.Itoa(own.Port)
	require.Nil(t, describe(base+" sslmode=prefer"), "in plain text")

	certificate, key := authority.Issue(t, inADay(), "localhost")
	own.Encrypt(t, certificate, key)
	eventually(t, func() bool { return describe(base+" sslmode=prefer") != nil })
	require.Empty(t, describe(base+" sslmode=require").ServerName)
	root := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(root, []byte(authority.PEM), 0o600))
	require.Equal(t, "localhost", describe("host=localhost user=verifier dbname=postgres sslmode=verify-full sslrootcert="+root+" port="+strconv.Itoa(own.Port)).ServerName)
}

func TestAuthorityThatIsNoneIsAnError(t *testing.T) {
	t.Parallel()
	_, err := server.Config([]string{"127.0.0.1:1"}, "d", "u", "p", &server.TLS{Authority: "x", ServerName: serverName})
	require.EqualError(t, err, "what should be the certificate of the server's authority is none")
}

func TestNoAddressIsEverTriedInPlainText(t *testing.T) {
	// The environment of a user who talks to other servers, too.
	t.Setenv("PGSSLMODE", "allow")
	t.Setenv("PGSSLROOTCERT", filepath.Join(t.TempDir(), "none"))
	t.Setenv("PGSSLNEGOTIATION", "direct")
	config, err := server.Config([]string{"10.0.0.1:1", "10.0.0.2:1"}, "d", "u", "p", &server.TLS{ServerName: serverName})
	require.NoError(t, err)
	require.Equal(t, serverName, config.TLSConfig.ServerName)
	require.Len(t, config.Fallbacks, 1)
	require.Equal(t, serverName, config.Fallbacks[0].TLSConfig.ServerName)
	require.False(t, config.TLSConfig.InsecureSkipVerify)
	require.Equal(t, "postgres", config.SSLNegotiation)
}

func TestPlainConnectionIsTriedWithoutAPassword(t *testing.T) {
	t.Parallel()
	own, authority := pgtest.Start(t), pgtest.NewAuthority(t)
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(own.Port))
	probe := func(address string) (server.Plain, string) {
		return server.ProbePlain(t.Context(), address, "verifier", "postgres", 5*time.Second)
	}
	met, said := probe(address)
	require.Equal(t, server.PlainAccepted, met)
	require.Equal(t, "let in without a password", said)

	encrypt(t, own, authority, inADay())
	own.RefusePlain(t, true)
	eventually(t, func() bool { met, _ := probe(address); return met == server.PlainRefused })
	_, said = probe(address)
	require.Contains(t, said, "pg_hba.conf rejects connection")
	require.Contains(t, said, "no encryption")

	for _, test := range []struct {
		name   string
		answer func(net.Conn)
		met    server.Plain
		said   string
	}{
		{"asks for the password", func(conn net.Conn) {
			defer conn.Close()
			backend := pgproto3.NewBackend(conn, conn)
			if _, err := backend.ReceiveStartupMessage(); err != nil {
				return
			}
			backend.Send(&pgproto3.AuthenticationSASL{AuthMechanisms: []string{"SCRAM-SHA-256"}})
			_ = backend.Flush()
		}, server.PlainAccepted, "asked for the password"},
		{"starting up", refuse("57P03", "the database system is starting up"), server.PlainUnclear, "the database system is starting up (SQLSTATE 57P03)"},
		{"hangs up", hangUp, server.PlainUnclear, ""},
	} {
		met, said := probe(listen(t, test.answer))
		require.Equal(t, test.met, met, test.name)
		require.Contains(t, said, test.said, test.name)
	}
}
