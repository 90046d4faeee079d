package objects

import (
	_ "embed"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"stateful-postgres/components/settings"
	"stateful-postgres/internal/contract"
)

// Files of the server, below contract.ScriptsPath. configFile takes in what
// initdb wrote on the volume, and after it has the parameters of the settings.
// accessFile says who may log in and how; it takes the place of the pg_hba.conf on
// the volume, which is as the image's first start left it.
const (
	configFile = "postgresql.conf"
	accessFile = "pg_hba.conf"
)

// minProtocol is the oldest version of TLS that a client may use, unless the
// parameters say something else.
const minProtocol = "TLSv1.2"

// reloadableNames are the parameters that a running server takes over: those of
// pg_settings whose context is not postmaster, in PostgreSQL 15. One that is not
// among them, be it of an extension or of a later release, restarts the server.
//
//go:embed reloadable.txt
var reloadableNames string

var reloadable = strings.Fields(reloadableNames)

// serverConfig is the content of the configuration file.
func serverConfig(a settings.Args) string {
	var text strings.Builder
	fmt.Fprintf(&text, "include_if_exists = '%s/postgresql.conf'\n", contract.DataPath)
	if a.TLS {
		fmt.Fprintf(&text, "ssl_min_protocol_version = '%s'\n", minProtocol)
	}
	for _, name := range slices.Sorted(maps.Keys(a.Parameters)) {
		if !isAgreed(a, name) {
			fmt.Fprintf(&text, "%s = '%s'\n", name, quoteParameter.Replace(a.Parameters[name]))
		}
	}
	return text.String()
}

var quoteParameter = strings.NewReplacer(`\`, `\\`, `'`, `''`)

// restartParameters are the parameters that only a restart brings into effect,
// and those of TLS: a running server leaves out what it cannot use of them, and
// the next start would fail.
func restartParameters(a settings.Args) map[string]string {
	restart := map[string]string{}
	for name, value := range a.Parameters {
		lower := strings.ToLower(name)
		if isAgreed(a, name) {
			continue
		}
		if !slices.Contains(reloadable, lower) && !slices.Contains(reloadable, name) || strings.HasPrefix(lower, "ssl_") {
			restart[name] = value
		}
	}
	return restart
}

// isAgreed says that Patroni hands a parameter to all members.
func isAgreed(a settings.Args, name string) bool {
	_, found := agreedParameters[strings.ToLower(name)]
	return a.HighAvailability && found
}

// access is the content of accessFile. The socket inside the pod is how the
// server's role follows the Secret and how the probes look at the server; whoever
// is in the pod could read the files of the database anyway. Everybody else
// needs the password, and what no line names is refused: replication among it.
func access(a settings.Args) string {
	lines := []string{
		"local all all trust",
		"local replication all trust",
	}
	if a.RequireTLS {
		// A line that rejects makes a plainer answer than one that is missing.
		lines = append(lines, "hostnossl all all all reject")
		if a.HighAvailability {
			lines = append(lines, "hostnossl replication all all reject")
		}
	}
	if a.HighAvailability {
		lines = append(lines, "host replication "+contract.ReplicationUser+" all scram-sha-256")
	}
	return strings.Join(append(lines, "host all all all scram-sha-256"), "\n") + "\n"
}

var (
	certificateFile = path.Join(contract.TLSPath, contract.CertificateKey)
	privateKeyFile  = path.Join(contract.TLSPath, contract.PrivateKeyKey)
)

// serverArguments are the parameters that the component itself depends on, and
// those of the settings that a restart brings into effect. On the server's
// command line they cannot be overridden by what somebody left in the data
// directory, be it with ALTER SYSTEM or with an editor. So a setting repairs a
// server that does not start with what ALTER SYSTEM has set.
func serverArguments(a settings.Args) []string {
	var arguments []string
	set := func(name, value string) {
		// Kubernetes would look for references to variables.
		arguments = append(arguments, "-c", strings.ReplaceAll(name+"="+value, "$", "$$"))
	}
	if !a.HighAvailability {
		// Patroni's own file takes it in.
		set("config_file", path.Join(contract.ScriptsPath, configFile))
	}
	set("hba_file", path.Join(contract.ScriptsPath, accessFile))
	// PostgreSQL itself listens on localhost alone.
	set("listen_addresses", "*")
	set("password_encryption", "scram-sha-256")
	// Where the Services lead, and where the probes and whoever is in the pod
	// find the socket.
	set("port", strconv.Itoa(contract.Port))
	set("unix_socket_directories", socketPath)
	set("unix_socket_group", "")
	set("unix_socket_permissions", "0777")
	if a.TLS {
		set("ssl", "on")
		set("ssl_cert_file", certificateFile)
		set("ssl_key_file", privateKeyFile)
	} else {
		set("ssl", "off")
	}
	restart := restartParameters(a)
	for _, name := range slices.Sorted(maps.Keys(restart)) {
		set(name, restart[name])
	}
	return arguments
}

// reloadedFiles are the files that a running server takes over when they change.
func reloadedFiles(a settings.Args) []string {
	files := []string{path.Join(contract.ScriptsPath, configFile), path.Join(contract.ScriptsPath, accessFile)}
	if a.TLS {
		files = append(files, certificateFile, privateKeyFile)
	}
	return files
}
