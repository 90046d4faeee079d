package cluster

import (
	"fmt"
	"os"
	"strings"

	"stateful-postgres/local/internal/layout"
)

// Passphrase encrypts the secrets of the local cluster's stacks. It is public,
// since their state lies beside it, readable by its owner alone: whoever can
// read that state could read a passphrase too. Stacks of one's own clusters
// have their own.
const Passphrase = "local-cluster-only"

// Env returns the lines that a POSIX shell needs to use the local cluster and,
// where it was built, the pinned Pulumi toolchain.
func Env(l layout.Layout) string {
	var b strings.Builder
	export := func(name, value string) { fmt.Fprintf(&b, "export %s=%s\n", name, quote(value)) }
	fmt.Fprintf(&b, "# What a shell needs for the local cluster; made by localkube up.\n")
	fmt.Fprintf(&b, "case \":$PATH:\" in *:%[1]s:*) ;; *) export PATH=%[1]s:\"$PATH\" ;; esac\n", quote(l.Bin()))
	export("KUBECONFIG", l.Kubeconfig())
	// Without metadata=skip the backend writes a second file beside each
	// checkpoint, not in one piece: a kill in between leaves a stack that
	// cannot be loaded ("failed to load checkpoint: EOF").
	export("PULUMI_BACKEND_URL", "file://"+l.PulumiState()+"?metadata=skip")
	export("PULUMI_CONFIG_PASSPHRASE", Passphrase)
	export("PULUMI_SKIP_UPDATE_CHECK", "true")
	// The language host and `go run ./verify` find the packages that set-up
	// compiled only under the same key of Go's build cache.
	export("CGO_ENABLED", "0")
	// The Pulumi CLI and the provider live for a second or two, and spend a fifth
	// of their time on collecting garbage.
	export("GOGC", "400")
	if _, err := os.Stat(l.Binary("pulumi")); err == nil {
		export("PULUMI_HOME", l.PulumiHome())
		export("PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION", "true")
	}
	return b.String()
}

// writeEnv keeps Env in a file for shells to source, and makes the folder of
// the stacks' state, which Pulumi expects to be there.
func (c *Cluster) writeEnv() error {
	if err := os.MkdirAll(c.Layout.PulumiState(), 0o700); err != nil {
		return err
	}
	return layout.WriteFile(c.Layout.Env(), []byte(Env(c.Layout)), 0o600)
}

// quote makes any string one word of a POSIX shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
