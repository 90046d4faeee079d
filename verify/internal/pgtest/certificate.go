package pgtest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// Authority signs certificates for tests.
type Authority struct {
	// PEM is its own certificate.
	PEM string

	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// NewAuthority makes an authority.
func NewAuthority(t testing.TB) *Authority {
	t.Helper()
	authority := &Authority{}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "authority " + rand.Text()}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(365 * 24 * time.Hour),
	}
	der, key := sign(t, template, nil)
	certificate, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	authority.certificate, authority.key = certificate, key
	authority.PEM = encode("CERTIFICATE", der)
	return authority
}

// Issue signs a certificate for names until a time, and returns it and its key as PEM.
func (a *Authority) Issue(t testing.TB, until time.Time, names ...string) (certificate, key string) {
	t.Helper()
	template := &x509.Certificate{DNSNames: names, NotBefore: time.Now().Add(-time.Hour), NotAfter: until}
	if until.Before(template.NotBefore) {
		template.NotBefore = until.Add(-time.Hour)
	}
	der, private := sign(t, template, a)
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	return encode("CERTIFICATE", der), encode("PRIVATE KEY", encoded)
}

func sign(t testing.TB, template *x509.Certificate, authority *Authority) ([]byte, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	parent, signer := template, key
	if authority != nil {
		parent, signer = authority.certificate, authority.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	require.NoError(t, err)
	return der, key
}

func encode(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// Encrypt makes the server offer TLS with a certificate, or another one than before.
func (s *Server) Encrypt(t testing.TB, certificate, key string) {
	t.Helper()
	require.NoError(t, s.WriteFile("server.crt", certificate))
	require.NoError(t, s.WriteFile("server.key", key))
	s.Exec(t, s.DSN("postgres"), "alter system set ssl = on", "select pg_reload_conf()")
}

// RefusePlain makes the server turn away whoever comes without TLS, or no longer. It takes effect
// a moment later.
func (s *Server) RefusePlain(t testing.TB, refuse bool) {
	t.Helper()
	rules := "host all all all trust\n"
	if refuse {
		rules = "hostnossl all all all reject\n" + rules
	}
	s.admit(t, rules)
}

// RequirePasswords makes the server ask everybody but its superuser for a password. It returns once
// it does.
func (s *Server) RequirePasswords(t testing.TB) {
	t.Helper()
	s.Exec(t, s.DSN("postgres"), "create role nobody login")
	s.admit(t, "host all "+superuser+" all trust\nhost all all all md5\n")
	require.Eventually(t, func() bool {
		conn, err := pgx.Connect(context.Background(), strings.Replace(s.DSN("postgres"), superuser+"@", "nobody@", 1))
		if err == nil {
			_ = conn.Close(context.Background())
		}
		return err != nil
	}, deadline, 20*time.Millisecond)
}

// admit sets who may connect. It takes effect a moment later.
func (s *Server) admit(t testing.TB, rules string) {
	t.Helper()
	require.NoError(t, s.WriteFile("pg_hba.conf", rules))
	out, err := s.Program(context.Background(), "pg_ctl", "reload", "--pgdata", s.DataDirectory).CombinedOutput()
	require.NoError(t, err, string(out))
}
