package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stateful-postgres/internal/contract"
)

// What a disk has when the power goes is what was written to it, and not what the
// kernel still had in memory. The disk is a file here: it is copied as it is while
// the server's processes stand still, and put back in its own place once they are
// gone.

func TestPowerCutLosesNothing(t *testing.T) {
	t.Parallel()
	f := setup(t, "power")
	f.cutPower()
	require.Contains(t, f.kubectl("logs", pod), "database system was not properly shut down")
	f.verify(proven)
}

// A server that does not wait for its disk loses what it acknowledged.
func TestPowerCutWithoutFsyncIsFound(t *testing.T) {
	t.Parallel()
	f := setup(t, "nofsync")
	f.ok(f.SetPath(f.ctx, "parameters.fsync", "off"))
	f.cutPower()
	require.Regexp(t, `lost: run \d+ row \d+`, f.verify(violated))
}

// cutPower takes the power from a new server while verify writes, and lets it start
// again.
func (f *fixture) cutPower() {
	f.t.Helper()
	disk := f.ownDisks(1)[0]
	f.up(1)
	f.verify(proven)
	// Everything until now is on the disk, whatever the server does. Of this disk alone: another test
	// may wait for what its own server did not write yet.
	f.sql("checkpoint")
	f.kubectl("exec", pod, "--", "sh", "-c", `sync --file-system "$PGDATA"`)

	stop := f.underLoad()
	f.untilWritten()
	// The first process of a namespace is not stopped from inside. It writes nothing.
	f.kubectl("exec", pod, "--", "sh", "-c", "kill -STOP -1")
	image := filepath.Join(f.t.TempDir(), "disk")
	f.copyStill(disk.File, image)
	stopped := stop()
	require.Equal(f.t, interruptedCode, stopped.ExitCode, "%s", stopped)
	// What the server does from now on is not on the disk that comes back.
	f.kubectl("exec", pod, "--", "sh", "-c", "kill -CONT -1")
	f.kubectl("scale", "statefulset", contract.StatefulSet, "--replicas=0")
	f.kubectl("wait", "pod/"+pod, "--for=delete", "--timeout=2m")
	f.eventually("the disk to be free", 2*time.Minute, func() (string, bool) { return f.unmounted(disk.Device) })
	f.ok(f.Run(f.ctx, "cp", image, disk.File))
	// The kernel has the old content of the device in memory.
	f.ok(f.Run(f.ctx, "blockdev", "--flushbufs", disk.Device))
	f.kubectl("scale", "statefulset", contract.StatefulSet, "--replicas=1")
	f.eventually("the server to start", 3*time.Minute, func() (string, bool) {
		seen := f.Kubectl(f.ctx, "wait", "pod", pod, "--for=condition=Ready", "--timeout=10s")
		return seen.String(), seen.OK()
	})
}

// copyStill copies a file that the kernel may still write to, until two copies are
// the same.
func (f *fixture) copyStill(from, to string) {
	f.t.Helper()
	var before []byte
	f.eventually("a moment in which nothing is written", time.Minute, func() (string, bool) {
		content, err := os.ReadFile(from)
		require.NoError(f.t, err)
		same := bytes.Equal(before, content)
		before = content
		return "it changed", same
	})
	require.NoError(f.t, os.WriteFile(to, before, 0o600))
}

// unmounted says whether nobody has a device mounted any more, and else who has.
func (f *fixture) unmounted(device string) (string, bool) {
	tables, err := filepath.Glob("/proc/[0-9]*/mountinfo")
	require.NoError(f.t, err)
	for _, table := range tables {
		// A process may end meanwhile.
		content, _ := os.ReadFile(table)
		for line := range strings.Lines(string(content)) {
			if strings.Contains(line, " "+device+" ") {
				return table + ": " + line, false
			}
		}
	}
	return "", true
}
