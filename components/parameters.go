package components

import (
	_ "embed"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// configFile is the server's configuration, below scriptsPath: what initdb wrote
// on the volume, and after it the parameters of the settings.
const configFile = "postgresql.conf"

// reloadableNames are the parameters that a running server takes over: those of
// pg_settings whose context is not postmaster, in PostgreSQL 15. One that is not
// among them, be it of an extension or of a later release, restarts the server.
//
//go:embed reloadable.txt
var reloadableNames string

var reloadable = strings.Fields(reloadableNames)

// parameterName is the name of a parameter of the server or of an extension.
var parameterName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_$]*)?$`)

// ownParameters are those that the component itself depends on.
var ownParameters = []string{
	"config_file", "data_directory", "external_pid_file", "hba_file", "ident_file", "listen_addresses",
	"password_encryption", "port", "ssl", "ssl_cert_file", "ssl_key_file", "unix_socket_directories", "unix_socket_permissions",
}

func (a PostgresArgs) checkParameters() *InvalidSetting {
	for _, name := range slices.Sorted(maps.Keys(a.Parameters)) {
		at := "parameters." + name
		value := a.Parameters[name]
		switch {
		case !parameterName.MatchString(name):
			return invalid("parameters", name, "the name of a parameter of PostgreSQL", unset("parameters"))
		case slices.Contains(ownParameters, strings.ToLower(name)):
			return invalid(at, value, "a parameter that the component does not set itself", "remove it with: pulumi config rm --path "+at)
		case strings.ContainsFunc(value, unicode.IsControl):
			return invalid(at, value, "a value without a line break or another control character", unsetPath(at))
		}
	}
	return nil
}

// serverConfig is the content of the configuration file.
func (a PostgresArgs) serverConfig() string {
	var text strings.Builder
	fmt.Fprintf(&text, "include_if_exists = '%s/postgresql.conf'\n", dataPath)
	if a.TLS {
		fmt.Fprintf(&text, "ssl_min_protocol_version = '%s'\n", minProtocol)
	}
	for _, name := range slices.Sorted(maps.Keys(a.Parameters)) {
		fmt.Fprintf(&text, "%s = '%s'\n", name, quoteParameter.Replace(a.Parameters[name]))
	}
	return text.String()
}

var quoteParameter = strings.NewReplacer(`\`, `\\`, `'`, `''`)

// restartParameters are the parameters that only a restart brings into effect.
func (a PostgresArgs) restartParameters() map[string]string {
	restart := map[string]string{}
	for name, value := range a.Parameters {
		if !slices.Contains(reloadable, strings.ToLower(name)) && !slices.Contains(reloadable, name) {
			restart[name] = value
		}
	}
	return restart
}
