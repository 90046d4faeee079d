package certificate

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"maps"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var (
	birth    = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	ownNames = []string{"postgres.shop.svc", "*.postgres-headless.shop.svc", "192.0.2.7", "2001:db8:0::1"}
)

// made is the content of a Secret that was made at a time.
func made(t *testing.T, kept map[string][]byte, names []string, now time.Time) map[string][]byte {
	t.Helper()
	content, err := Renew(kept, names, now)
	require.NoError(t, err)
	require.Len(t, content, 4)
	return content
}

func leafOf(t *testing.T, certificate []byte) *x509.Certificate {
	t.Helper()
	block, rest := pem.Decode(certificate)
	require.NotNil(t, block)
	require.Empty(t, rest)
	leaf, err := x509.ParseCertificate(block.Bytes)
	require.NoError(t, err)
	return leaf
}

// accepted is what a client that trusts an authority says to a certificate.
func accepted(t *testing.T, authority, certificate []byte, name string, now time.Time) error {
	t.Helper()
	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM(authority))
	_, err := leafOf(t, certificate).Verify(x509.VerifyOptions{Roots: roots, DNSName: name, CurrentTime: now})
	return err
}

func TestCertificateIsAcceptedUnderEveryName(t *testing.T) {
	t.Parallel()
	content := made(t, nil, ServerNames("shop", []string{"db.example.com", "192.0.2.7"}), birth)
	for _, name := range []string{
		"postgres", "postgres.shop", "postgres.shop.svc", "postgres.shop.svc.cluster.local", "localhost",
		"postgres-headless.shop.svc.cluster.local", "postgres-0.postgres-headless.shop.svc.cluster.local",
		"postgres-1.postgres-headless.shop.svc", "db.example.com", "192.0.2.7",
	} {
		require.NoError(t, accepted(t, content["ca.crt"], content["tls.crt"], name, birth), name)
	}
	require.Error(t, accepted(t, content["ca.crt"], content["tls.crt"], "postgres.other.svc", birth))
	require.NoError(t, accepted(t, content["ca.crt"], content["tls.crt"], "postgres", birth.Add(-50*time.Minute)), "a client's clock may be behind")
	require.Error(t, accepted(t, content["ca.crt"], content["tls.crt"], "postgres", birth.Add(366*24*time.Hour)))
	require.Error(t, accepted(t, made(t, nil, ownNames, birth)["ca.crt"], content["tls.crt"], "postgres", birth), "another authority")

	leaf := leafOf(t, content["tls.crt"])
	require.False(t, leaf.IsCA)
	require.Equal(t, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, leaf.ExtKeyUsage)
	require.Equal(t, birth.Add(365*24*time.Hour), leaf.NotAfter)
	require.Equal(t, birth.Add(3650*24*time.Hour), leafOf(t, content["ca.crt"]).NotAfter)
}

func TestCertificateStaysAsItIsWhileItIsGood(t *testing.T) {
	t.Parallel()
	first := made(t, nil, ownNames, birth)
	for _, age := range []time.Duration{0, time.Hour, 243 * 24 * time.Hour} {
		require.Equal(t, first, made(t, first, ownNames, birth.Add(age)), "%s", age)
	}
	require.Equal(t, first, made(t, first, []string{"2001:db8::1", "192.0.2.7", "*.postgres-headless.shop.svc", "postgres.shop.svc", "192.0.2.7"}, birth),
		"the same names, written otherwise")
	require.NotEqual(t, first["tls.key"], made(t, nil, ownNames, birth)["tls.key"])
}

func TestCertificateIsRenewedByTheSameAuthority(t *testing.T) {
	t.Parallel()
	first := made(t, nil, ownNames, birth)
	other := made(t, nil, ownNames, birth)
	for _, test := range []struct {
		name   string
		age    time.Duration
		names  []string
		damage func(map[string][]byte)
	}{
		{name: "a third of its life is left", age: 244 * 24 * time.Hour},
		{name: "expired", age: 400 * 24 * time.Hour},
		{name: "one name more", names: append([]string{"db.example.com"}, ownNames...)},
		{name: "one name less", names: ownNames[1:]},
		{name: "not valid yet", age: -2 * time.Hour, damage: func(content map[string][]byte) {
			early := made(t, nil, ownNames, birth.Add(-24*time.Hour))
			delete(early, "tls.crt")
			maps.Copy(content, made(t, early, ownNames, birth))
		}},
		{name: "gone", damage: func(content map[string][]byte) { delete(content, "tls.crt") }},
		{name: "key of another", damage: func(content map[string][]byte) { content["tls.key"] = other["tls.key"] }},
		{name: "signed by another authority", damage: func(content map[string][]byte) {
			content["tls.crt"], content["tls.key"] = other["tls.crt"], other["tls.key"]
		}},
		{name: "damaged", damage: func(content map[string][]byte) { content["tls.crt"] = []byte("-----BEGIN") }},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			kept := maps.Clone(first)
			if test.damage != nil {
				test.damage(kept)
			}
			names := test.names
			if names == nil {
				names = ownNames
			}
			now := birth.Add(test.age)
			next := made(t, kept, names, now)
			require.Equal(t, kept["ca.crt"], next["ca.crt"], "clients go on trusting it")
			require.Equal(t, kept["ca.key"], next["ca.key"])
			require.NotEqual(t, kept["tls.crt"], next["tls.crt"])
			require.NotEqual(t, kept["tls.key"], next["tls.key"])
			require.NoError(t, accepted(t, first["ca.crt"], first["tls.crt"], "postgres.shop.svc", birth))
			require.NoError(t, accepted(t, kept["ca.crt"], next["tls.crt"], "x.postgres-headless.shop.svc", now.Add(364*24*time.Hour)))
			require.Equal(t, canonicalNames(names), namesOf(leafOf(t, next["tls.crt"])))
			require.Equal(t, next, made(t, next, names, now.Add(time.Hour)))
		})
	}
}

func TestAuthorityIsMadeAnewOnlyWhenItHasTo(t *testing.T) {
	t.Parallel()
	first := made(t, nil, ownNames, birth)
	lastGood := made(t, first, ownNames, birth.Add(authorityLife-certificateLife-time.Hour))
	require.Equal(t, first["ca.crt"], lastGood["ca.crt"])
	require.False(t, leafOf(t, lastGood["tls.crt"]).NotAfter.After(leafOf(t, first["ca.crt"]).NotAfter), "no certificate outlives its authority")

	for _, test := range []struct {
		name   string
		now    time.Time
		damage func(map[string][]byte)
	}{
		{"near its end", birth.Add(authorityLife - certificateLife), func(map[string][]byte) {}},
		{"gone", birth, func(content map[string][]byte) { delete(content, "ca.crt") }},
		{"key gone", birth, func(content map[string][]byte) { delete(content, "ca.key") }},
		{"damaged", birth, func(content map[string][]byte) { content["ca.key"] = []byte("x") }},
		{"no authority", birth, func(content map[string][]byte) {
			content["ca.crt"], content["ca.key"] = content["tls.crt"], content["tls.key"]
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			kept := made(t, lastGood, ownNames, birth)
			test.damage(kept)
			next := made(t, kept, ownNames, test.now)
			require.NotEqual(t, first["ca.crt"], next["ca.crt"])
			require.NoError(t, accepted(t, next["ca.crt"], next["tls.crt"], "postgres.shop.svc", test.now))
			require.NotEqual(t, leafOf(t, first["ca.crt"]).Subject, leafOf(t, next["ca.crt"]).Subject)
		})
	}
}

// ownSigned is a pair of somebody's own.
func ownSigned(t *testing.T, change func(*x509.Certificate)) pair {
	t.Helper()
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "mine"}, DNSNames: []string{"db.example.com"},
		NotBefore: birth.Add(-time.Hour), NotAfter: birth.Add(90 * 24 * time.Hour),
	}
	if change != nil {
		change(template)
	}
	signed, err := sign(template, nil)
	require.NoError(t, err)
	return signed
}

func TestCertificateOfOnesOwn(t *testing.T) {
	t.Parallel()
	authority, err := newAuthority(birth)
	require.NoError(t, err)
	issued := func(names ...string) pair {
		signed, err := newCertificate(authority, names, birth)
		require.NoError(t, err)
		return signed
	}
	self := ownSigned(t, nil)
	for _, test := range []struct {
		name            string
		pair            pair
		authority       []byte
		wantName, wants string
	}{
		{"with its authority", issued("db.example.com"), authority.certificate, "db.example.com", string(authority.certificate)},
		{"that covers the Service", issued("a.example.com", "postgres.shop.svc"), authority.certificate, "postgres.shop.svc", string(authority.certificate)},
		{"for a wildcard that covers the Service", issued("*.shop.svc"), authority.certificate, "postgres.shop.svc", string(authority.certificate)},
		{"for another wildcard", issued("*.example.com"), authority.certificate, "postgres.example.com", string(authority.certificate)},
		{"for an address", issued("192.0.2.7"), authority.certificate, "192.0.2.7", string(authority.certificate)},
		{"of an authority that clients know", issued("db.example.com"), nil, "db.example.com", ""},
		{"signed by itself", self, nil, "db.example.com", string(self.certificate)},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			found, err := Read(map[string][]byte{
				"tls.crt": test.pair.certificate, "tls.key": test.pair.privateKey, "ca.crt": test.authority,
			}, "postgres.shop.svc", birth)
			require.NoError(t, err)
			require.Equal(t, Provided{Authority: test.wants, Name: test.wantName}, found)
		})
	}
}

func TestCertificateOfOnesOwnThatNoClientAccepts(t *testing.T) {
	t.Parallel()
	good, other := ownSigned(t, nil), ownSigned(t, nil)
	expired := ownSigned(t, func(c *x509.Certificate) { c.NotAfter = birth.Add(-time.Minute) })
	early := ownSigned(t, func(c *x509.Certificate) { c.NotBefore = birth.Add(24 * time.Hour) })
	nameless := ownSigned(t, func(c *x509.Certificate) { c.DNSNames = nil })
	for _, test := range []struct {
		name                   string
		certificate, key, root []byte
		want                   string
	}{
		{"no certificate", nil, good.privateKey, nil, "it has no tls.crt"},
		{"no key", good.certificate, nil, nil, "it has no tls.key"},
		{"no PEM", []byte("x"), good.privateKey, nil, "failed to find any PEM data in certificate input"},
		{"no key in PEM", good.certificate, []byte("x"), nil, "failed to find any PEM data in key input"},
		{"exchanged", good.privateKey, good.certificate, nil, "failed to find certificate PEM data in certificate input, but did find a private key; PEM inputs may have been switched"},
		{"key of another", good.certificate, other.privateKey, nil, "private key does not match public key"},
		{"expired", expired.certificate, expired.privateKey, nil, "its certificate expired on 2026-11-22"},
		{"not valid yet", early.certificate, early.privateKey, nil, "its certificate is valid only from 2026-11-23"},
		{"no names", nameless.certificate, nameless.privateKey, nil, "its certificate has no DNS name and no IP address (subjectAltName)"},
		{"no authority", good.certificate, good.privateKey, []byte("x"), "its ca.crt holds no certificate"},
		{"another authority", good.certificate, good.privateKey, other.certificate, "no client accepts its certificate: x509: certificate signed by unknown authority"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, err := Read(map[string][]byte{"tls.crt": test.certificate, "tls.key": test.key, "ca.crt": test.root}, "postgres.shop.svc", birth)
			require.ErrorContains(t, err, test.want)
			require.NotContains(t, err.Error(), "\n")
		})
	}
}

func TestShortKeyIsRefusedBeforeTheServerRefusesIt(t *testing.T) {
	t.Setenv("GODEBUG", "rsa1024min=0")
	key, err := rsa.GenerateKey(rand.Reader, 1024)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.ParseIP("192.0.2.7")}, NotBefore: birth, NotAfter: birth.Add(time.Hour),
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	_, err = Read(map[string][]byte{
		"tls.crt": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate}),
		"tls.key": pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}),
	}, "postgres", birth)
	require.EqualError(t, err, "its key has 1024 bits, and servers refuse fewer than 2048")
}
