package settings

import (
	"testing"

	"github.com/stretchr/testify/require"
)

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
