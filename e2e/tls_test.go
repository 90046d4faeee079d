package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"stateful-postgres/internal/contract"
)

func TestTLS(t *testing.T) {
	t.Parallel()
	f := setup(t, "tls")
	f.ok(f.Set(f.ctx, "tls", "true"))
	printed := f.ok(f.Preview(f.ctx, "--diff")) + f.up(1)
	name := "postgres." + f.Namespace + ".svc"
	outputs := f.outputs()
	require.Equal(t, []any{true, false, name}, []any{outputs["tls"], outputs["requireTls"], outputs["tlsServerName"]})
	authority := outputs["caCertificate"].(string)

	const checked = "checked (verify-full), valid until "
	for _, flags := range [][]string{{"--via", "nodeport"}, {"--via", "port-forward"}} {
		said := f.verify(proven, flags...)
		require.Contains(t, said, "certificate of "+name+" "+checked, "%v", flags)
		require.Contains(t, said, "accepted too", "%v", flags)
	}
	withoutPulumi := f.Run(f.ctx, workspace.Verify, "--namespace", f.Namespace, "--ledger", filepath.Join(f.Folder, "other"), "--rows", "0", "--adopt")
	require.Contains(t, withoutPulumi.Output, "certificate of "+name+" "+checked)

	require.NoError(t, f.connect(trusting(t, authority, name)))
	stranger, _ := issue(t, nil, nil, time.Now().Add(time.Hour), name)
	require.ErrorContains(t, f.connect(trusting(t, stranger, name)), "certificate signed by unknown authority")
	require.ErrorContains(t, f.connect(trusting(t, authority, "postgres.other.svc")), "not postgres.other.svc")
	require.NoError(t, f.connect(nil), "plain connections are not forbidden")

	before := f.objects()
	again := f.up(1)
	require.Contains(t, again, "unchanged")
	require.NotContains(t, again, "updated")
	require.Equal(t, before, f.objects(), "a good certificate stays as it is")

	f.ok(f.Set(f.ctx, "requireTls", "true"))
	printed += f.up(1)
	require.Equal(t, before["Pod/"+pod], f.objects()["Pod/"+pod], "requireTls restarts nothing")
	for _, flags := range [][]string{{"--via", "nodeport"}, {"--via", "port-forward"}} {
		require.Contains(t, f.verify(proven, flags...), "refused: pg_hba.conf rejects connection", "%v", flags)
	}
	var refused *pgconn.PgError
	require.ErrorAs(t, f.connect(nil), &refused)
	require.Equal(t, "28000", refused.Code)
	require.Contains(t, refused.Message, "no encryption")
	require.NoError(t, f.connect(trusting(t, authority, name)))

	f.requireKeysAreNowhere(printed)

	f.ok(f.Destroy(f.ctx))
	f.up(1)
	require.Equal(t, authority, f.outputs()["caCertificate"], "clients go on trusting it")
	require.Contains(t, f.verify(proven), checked)
}

// requireKeysAreNowhere looks for the private keys where they must not be.
func (f *fixture) requireKeysAreNowhere(printed string) {
	f.t.Helper()
	seen := map[string]string{
		"output of pulumi":                   printed,
		"pulumi stack output":                f.ok(f.Run(f.ctx, "pulumi", "stack", "output", "--stack", f.Name)),
		"exported checkpoint":                f.ok(f.Export(f.ctx)),
		"state, settings and ledger on disk": filesBelow(f.t, f.StateFolder()) + filesBelow(f.t, f.Folder),
		"log of the pod":                     f.kubectl("logs", pod),
		"ConfigMap":                          f.kubectl("get", "configmap", "--output=yaml"),
		"pod":                                f.kubectl("get", "pod", "--output=yaml"),
		"events":                             f.kubectl("get", "events", "--output=yaml"),
		"files of the pod but the Secret's":  f.kubectl("exec", pod, "--", "sh", "-c", "cat /etc/stateful-postgres/* 2>/dev/null; env"),
	}
	require.Contains(f.t, seen["exported checkpoint"], "postgres-tls")
	for _, key := range []string{"tls.key", "ca.key"} {
		content := f.secret(contract.TLSSecret)[key]
		block, _ := pem.Decode(content)
		require.NotNil(f.t, block, key)
		body := strings.Split(string(content), "\n")[1]
		for place, text := range seen {
			require.NotEmpty(f.t, text, place)
			require.False(f.t, strings.Contains(text, body), "%s holds %s", place, key)
			require.False(f.t, strings.Contains(text, base64.StdEncoding.EncodeToString(content)), "%s holds %s in base64", place, key)
		}
	}
	require.Equal(f.t, "tls.crt tls.key", f.kubectl("exec", pod, "--", "sh", "-c", "echo $(ls "+contract.TLSPath+")"),
		"the authority's key is not in the pod")
}

func TestRenewedCertificateIsTakenOverWithoutARestart(t *testing.T) {
	t.Parallel()
	f := setup(t, "renewal")
	f.ok(f.Set(f.ctx, "tls", "true"))
	f.up(1)
	f.verify(proven)
	first := f.shown()
	before := f.objects()
	started := f.sql("select pg_postmaster_start_time()")

	// What nine months without an update leave.
	secret := f.secret(contract.TLSSecret)
	soon := time.Now().Add(20 * 24 * time.Hour)
	old, key := issue(t, secret["ca.crt"], secret["ca.key"], soon, "postgres."+f.Namespace+".svc")
	f.replace(contract.TLSSecret, map[string]string{"tls.crt": old, "tls.key": key})
	f.eventually("the server to show the old certificate", reloadTimeout, func() (string, bool) {
		shown := f.shown()
		return shown.NotAfter.String(), shown.NotAfter.Equal(soon.UTC().Truncate(time.Second))
	})
	warned := f.verify(proven)
	require.Contains(t, warned, "valid only until "+soon.UTC().Format(time.DateOnly))
	require.Contains(t, warned, "pulumi up")

	f.up(1)
	f.eventually("the server to show a new certificate", reloadTimeout, func() (string, bool) {
		shown := f.shown()
		return shown.NotAfter.String(), shown.NotAfter.After(first.NotAfter.Add(-time.Minute))
	})
	require.NotEqual(t, first.SerialNumber, f.shown().SerialNumber)
	require.NotContains(t, f.verify(proven), "valid only until")
	require.Equal(t, before["Pod/"+pod], f.objects()["Pod/"+pod])
	require.Equal(t, started, f.sql("select pg_postmaster_start_time()"), "the server never stopped")
	require.Equal(t, string(secret["ca.crt"]), string(f.secret(contract.TLSSecret)["ca.crt"]))
}

func TestCertificateOfOnesOwn(t *testing.T) {
	t.Parallel()
	f := setup(t, "tlssecret")
	f.ok(f.Set(f.ctx, "tls", "true"))
	f.ok(f.Set(f.ctx, "tlsSecret", "mine"))
	refused := f.Up(f.ctx)
	require.False(t, refused.OK(), "%s", refused)
	require.Contains(t, refused.Output, `tlsSecret: got "mine", expected a Secret that exists in namespace `+f.Namespace)
	require.Contains(t, f.Kubectl(f.ctx, "get", "namespace", f.Namespace).Output, "NotFound", "nothing was made")

	authority, authorityKey := issue(t, nil, nil, time.Now().Add(48*time.Hour))
	first, firstKey := issue(t, []byte(authority), []byte(authorityKey), time.Now().Add(24*time.Hour), "db.example.com")
	f.ok(f.Kubectl(f.ctx, "create", "namespace", f.Namespace))
	f.ok(f.Kubectl(f.ctx, "create", "secret", "tls", "mine", "--cert="+f.file("first.crt", first), "--key="+f.file("first.key", firstKey)))
	f.replace("mine", map[string]string{"tls.crt": first, "tls.key": authorityKey, "ca.crt": authority})
	refused = f.Up(f.ctx)
	require.False(t, refused.OK(), "%s", refused)
	require.Contains(t, refused.Output, "private key does not match public key")
	f.replace("mine", map[string]string{"tls.key": firstKey})

	f.up(1)
	outputs := f.outputs()
	require.Equal(t, []any{"db.example.com", authority}, []any{outputs["tlsServerName"], outputs["caCertificate"]})
	require.Contains(t, f.verify(proven), "certificate of db.example.com checked (verify-full)")
	require.NoError(t, f.connect(trusting(t, authority, "db.example.com")))
	require.Contains(t, f.Kubectl(f.ctx, "get", "secret", contract.TLSSecret).Output, "NotFound", "none is made beside one's own")

	before := f.objects()["Pod/"+pod]
	until := time.Now().Add(36 * time.Hour)
	second, secondKey := issue(t, []byte(authority), []byte(authorityKey), until, "db.example.com")
	f.replace("mine", map[string]string{"tls.crt": second, "tls.key": secondKey})
	f.eventually("the server to show the second certificate", reloadTimeout, func() (string, bool) {
		shown := f.shown()
		return shown.NotAfter.String(), shown.NotAfter.Equal(until.UTC().Truncate(time.Second))
	})
	require.Equal(t, before, f.objects()["Pod/"+pod])
	f.verify(proven)
}

func TestNothingOnTheVolumeChangesWhoMayLogIn(t *testing.T) {
	t.Parallel()
	f := setup(t, "access")
	f.ok(f.Set(f.ctx, "tls", "true"))
	f.ok(f.Set(f.ctx, "requireTls", "true"))
	f.up(1)
	encrypted := trusting(t, f.outputs()["caCertificate"].(string), f.outputs()["tlsServerName"].(string))
	before := f.objects()["Pod/"+pod]

	for _, statement := range []string{
		"alter system set ssl = off", "alter system set hba_file = '/var/lib/postgredb/pgdata/pg_hba.conf'",
		"alter system set listen_addresses = 'localhost'", "alter system set password_encryption = 'md5'",
		"set password_encryption = 'md5'; create role old login password 'old'",
	} {
		f.sql(statement)
	}
	f.kubectl("exec", pod, "--", "sh", "-c", `echo "host all all all trust" >"$PGDATA/pg_hba.conf"; echo "ssl = off" >>"$PGDATA/postgresql.conf"`)
	f.kubectl("delete", "pod", pod)
	f.eventually("another pod to be ready", 3*time.Minute, func() (string, bool) {
		result := f.Kubectl(f.ctx, "get", "pod", pod, `--output=jsonpath={.metadata.uid} {.status.conditions[?(@.type=="Ready")].status}`)
		return result.String(), result.OK() && strings.HasSuffix(result.Stdout, " True") && !strings.HasPrefix(result.Stdout, before.UID)
	})

	require.NoError(t, f.connect(encrypted))
	for _, test := range []struct {
		name   string
		tls    *tls.Config
		change func(*pgx.ConnConfig)
		code   string
	}{
		{"plain text", nil, func(*pgx.ConnConfig) {}, "28000"},
		{"no password", encrypted, func(c *pgx.ConnConfig) { c.Password = "wrong" }, "28P01"},
		{"a password that is stored as MD5", encrypted, func(c *pgx.ConnConfig) { c.User, c.Password = "old", "old" }, "28P01"},
		{"replication", encrypted, func(c *pgx.ConnConfig) { c.RuntimeParams["replication"] = "true" }, "28000"},
	} {
		var refused *pgconn.PgError
		require.ErrorAs(t, f.connectAs(test.tls, test.change, func(*pgx.Conn) {}), &refused, test.name)
		require.Equal(t, test.code, refused.Code, "%s: %s", test.name, refused.Message)
	}
	require.Equal(t, "SCRAM-SHA-256", f.sql("select left(rolpassword, 13) from pg_authid where rolname = current_user"))
	f.verify(proven)
}

// connect connects to the stack's server over its node port, in plain text
// without a TLS config, and runs a query.
func (f *fixture) connect(config *tls.Config) error {
	f.t.Helper()
	return f.connectAs(config, func(*pgx.ConnConfig) {}, func(*pgx.Conn) {})
}

// connectAs changes how it connects, and looks at the connection.
func (f *fixture) connectAs(config *tls.Config, change func(*pgx.ConnConfig), look func(*pgx.Conn)) error {
	f.t.Helper()
	outputs := f.outputs()
	node := f.kubectl("get", "node", `--output=jsonpath={.items[0].status.addresses[?(@.type=="InternalIP")].address}`)
	settings, err := pgx.ParseConfig(fmt.Sprintf("host=%s port=%s user=%s dbname=%s sslmode=disable",
		node, text(outputs["nodePort"]), outputs["user"], outputs["database"]))
	require.NoError(f.t, err)
	settings.Password, settings.TLSConfig = outputs["password"].(string), config
	change(settings)
	var result error
	f.eventually("the node port to lead to the server", 3*time.Minute, func() (string, bool) {
		ctx, cancel := context.WithTimeout(f.ctx, 10*time.Second)
		defer cancel()
		conn, err := pgx.ConnectConfig(ctx, settings)
		if err != nil {
			result = err
			var answered *pgconn.PgError
			var unchecked *tls.CertificateVerificationError
			return err.Error(), errors.As(err, &answered) || errors.As(err, &unchecked)
		}
		defer conn.Close(ctx)
		look(conn)
		_, result = conn.Exec(ctx, "select 1")
		return "", true
	})
	return result
}

// shown is the certificate that the server shows now.
func (f *fixture) shown() *x509.Certificate {
	f.t.Helper()
	var shown *x509.Certificate
	require.NoError(f.t, f.connectAs(&tls.Config{InsecureSkipVerify: true}, func(*pgx.ConnConfig) {}, func(conn *pgx.Conn) {
		shown = conn.PgConn().Conn().(*tls.Conn).ConnectionState().PeerCertificates[0]
	}))
	return shown
}

// trusting is what a client with verify-full does.
func trusting(t *testing.T, authority, name string) *tls.Config {
	t.Helper()
	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM([]byte(authority)), "%q", authority)
	return &tls.Config{RootCAs: roots, ServerName: name}
}

// secret is the content of a Secret.
func (f *fixture) secret(name string) map[string][]byte {
	f.t.Helper()
	var secret struct{ Data map[string][]byte }
	require.NoError(f.t, json.Unmarshal([]byte(f.kubectl("get", "secret", name, "--output=json")), &secret))
	return secret.Data
}

// replace changes keys of a Secret. Their values are on no command line.
func (f *fixture) replace(name string, values map[string]string) {
	f.t.Helper()
	patch, err := json.Marshal(map[string]any{"stringData": values})
	require.NoError(f.t, err)
	f.kubectl("patch", "secret", name, "--type=merge", "--patch-file="+f.file("patch.json", string(patch)))
}

// file is a file that is gone with the test.
func (f *fixture) file(name, content string) string {
	f.t.Helper()
	path := filepath.Join(f.t.TempDir(), name)
	require.NoError(f.t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

// issue makes a certificate for names that is good until a time, signed by an
// authority, or an authority without one, and returns it and its key.
func issue(t *testing.T, authority, authorityKey []byte, until time.Time, names ...string) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: rand.Text()}, DNSNames: names, NotBefore: until.Add(-365 * 24 * time.Hour), NotAfter: until,
		BasicConstraintsValid: true, IsCA: authority == nil,
	}
	parent, signer := template, any(private)
	if authority != nil {
		pair, err := tls.X509KeyPair(authority, authorityKey)
		require.NoError(t, err)
		parent, signer = pair.Leaf, pair.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, private.Public(), signer)
	require.NoError(t, err)
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded}))
}
