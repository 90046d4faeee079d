package ledger

import (
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// limited makes the test binary run a test's other half: in a process of its own, because a
// process's limit on the size of files is for all its tests.
const limited = "LEDGER_TEST_LIMITED"

// inLimitedProcess runs the calling test once more, as the process whose files cannot grow.
func inLimitedProcess(t *testing.T, path string) {
	t.Helper()
	process := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	process.Env = append(os.Environ(), limited+"="+path)
	out, err := process.CombinedOutput()
	require.NoError(t, err, string(out))
}

// limitFiles makes every write of this process fail that would make a file larger than size, after
// the part of it that fits was written: what a full disk does.
func limitFiles(t *testing.T, size uint64) {
	t.Helper()
	signal.Ignore(syscall.SIGXFSZ)
	var limit syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit))
	limit.Cur = min(size, limit.Max)
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit))
}

// TestRecordThatDidNotFitIsCutOff fills the disk in the middle of a record, and makes room again.
func TestRecordThatDidNotFitIsCutOff(t *testing.T) {
	t.Parallel()
	path := os.Getenv(limited)
	if path == "" {
		path = filepath.Join(t.TempDir(), "ledger")
		inLimitedProcess(t, path)
		state, err := Read(path)
		require.NoError(t, err)
		require.Zero(t, state.TornBytes)
		require.EqualValues(t, 3, state.Run(7).Count(Acknowledged))
		require.EqualValues(t, 5, state.Run(7).Count(Seen))
		return
	}
	ledger := open(t, path)
	require.NoError(t, ledger.StartRun(7, 11, false))
	require.NoError(t, ledger.Resolve(7, 0, 3, Acknowledged))
	whole := ledger.State().Size

	limitFiles(t, uint64(whole)+20)
	for range 2 {
		require.ErrorContains(t, ledger.Resolve(7, 3, 4, Acknowledged), "file too large")
		found, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, whole, found.Size(), "what was written of the record is cut off")
	}
	require.EqualValues(t, 3, ledger.State().Required(), "what is not in the file is not known")

	limitFiles(t, 1<<40)
	require.NoError(t, ledger.Resolve(7, 10, 5, Seen))
	require.NoError(t, ledger.Close())
}

// TestNothingIsEnteredAfterAFileThatFailed has a file that takes what is written and cannot keep
// it, and one that takes nothing at all and cannot be cut.
func TestNothingIsEnteredAfterAFileThatFailed(t *testing.T) {
	t.Parallel()
	for name, breakFile := range map[string]func(t *testing.T) *os.File{
		"not synced": func(t *testing.T) *os.File {
			// A pipe takes a record, and cannot be synced.
			read, write, err := os.Pipe()
			require.NoError(t, err)
			t.Cleanup(func() { read.Close() })
			return write
		},
		"not cut": func(t *testing.T) *os.File {
			full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
			require.NoError(t, err)
			return full
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "ledger")
			ledger := open(t, path)
			require.NoError(t, ledger.StartRun(7, 11, false))
			whole := ledger.file
			ledger.file = breakFile(t)
			first := ledger.Intend(7, 0, 3, 3)
			require.Error(t, first)
			require.NoError(t, ledger.file.Close())
			// The disk is well again, and what it did with the record is not known.
			ledger.file = whole
			for range 2 {
				require.ErrorContains(t, ledger.Resolve(7, 0, 3, Acknowledged), first.Error())
			}
			require.Error(t, ledger.Close())
			state, err := Read(path)
			require.NoError(t, err)
			require.Zero(t, state.Required(), strconv.FormatInt(state.Size, 10))
		})
	}
}
