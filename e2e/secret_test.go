package e2e

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stateful-postgres/internal/process"
)

func TestPasswordIsNowhereInPlainText(t *testing.T) {
	for _, source := range []string{"set", "generated"} {
		t.Run(source, func(t *testing.T) {
			t.Parallel()
			f := setup(t, "secret")
			password := ""
			if source == "set" {
				password = rand.Text()
				f.ok(f.SetSecret(f.ctx, "password", password))
			}

			processes := watchProcesses(t, f.ctx)
			seen := map[string]string{}
			seen["output of pulumi preview"] = f.ok(f.Preview(f.ctx, "--diff"))
			seen["output of pulumi up"] = f.up(1)
			seen["output of verify"] = f.verify(proven)
			seen["log of the pod"] = f.kubectl("logs", pod)
			seen["process list of the pod"] = f.kubectl("exec", pod, "--", "sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
			seen["pod"] = f.kubectl("get", "pod", "--output=yaml")
			f.up(0)
			seen["output of verify at zero"] = f.verify(proven)
			f.up(1)
			seen["log of the next pod"] = f.kubectl("logs", pod)
			seen["StatefulSet"] = f.kubectl("get", "statefulset", "--output=yaml")
			seen["ConfigMap"] = f.kubectl("get", "configmap", "--output=yaml")
			seen["events"] = f.kubectl("get", "events", "--output=yaml")
			seen["pulumi stack output"] = f.ok(f.Run(f.ctx, "pulumi", "stack", "output", "--stack", f.Name))
			seen["exported checkpoint"] = f.ok(f.Export(f.ctx))
			seen["state, settings and ledger on disk"] = filesBelow(t, f.StateFolder()) + filesBelow(t, f.Folder)
			seen["process list of the machine"] = processes()

			inEffect := f.outputs()["password"].(string)
			if password == "" {
				password = inEffect
			}
			require.Equal(t, password, inEffect)
			encoded := base64.StdEncoding.EncodeToString([]byte(password))
			require.Equal(t, encoded, f.kubectl("get", "secret", "postgres-credentials", "--output=jsonpath={.data.POSTGRES_PASSWORD}"))

			// Each place was really looked at: it holds what it has to.
			for place, mark := range map[string]string{
				"log of the pod":                     "database system is ready",
				"process list of the pod":            "postgres",
				"process list of the machine":        f.Name,
				"exported checkpoint":                f.Namespace,
				"state, settings and ledger on disk": f.Namespace,
				"StatefulSet":                        "POSTGRES_PASSWORD_FILE",
				"ConfigMap":                          "POSTGRES_DB",
				"events":                             pod,
				"pulumi stack output":                "password",
			} {
				require.Contains(t, seen[place], mark, place)
			}
			for place, content := range seen {
				require.False(t, strings.Contains(content, password), "%s holds the password", place)
				require.False(t, strings.Contains(content, encoded), "%s holds the password in base64", place)
			}
		})
	}
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
