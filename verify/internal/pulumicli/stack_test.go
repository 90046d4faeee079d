package pulumicli_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stateful-postgres/internal/contract"
	"stateful-postgres/verify/internal/pulumicli"
)

const outputs = `{"namespace":"codewizard","statefulSet":"postgres","service":"postgres","headlessService":"postgres-headless",
"claim":"postgredb-postgres-0","configMap":"postgres-config","secret":"postgres-credentials","database":"codewizard","user":"codewizard",
"password":"not-a-real-one","replicas":1,"serviceType":"NodePort","port":5432,"nodePort":30432,"tls":true,"requireTls":true,"caCertificate":"PEM","tlsServerName":"postgres.codewizard.svc","context":"kind","cluster":"other","kubeconfig":"~/kubeconfig"}`

// fakeCLI puts a pulumi on PATH that answers as the script says. The tests that use it are not
// parallel: PATH belongs to the process.
func fakeCLI(t *testing.T, script string) {
	t.Helper()
	directory := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(directory, "pulumi"), []byte("#!/bin/sh\n"+script), 0o755))
	t.Setenv("PATH", directory+":/usr/bin:/bin")
}

func TestReadReturnsWhatTheStackExports(t *testing.T) {
	fakeCLI(t, `case "$*" in
		*--show-name*) echo dev;;
		*"--stack prod"*) echo '`+outputs+`' | sed s/codewizard/prod/g;;
		*output*) echo '`+outputs+`';;
	esac`)
	selected, err := pulumicli.Read(t.Context(), t.TempDir(), "")
	require.NoError(t, err)
	require.Equal(t, "dev", selected.Name)
	require.Equal(t, contract.Outputs{
		Namespace: "codewizard", StatefulSet: "postgres", Service: "postgres", HeadlessService: "postgres-headless",
		Claim: "postgredb-postgres-0", Database: "codewizard", User: "codewizard", Password: "not-a-real-one",
		Replicas: 1, Port: 5432, Context: "kind", Cluster: "other", Kubeconfig: "~/kubeconfig",
		TLS: true, RequireTLS: true, CACertificate: "PEM", TLSServerName: "postgres.codewizard.svc",
	}, selected.Outputs)

	named, err := pulumicli.Read(t.Context(), t.TempDir(), "prod")
	require.NoError(t, err)
	require.Equal(t, "prod", named.Outputs.Namespace)
	require.Equal(t, "prod", named.Name)
}

func TestReadSaysWhatToDo(t *testing.T) {
	for name, test := range map[string]struct {
		script  string
		stack   string
		problem string
		hint    string
		usage   bool
	}{
		"no stack selected":  {"echo 'error: no stack selected; please use x' >&2; exit 1", "", "no stack is selected", "pulumi stack select", true},
		"no such stack":      {"echo \"error: no stack named 'x' found\" >&2; exit 1", "x", `no stack "x"`, "pulumi stack ls", true},
		"never deployed":     {"case \"$*\" in *output*) echo '{}';; *) echo dev;; esac", "", `stack "dev" has never been deployed`, "pulumi up", false},
		"another program":    {"case \"$*\" in *output*) echo '{\"url\":\"x\"}';; *) echo dev;; esac", "", "lacks the outputs namespace, statefulSet", "--namespace", false},
		"not JSON":           {"case \"$*\" in *output*) echo not-a-real-one;; *) echo dev;; esac", "", "do not fit", "pulumi up", false},
		"wrong type":         {"case \"$*\" in *output*) echo '{\"replicas\":\"one\"}';; *) echo dev;; esac", "", "do not fit", "pulumi up", false},
		"passphrase missing": {"echo 'error: getting stack: passphrase must be set with PULUMI_CONFIG_PASSPHRASE' >&2; exit 255", "", "secrets cannot be read", ".local/env", false},
		"anything else":      {"echo 'warning: x' >&2; echo 'error: disk on fire' >&2; exit 3", "", "disk on fire", "by hand", false},
		"no word":            {"exit 3", "", "exit status 3", "by hand", false},
	} {
		t.Run(name, func(t *testing.T) {
			fakeCLI(t, test.script)
			_, err := pulumicli.Read(t.Context(), t.TempDir(), test.stack)
			var explained *pulumicli.Error
			require.ErrorAs(t, err, &explained)
			require.Contains(t, explained.Problem, test.problem)
			require.Contains(t, explained.Hint, test.hint)
			require.Equal(t, test.usage, explained.Usage)
			require.NotContains(t, explained.Problem, "not-a-real-one", "outputs may hold the password")
			require.NotContains(t, explained.Problem, "\n")
		})
	}
}

func TestReadNeedsTheCLI(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := pulumicli.Read(t.Context(), t.TempDir(), "")
	var explained *pulumicli.Error
	require.ErrorAs(t, err, &explained)
	require.Contains(t, explained.Problem, "not on PATH")
	require.False(t, explained.Usage)
}

func TestReadHasADeadline(t *testing.T) {
	fakeCLI(t, "exec sleep 60")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	started := time.Now()
	_, err := pulumicli.Read(ctx, t.TempDir(), "")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Less(t, time.Since(started), 10*time.Second)
}

func TestFindProjectLooksUpwards(t *testing.T) {
	t.Parallel()
	top, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	below := filepath.Join(top, "a", "b")
	require.NoError(t, os.MkdirAll(below, 0o755))
	_, err = pulumicli.FindProject(below)
	var explained *pulumicli.Error
	require.ErrorAs(t, err, &explained)
	require.True(t, explained.Usage)
	require.NoError(t, os.WriteFile(filepath.Join(top, "Pulumi.yaml"), nil, 0o644))
	found, err := pulumicli.FindProject(below)
	require.NoError(t, err)
	require.Equal(t, top, found)
}
