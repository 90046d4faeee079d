package components

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
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

func TestWithoutTLSNothingIsSaidAboutIt(t *testing.T) {
	t.Parallel()
	s := setup(t, nil, nil)
	require.NotContains(t, s.resources, tlsKey)
	require.NotContains(t, s.volumes(t), "tls")
	for _, argument := range s.arguments(t) {
		require.NotContains(t, argument, "ssl")
	}
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
	s := setup(t, &PostgresArgs{TLS: true, Parameters: Scalars{"ssl_min_protocol_version": "TLSv1.3"}}, nil)
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

func TestInvalidTLSSettings(t *testing.T) {
	t.Parallel()
	const (
		needsTLS = `; set it with: pulumi config set tls true, or remove it with: pulumi config rm `
		names    = `expected DNS names in lower case and IP addresses, like db.example.com or 192.0.2.7; remove it with: pulumi config rm tlsNames`
	)
	for _, test := range []struct {
		config map[string]string
		want   string
	}{
		{map[string]string{"tls": "yes"}, `tls: got "yes", expected true or false; set it with: pulumi config set tls false`},
		{map[string]string{"tls": ""}, `tls: got "", expected true or false; set it with: pulumi config set tls false`},
		{map[string]string{"requireTls": "always"}, `requireTls: got "always", expected true or false; set it with: pulumi config set requireTls false`},
		{map[string]string{"requireTls": "true"}, `requireTls: got "true", expected false without tls, or no client could connect; set it with: pulumi config set tls true, or set it with: pulumi config set requireTls false`},
		{map[string]string{"tlsSecret": "mine"}, `tlsSecret: got "mine", expected no Secret without tls` + needsTLS + `tlsSecret`},
		{map[string]string{"tls": "true", "tlsSecret": "My Secret"}, `tlsSecret: got "My Secret", expected the name of a Secret in the namespace; remove it with: pulumi config rm tlsSecret`},
		{map[string]string{"tls": "true", "tlsSecret": "postgres-tls"}, `tlsSecret: got "postgres-tls", expected another Secret than the component's own; remove it with: pulumi config rm tlsSecret`},
		{map[string]string{"tls": "true", "tlsSecret": "postgres-credentials"}, `tlsSecret: got "postgres-credentials", expected another Secret than the component's own; remove it with: pulumi config rm tlsSecret`},
		{map[string]string{"tlsNames": `["db.example.com"]`}, `tlsNames: got "db.example.com", expected no names without tls` + needsTLS + `tlsNames`},
		{
			map[string]string{"tls": "true", "tlsSecret": "mine", "tlsNames": `["a.example.com", "b.example.com"]`},
			`tlsNames: got "a.example.com,b.example.com", expected no names with tlsSecret, whose certificate has its own; remove it with: pulumi config rm tlsNames, or remove it with: pulumi config rm tlsSecret`,
		},
		{map[string]string{"tls": "true", "tlsNames": "db.example.com"}, `tlsNames: got "db.example.com", expected a list of names, like [db.example.com]; remove it with: pulumi config rm tlsNames`},
		{map[string]string{"tls": "true", "tlsNames": `["DB.example.com"]`}, `tlsNames: got "DB.example.com", ` + names},
		{map[string]string{"tls": "true", "tlsNames": `["db.example.com:5432"]`}, `tlsNames: got "db.example.com:5432", ` + names},
		{map[string]string{"tls": "true", "tlsNames": `["10.0.0.0/8"]`}, `tlsNames: got "10.0.0.0/8", ` + names},
		{map[string]string{"tls": "true", "tlsNames": `["a.*.com"]`}, `tlsNames: got "a.*.com", ` + names},
		{map[string]string{"tls": "true", "tlsNames": `[""]`}, `tlsNames: got "", ` + names},
		{map[string]string{"tls": "true", "tlsNames": `["a", "b", "a"]`}, `tlsNames: got "a", expected each name once; remove it with: pulumi config rm tlsNames`},
		{map[string]string{"parameters": `{"ssl": "on"}`}, `parameters.ssl: got "on", expected a parameter that the component does not set itself; remove it with: pulumi config rm --path parameters.ssl`},
		{map[string]string{"parameters": `{"SSL_key_file": "x"}`}, `parameters.SSL_key_file: got "x", expected a parameter that the component does not set itself; remove it with: pulumi config rm --path parameters.SSL_key_file`},
	} {
		_, err := read(test.config)
		require.EqualError(t, err, "1 setting is invalid, nothing was changed:\n  "+test.want)
		requireFixForPrograms(t, err)
	}
	for _, config := range []map[string]string{
		{"tls": "true", "requireTls": "true"}, {"tls": "true", "tlsSecret": "mine", "requireTls": "true"},
		{"tls": "true", "tlsNames": `["db.example.com", "*.example.com", "192.0.2.7", "2001:db8::1", "db"]`}, {"tls": "false", "requireTls": "false", "tlsNames": "[]", "tlsSecret": ""},
	} {
		_, err := read(config)
		require.NoError(t, err)
	}
}

func TestTLSSecretIsLookedAtBeforeTheServerGetsIt(t *testing.T) {
	t.Parallel()
	args := PostgresArgs{TLS: true, TLSSecret: "mine", Namespace: "shop"}
	good := ownSigned(t, nil)
	const doesNotDo = `tlsSecret: got "mine", expected a Secret with a certificate (tls.crt) and its key (tls.key) that clients accept; this one does not do: `
	for _, test := range []struct {
		name string
		args PostgresArgs
		live existing
		want string
	}{
		{"good", args, existing{tls: &corev1.Secret{Data: map[string][]byte{"tls.crt": good.certificate, "tls.key": good.privateKey}}}, ""},
		{
			"missing", args, existing{},
			`tlsSecret: got "mine", expected a Secret that exists in namespace shop; make it with: kubectl create secret tls mine -n shop --cert=FILE --key=FILE, or remove it with: pulumi config rm tlsSecret`,
		},
		{"not looked at", args, existing{unseen: true}, ""},
		{
			"no certificate", args, existing{tls: &corev1.Secret{Data: map[string][]byte{"password": []byte("x")}}},
			doesNotDo + `it has no tls.crt; replace its content, or remove it with: pulumi config rm tlsSecret`,
		},
		{"not used", PostgresArgs{TLSSecret: "mine"}, existing{}, ""},
		{"made by the component for the first time", PostgresArgs{TLS: true}, existing{}, ""},
		{
			"made by the component before", PostgresArgs{TLS: true},
			existing{tls: &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{annotationFieldManager: "pulumi-p-s"}}}}, "",
		},
		{
			"made by somebody else under the component's name", PostgresArgs{TLS: true, Namespace: "shop"}, existing{tls: &corev1.Secret{}},
			`tls: got "true", expected no Secret postgres-tls in namespace shop that is not the component's; give it another name and set tlsSecret to that, or delete it`,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			wrong := test.args.checkLiveTLSSecret(test.live, birth)
			if test.want == "" {
				require.Nil(t, wrong)
				return
			}
			require.EqualError(t, wrong, test.want)
		})
	}
	require.Equal(t, "mine", args.liveTLSSecret())
	require.Equal(t, "postgres-tls", PostgresArgs{TLS: true}.liveTLSSecret())
	require.Empty(t, PostgresArgs{TLSSecret: "mine"}.liveTLSSecret())
}

func TestLookUpFindsTheCertificate(t *testing.T) {
	t.Parallel()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "mine", Namespace: "shop"}, Data: map[string][]byte{"tls.crt": []byte("x")}}
	client := fake.NewClientset(secret)
	find := func(namespace, name string) (*corev1.Secret, error) {
		return lookUpSecret(context.Background(), client.CoreV1(), namespace, name)
	}
	found, err := find("shop", "mine")
	require.NoError(t, err)
	require.Equal(t, secret.Data, found.Data)
	for _, place := range [][2]string{{"other", "mine"}, {"shop", "other"}, {"shop", ""}} {
		found, err := find(place[0], place[1])
		require.NoError(t, err)
		require.Nil(t, found)
	}
	client.PrependReactor("get", "secrets", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, errors.New("connection refused")
	})
	_, err = find("shop", "mine")
	require.EqualError(t, err, "secret mine in namespace shop: connection refused", "not taken for a Secret that is not there")
}
