package volume_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stateful-postgres/local/internal/volume"
)

// requireVariable is the environment variable that turns a machine that mounts nothing from a test that is
// left out into one that fails.
const requireVariable = "STATEFUL_POSTGRES_REQUIRE_MOUNTS"

// leaveOut leaves the test out, and fails it when requireVariable is set.
func leaveOut(t *testing.T, why string) {
	t.Helper()
	if required := os.Getenv(requireVariable); required != "" {
		t.Fatalf("%s (%s=%s)", why, requireVariable, required)
	}
	t.Skip(why)
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		leaveOut(t, "only root can mount something")
	}
}

// mount mounts something on a folder until the test ends.
func mount(t *testing.T, folder string, arguments ...string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(folder, 0o755))
	printed, err := exec.CommandContext(t.Context(), "mount", append(arguments, folder)...).CombinedOutput()
	if err != nil {
		leaveOut(t, fmt.Sprintf("this machine mounts nothing: %v: %s", err, printed))
	}
	t.Cleanup(func() { require.NoError(t, exec.Command("umount", folder).Run()) })
}

// mounted is a disk of its own, mounted as the kubelet does for a pod, and how its volume is called.
func mounted(t *testing.T) (name, folder string) {
	t.Helper()
	needRoot(t)
	run := func(command ...string) string {
		printed, err := exec.CommandContext(t.Context(), command[0], command[1:]...).CombinedOutput()
		require.NoError(t, err, "%s: %s", command, printed)
		return strings.TrimSpace(string(printed))
	}
	file := filepath.Join(t.TempDir(), "disk")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	require.NoError(t, os.Truncate(file, 32<<20))
	run("mkfs.ext4", "-q", file)
	name = "slow-" + filepath.Base(filepath.Dir(filepath.Dir(file)))
	folder = filepath.Join(t.TempDir(), "volumes", "kubernetes.io~local-volume", name)
	mount(t, folder, "-o", "loop", file)
	return name, folder
}

// writes is how often something was written to a folder, down to the disk, in a second.
func writes(t *testing.T, folder string) (count int) {
	t.Helper()
	file, err := os.OpenFile(filepath.Join(folder, "file"), os.O_WRONLY|os.O_CREATE, 0o600)
	require.NoError(t, err)
	defer file.Close()
	for began := time.Now(); time.Since(began) < time.Second; count++ {
		_, err := file.WriteAt([]byte("x"), 0)
		require.NoError(t, err)
		require.NoError(t, file.Sync())
	}
	return count
}

func TestAVolumeIsSlowAndFastAgain(t *testing.T) {
	name, folder := mounted(t)
	slow, err := volume.Begin(os.Getpid(), name)
	require.NoError(t, err)
	began := time.Now()
	require.NoError(t, os.WriteFile(filepath.Join(folder, "first"), []byte("x"), 0o600))
	waited := time.Since(began)
	during := writes(t, folder)
	require.NoError(t, slow.End())
	require.Greater(t, waited, 200*time.Millisecond, "it waited until it could be written")
	after := writes(t, folder)
	require.Greater(t, after, during, "in a second: during, after")
}

func TestAFileSystemOfOthersIsNotMadeSlow(t *testing.T) {
	needRoot(t)
	folder := filepath.Join(t.TempDir(), "volumes", "kubernetes.io~local-volume", "shared-with-others")
	mount(t, folder, "--bind", t.TempDir())
	_, err := volume.Begin(os.Getpid(), "shared-with-others")
	require.ErrorContains(t, err, "a file system that others write to")

	_, err = volume.Begin(os.Getpid(), "not-there")
	require.ErrorContains(t, err, `volume "not-there": no pod of this node has it mounted`)
}
