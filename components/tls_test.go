package components

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/stretchr/testify/require"

	"stateful-postgres/components/settings"
)

const tlsKey = "kubernetes:core/v1:Secret/postgres-tls"

func (s *stack) volumes(t *testing.T) map[string]map[string]any {
	t.Helper()
	volumes := map[string]map[string]any{}
	for _, volume := range s.input(t, setKey, "spec", "template", "spec", "volumes").([]any) {
		volume := volume.(map[string]any)
		volumes[volume["name"].(string)] = volume
	}
	return volumes
}

// arguments are the parameters on the server's command line.
func (s *stack) arguments(t *testing.T) []any {
	t.Helper()
	return slices.DeleteFunc(s.container(t, "command").([]any)[2:], func(argument any) bool { return argument == "-c" })
}

// accepted is what a client that trusts an authority says to a certificate.
func accepted(t *testing.T, authority, certificate []byte, name string, now time.Time) error {
	t.Helper()
	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM(authority))
	block, _ := pem.Decode(certificate)
	require.NotNil(t, block)
	leaf, err := x509.ParseCertificate(block.Bytes)
	require.NoError(t, err)
	_, err = leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name, CurrentTime: now})
	return err
}

func TestWithoutTLSItIsOff(t *testing.T) {
	t.Parallel()
	s := setup(t, nil, nil)
	require.NotContains(t, s.resources, tlsKey)
	require.NotContains(t, s.volumes(t), "tls")
	tls := slices.DeleteFunc(s.arguments(t), func(argument any) bool { return !strings.HasPrefix(argument.(string), "ssl") })
	require.Equal(t, []any{"ssl=off"}, tls, "whatever ALTER SYSTEM says: there is no certificate")
	require.NotContains(t, s.input(t, configKey, "data", "postgresql.conf"), "ssl")
	require.Equal(t, []any{false, false, "", ""},
		[]any{s.outputs["tls"], s.outputs["requireTls"], s.outputs["caCertificate"], s.outputs["tlsServerName"]})
}

func TestTLSWithACertificateOfTheComponents(t *testing.T) {
	t.Parallel()
	s := setup(t, &PostgresArgs{Namespace: "shop", TLS: true, TLSNames: []string{"db.example.com"}}, nil)
	require.Equal(t, "postgres-tls", s.input(t, tlsKey, "metadata", "name"))
	require.Equal(t, "kubernetes.io/tls", s.input(t, tlsKey, "type"))
	require.True(t, s.resources[tlsKey].RegisterRPC.GetRetainOnDelete(), "clients go on trusting the authority")
	require.False(t, setup(t, &PostgresArgs{TLS: true, DeleteData: true}, nil).resources[tlsKey].RegisterRPC.GetRetainOnDelete())
	require.True(t, s.resources[tlsKey].Inputs["data"].ContainsSecrets(), "encrypted in the state")
	require.True(t, slices.ContainsFunc(s.resources[setKey].RegisterRPC.GetDependencies(), func(urn string) bool {
		return strings.HasSuffix(urn, "core/v1:Secret::postgres-tls")
	}), "there before the pod needs it")

	content := map[string][]byte{}
	for key, encoded := range s.input(t, tlsKey, "data").(map[string]any) {
		var err error
		content[key], err = base64.StdEncoding.DecodeString(encoded.(string))
		require.NoError(t, err)
	}
	require.Equal(t, string(content["ca.crt"]), s.outputs["caCertificate"])
	require.Equal(t, "postgres.shop.svc", s.outputs["tlsServerName"])
	require.Equal(t, []any{true, false}, []any{s.outputs["tls"], s.outputs["requireTls"]})
	require.NotContains(t, s.secrets, "caCertificate", "it is what every client is given")
	for _, name := range []string{s.outputs["tlsServerName"].(string), "db.example.com"} {
		require.NoError(t, accepted(t, content["ca.crt"], content["tls.crt"], name, time.Now()))
	}

	volume := s.volumes(t)["tls"]["secret"].(map[string]any)
	require.Equal(t, "postgres-tls", volume["secretName"])
	require.Equal(t, []any{map[string]any{"key": "tls.crt", "path": "tls.crt"}, map[string]any{"key": "tls.key", "path": "tls.key"}},
		volume["items"], "the authority's key is not in the pod")
	require.Equal(t, 0o440, int(volume["defaultMode"].(float64)))
	require.Contains(t, s.container(t, "volumeMounts"), map[string]any{"name": "tls", "mountPath": "/run/secrets/postgres-tls", "readOnly": true})
	require.Subset(t, s.arguments(t), []any{
		"ssl=on", "ssl_cert_file=/run/secrets/postgres-tls/tls.crt", "ssl_key_file=/run/secrets/postgres-tls/tls.key",
	})
	require.Equal(t, "/etc/stateful-postgres/postgresql.conf /etc/stateful-postgres/pg_hba.conf "+
		"/run/secrets/postgres-tls/tls.crt /run/secrets/postgres-tls/tls.key", s.env(t)["RELOADED_FILES"])
}

func TestOldVersionsOfTLSAreRefusedUnlessTheParametersSayOtherwise(t *testing.T) {
	t.Parallel()
	s := setup(t, &PostgresArgs{TLS: true, Parameters: settings.Scalars{"ssl_min_protocol_version": "TLSv1.3"}}, nil)
	require.Equal(t, "include_if_exists = '/var/lib/postgredb/pgdata/postgresql.conf'\n"+
		"ssl_min_protocol_version = 'TLSv1.2'\nssl_min_protocol_version = 'TLSv1.3'\n",
		s.input(t, configKey, "data", "postgresql.conf"), "the last one counts")
}

func TestPrivateKeysAreNowhereButInTheSecret(t *testing.T) {
	t.Parallel()
	s := setup(t, &PostgresArgs{TLS: true}, nil)
	data := s.input(t, tlsKey, "data").(map[string]any)
	for _, name := range []string{"tls.key", "ca.key"} {
		encoded := data[name].(string)
		text, err := base64.StdEncoding.DecodeString(encoded)
		require.NoError(t, err)
		require.Contains(t, string(text), "PRIVATE KEY")
		for key, args := range s.resources {
			inputs, err := json.Marshal(plain(resource.NewProperty(args.Inputs)))
			require.NoError(t, err)
			require.Equal(t, key == tlsKey, strings.Contains(string(inputs), encoded), "%s in %s", name, key)
			require.NotContains(t, string(inputs), "PRIVATE KEY", key)
		}
		for output, value := range s.outputs {
			require.NotContains(t, fmt.Sprint(value), string(text), output)
		}
	}
}

func TestOnlyAnotherAuthorityReplacesThePod(t *testing.T) {
	t.Parallel()
	annotations := func(args PostgresArgs) map[string]any {
		return setup(t, &args, nil).input(t, setKey, "spec", "template", "metadata", "annotations").(map[string]any)
	}
	first, second := annotations(PostgresArgs{TLS: true}), annotations(PostgresArgs{TLS: true, RequireTLS: true})
	require.NotEqual(t, first["checksum/authority"], second["checksum/authority"], "each run without a cluster makes one")
	require.Equal(t, first["checksum/config"], second["checksum/config"], "requireTls is a reload")
	require.NotContains(t, annotations(PostgresArgs{}), "checksum/authority")
	require.NotContains(t, annotations(PostgresArgs{TLS: true, TLSSecret: "mine"}), "checksum/authority", "content that comes from elsewhere is a reload")
}

func TestTLSWithACertificateOfOnesOwn(t *testing.T) {
	t.Parallel()
	s := setup(t, &PostgresArgs{TLS: true, TLSSecret: "mine"}, nil)
	require.NotContains(t, s.resources, tlsKey)
	require.Equal(t, "mine", s.volumes(t)["tls"]["secret"].(map[string]any)["secretName"])
	require.Contains(t, s.arguments(t), "ssl=on")
}

func TestPlainConnectionsAreRefused(t *testing.T) {
	t.Parallel()
	s := setup(t, &PostgresArgs{TLS: true, RequireTLS: true}, nil)
	require.Equal(t, "local all all trust\nlocal replication all trust\nhostnossl all all all reject\nhost all all all scram-sha-256\n",
		s.input(t, configKey, "data", "pg_hba.conf"))
	require.Equal(t, true, s.outputs["requireTls"])
	require.NotContains(t, setup(t, &PostgresArgs{TLS: true}, nil).input(t, configKey, "data", "pg_hba.conf"), "hostnossl")
}

func TestCertificateIsNotExchangedWhereNothingWasLookedAt(t *testing.T) {
	t.Parallel()
	s := setup(t, &PostgresArgs{TLS: true}, map[string]string{"kubernetes:renderYamlToDirectory": "x"})
	require.Equal(t, []string{"data"}, s.resources[tlsKey].RegisterRPC.GetIgnoreChanges())
}
