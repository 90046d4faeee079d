package e2e

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stateful-postgres/internal/contract"
	"stateful-postgres/internal/stack"
)

// Set-ups by hand that are known to lose data, made of the lab's own. None of them is
// this program's.

// lab deploys the lab's objects, with something replaced, and waits for its server.
func (f *fixture) lab(replacements ...string) {
	f.t.Helper()
	f.createNamespace()
	f.ok(f.pipe(f.labManifest(replacements...), "apply"))
	f.untilLabServes(pod)
}

func (f *fixture) labManifest(replacements ...string) []byte {
	f.t.Helper()
	manifest, err := os.ReadFile("testdata/lab.yaml")
	require.NoError(f.t, err)
	text := string(manifest)
	for i := 0; i < len(replacements); i += 2 {
		require.Contains(f.t, text, replacements[i])
		text = strings.ReplaceAll(text, replacements[i], replacements[i+1])
	}
	return []byte(strings.Replace(text, "image: postgres\n", "image: "+f.Image+"\n", 1))
}

func (f *fixture) untilLabServes(pod string) {
	f.t.Helper()
	f.eventually("the server of "+pod, 4*time.Minute, func() (string, bool) {
		seen := f.Kubectl(f.ctx, "exec", pod, "--", "pg_isready", "--host=127.0.0.1")
		return seen.String(), seen.OK()
	})
}

// inNamespace is verify durability without Pulumi.
func (f *fixture) inNamespace(flags ...string) []string {
	return append([]string{workspace.Verify, "durability", "--namespace", f.Namespace, "--ledger", f.Ledger(), "--output", "json"}, flags...)
}

func TestDurabilityFindsAVolumeThatGoesWithItsPod(t *testing.T) {
	t.Parallel()
	f := setup(t, "emptydir")
	f.lab("persistentVolumeClaim:\n          claimName: postgres-pv-claim", "emptyDir: {}")
	said := f.readDurability(violated, f.Run(f.ctx, f.inNamespace("--fault", "pod-delete", "--times", "1", "--every", "3s", "--recovery", "20s")...))
	f.requireLost(said)
}

// The lab's claim is ReadWriteMany: nothing keeps a second server away from it.
func TestDurabilityFindsTwoServersOnOneVolume(t *testing.T) {
	t.Parallel()
	f := setup(t, "twoservers")
	f.lab()
	ended := make(chan stack.Result, 1)
	go func() {
		ended <- f.Run(f.ctx, f.inNamespace("--stateful-set", contract.StatefulSet, "--fault", "none", "--duration", "40s")...)
	}()
	f.untilWritten()
	f.ok(f.pipe(f.labManifest("kind: StatefulSet\nmetadata:\n  name: postgres\n", "kind: StatefulSet\nmetadata:\n  name: second\n"), "apply"))
	f.untilLabServes("second-0")
	// Both write to the same files now. The first one goes on with what it knows, until it starts anew.
	time.Sleep(3 * time.Second)
	f.kubectl("delete", "pod", pod, "--force", "--grace-period=0")
	f.requireLost(f.readDurability(violated, <-ended))
}
