package components

import (
	"path"
	"strings"
)

// accessFile says who may log in and how, below scriptsPath. It takes the place
// of the pg_hba.conf on the volume, which is as the image's first start left it.
const accessFile = "pg_hba.conf"

// access is the content of the file. The socket inside the pod is how the
// server's role follows the Secret and how the probes look at the server; whoever
// is in the pod could read the files of the database anyway. Everybody else
// needs the password, and what no line names is refused: replication among it.
func (a PostgresArgs) access() string {
	lines := []string{
		"local all all trust",
		"local replication all trust",
	}
	if a.RequireTLS {
		// A line that rejects makes a plainer answer than one that is missing.
		lines = append(lines, "hostnossl all all all reject")
	}
	return strings.Join(append(lines, "host all all all scram-sha-256"), "\n") + "\n"
}

// serverArguments are the parameters that the component itself depends on. On
// the server's command line they cannot be overridden by what somebody left in
// the data directory, be it with ALTER SYSTEM or with an editor.
func (a PostgresArgs) serverArguments() []string {
	var arguments []string
	set := func(name, value string) { arguments = append(arguments, "-c", name+"="+value) }
	set("config_file", path.Join(scriptsPath, configFile))
	set("hba_file", path.Join(scriptsPath, accessFile))
	// PostgreSQL itself listens on localhost alone.
	set("listen_addresses", "*")
	set("password_encryption", "scram-sha-256")
	if a.TLS {
		set("ssl", "on")
		set("ssl_cert_file", certificateFile)
		set("ssl_key_file", privateKeyFile)
	}
	return arguments
}

// reloadedFiles are the files that a running server takes over when they change.
func (a PostgresArgs) reloadedFiles() []string {
	files := []string{path.Join(scriptsPath, configFile), path.Join(scriptsPath, accessFile)}
	if a.TLS {
		files = append(files, certificateFile, privateKeyFile)
	}
	return files
}
