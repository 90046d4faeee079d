package e2e

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stateful-postgres/internal/contract"
	"stateful-postgres/internal/process"
)

func TestSecretsAreNowhereInPlainText(t *testing.T) {
	t.Parallel()
	for _, source := range []string{"set", "generated"} {
		t.Run(source, func(t *testing.T) {
			t.Parallel()
			f := setup(t, "secret")
			passwords := []string{rand.Text(), rand.Text()}
			if source == "set" {
				f.ok(f.SetSecret(f.ctx, "password", passwords[0]))
			}
			// The check of the parameters and the certificate are part of the life.
			f.ok(f.SetPath(f.ctx, "parameters.work_mem", "8MB"))
			f.ok(f.Set(f.ctx, "tls", "true"))

			processes := watchProcesses(t, f.ctx)
			seen := map[string]string{}
			seen["output of pulumi preview"] = f.ok(f.Preview(f.ctx, "--diff"))
			seen["output of pulumi preview as JSON"] = f.ok(f.Preview(f.ctx, "--json"))
			seen["output of pulumi up"] = f.ok(f.Up(f.ctx, "--diff"))
			seen["output of verify"] = f.verify(proven)
			seen["log of the pod"] = f.kubectl("logs", pod)
			seen["process list of the pod"] = f.kubectl("exec", pod, "--", "sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
			seen["environments of the pod"] = f.kubectl("exec", pod, "--", "sh", "-c", "cat /proc/[0-9]*/environ | tr '\\0' ' '")
			seen["pods"] = f.kubectl("get", "pod", "--output=yaml")
			seen["log of the check"] = "check:" + f.kubectl("logs", "--selector=app.kubernetes.io/name=postgres-check", "--tail=-1")
			seen["Job"] = f.kubectl("get", "job", "--output=yaml")
			f.up(0)
			seen["output of verify at zero"] = f.verify(proven)
			f.up(1)
			if source == "generated" {
				passwords[0] = f.outputs()["password"].(string)
			}
			require.Equal(t, passwords[0], f.outputs()["password"])
			key := f.kubectl("get", "secret", contract.TLSSecret, `--output=jsonpath={.data.tls\.key}`)

			f.ok(f.SetSecret(f.ctx, "password", passwords[1]))
			seen["preview of the rotation"] = f.ok(f.Preview(f.ctx, "--diff"))
			seen["output of the rotation"] = f.ok(f.Up(f.ctx, "--diff"))
			require.Equal(t, passwords[1], f.outputs()["password"])
			f.verify(proven)
			seen["log of the next pod"] = f.kubectl("logs", pod)
			seen["StatefulSet"] = f.kubectl("get", "statefulset", "--output=yaml")
			seen["revisions"] = f.kubectl("get", "controllerrevision", "--output=yaml")
			seen["ConfigMap"] = f.kubectl("get", "configmap", "--output=yaml")
			seen["pulumi stack output"] = f.ok(f.Run(f.ctx, "pulumi", "stack", "output", "--stack", f.Name))
			seen["pulumi stack history"] = f.ok(f.Run(f.ctx, "pulumi", "stack", "history", "--json", "--full-dates", "--stack", f.Name))
			seen["exported checkpoint"] = f.ok(f.Export(f.ctx))
			encoded := f.kubectl("get", "secret", contract.CredentialsSecret, "--output=jsonpath={.data.POSTGRES_PASSWORD}")
			require.Equal(t, base64.StdEncoding.EncodeToString([]byte(passwords[1])), encoded)

			seen["output of pulumi destroy"] = f.ok(f.Destroy(f.ctx))
			seen["events"] = f.kubectl("get", "events", "--output=yaml")
			// With its history and backups.
			seen["state, settings and ledger on disk"] = filesBelow(t, f.StateFolder()) + filesBelow(t, f.Folder)
			seen["process list of the machine"] = processes()
			if logs := clusterLogs(); logs != "" {
				seen["logs of the cluster"] = filesBelow(t, logs)
				require.Contains(t, seen["logs of the cluster"], f.Namespace)
			} else {
				t.Log("the logs of kubelet and container runtime are not on this machine, and were not searched")
			}

			// Each place was really looked at: it holds what it has to.
			for place, mark := range map[string]string{
				"output of pulumi preview as JSON":   "postgres-credentials",
				"output of pulumi up":                "postgres-credentials",
				"output of the rotation":             "postgres-credentials",
				"log of the pod":                     "database system is ready",
				"log of the next pod":                "database system is ready",
				"process list of the pod":            "postgres",
				"environments of the pod":            "POSTGRES_PASSWORD_FILE",
				"process list of the machine":        f.Name,
				"exported checkpoint":                f.Namespace,
				"state, settings and ledger on disk": f.Namespace,
				"pods":                               "postgres-check",
				"Job":                                "work_mem",
				"StatefulSet":                        "POSTGRES_PASSWORD_FILE",
				"revisions":                          "POSTGRES_PASSWORD_FILE",
				"ConfigMap":                          "POSTGRES_DB",
				"events":                             pod,
				"pulumi stack output":                "password",
				"pulumi stack history":               "update",
				"output of pulumi destroy":           "deleted",
			} {
				require.Contains(t, seen[place], mark, place)
			}
			pem, err := base64.StdEncoding.DecodeString(key)
			require.NoError(t, err)
			lines := strings.Split(string(pem), "\n")
			require.Contains(t, lines[0], "PRIVATE KEY")
			secrets := map[string]string{"the private key": lines[1], "the private key in base64": key}
			for i, password := range passwords {
				secrets[fmt.Sprintf("password %d", i)] = password
				secrets[fmt.Sprintf("password %d in base64", i)] = base64.StdEncoding.EncodeToString([]byte(password))
			}
			for place, content := range seen {
				for name, secret := range secrets {
					require.NotEmpty(t, secret, name)
					require.False(t, strings.Contains(content, secret), "%s holds %s", place, name)
				}
			}
		})
	}
}

// clusterLogs is the folder of the logs of the local cluster's programs, which
// is next to its kubeconfig; "" for a cluster that is elsewhere.
func clusterLogs() string {
	folder := filepath.Join(filepath.Dir(os.Getenv("KUBECONFIG")), "log")
	if nodes, err := filepath.Glob(filepath.Join(folder, "node-*")); err != nil || len(nodes) == 0 {
		return ""
	}
	return folder
}

// filesBelow is the content of all files below a folder.
func filesBelow(t *testing.T, folder string) string {
	t.Helper()
	var all strings.Builder
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			// The lock of another test's stack.
			return nil
		}
		all.Write(content)
		return err
	})
	require.NoError(t, err)
	return all.String()
}

// watchProcesses reads the command lines of all processes of this machine over
// and over, and returns a function that ends that and returns what was read.
// The local cluster's processes are among them.
func watchProcesses(t *testing.T, ctx context.Context) func() string {
	ctx, stop := context.WithCancel(ctx)
	t.Cleanup(stop)
	result := make(chan string, 1)
	go func() {
		lines := map[string]bool{}
		for ctx.Err() == nil {
			all, err := process.All()
			if err != nil {
				t.Errorf("process list: %v", err)
				break
			}
			for _, pid := range all {
				lines[strings.Join(process.CommandLine(pid), " ")] = true
			}
			select {
			case <-ctx.Done():
			case <-time.After(pollInterval / 10):
			}
		}
		var all strings.Builder
		for line := range lines {
			all.WriteString(line + "\n")
		}
		result <- all.String()
	}()
	return func() string {
		stop()
		return <-result
	}
}
