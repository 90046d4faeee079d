package command_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"stateful-postgres/verify/internal/report"
)

// fileLimit is the size that no file of the program can outgrow.
const fileLimit = "VERIFY_TEST_FILE_LIMIT"

// limitFiles makes writes fail as on a full disk. It ends the process when that cannot be done.
func limitFiles(size string) {
	if size == "" {
		return
	}
	signal.Ignore(syscall.SIGXFSZ)
	limit, err := strconv.ParseUint(size, 10, 64)
	if err == nil {
		err = syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: limit, Max: limit})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(99)
	}
}

// onFullDisk runs a command line whose ledger has room for that many bytes more.
func onFullDisk(t *testing.T, room int64, args ...string) (int, report.Report, string) {
	t.Helper()
	ledger, err := os.Stat(args[4])
	require.NoError(t, err)
	process := program(t.Context(), args...)
	process.Env = append(process.Env, fmt.Sprintf("%s=%d", fileLimit, ledger.Size()+room))
	var out, errors bytes.Buffer
	process.Stdout, process.Stderr = &out, &errors
	exitCode := exitCodeOf(t, process.Run())
	return exitCode, decode(t, out.String()), errors.String()
}

func exitCodeOf(t *testing.T, err error) int {
	t.Helper()
	var ended *exec.ExitError
	if errors.As(err, &ended) {
		return ended.ExitCode()
	}
	require.NoError(t, err)
	return 0
}

func TestLedgerThatCannotBeWrittenIsPartOfTheVerdict(t *testing.T) {
	t.Parallel()
	const aLookNeeds = 4096
	for name, test := range map[string]struct {
		// damage is done before the look.
		damage string
		// room is what is left of the disk.
		room     int64
		exitCode int
		verdict  report.Verdict
	}{
		"no room for new rows":                   {"", 20, report.ExitUnknown, report.NotProven},
		"no room for the last record":            {"", 700, report.ExitUnknown, report.NotProven},
		"a violation, and no room to enter it":   {"delete from verify.rows where seq = 3", 20, report.ExitViolated, report.NotKept},
		"a violation, with room":                 {"delete from verify.rows where seq = 3", aLookNeeds, report.ExitViolated, report.NotKept},
		"nothing wrong, and just enough of room": {"", aLookNeeds, report.ExitProven, report.Proven},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			args := onDatabase(t, "check", "-o", "json")
			exitCode, stdout, _ := run(args...)
			require.Zero(t, exitCode, stdout)
			if test.damage != "" {
				conn, err := pgx.Connect(t.Context(), args[2])
				require.NoError(t, err)
				defer conn.Close(t.Context())
				_, err = conn.Exec(t.Context(), test.damage)
				require.NoError(t, err)
			}
			exitCode, r, stderr := onFullDisk(t, test.room, args...)
			require.Equal(t, test.exitCode, exitCode, stderr)
			require.Equal(t, test.exitCode, r.ExitCode, "the report says what the process ends with")
			require.Equal(t, test.verdict, r.Verdict)
			last := r.Checks[len(r.Checks)-1]
			if test.room == aLookNeeds {
				require.NotEqual(t, "ledger", last.Name)
				return
			}
			require.Equal(t, "ledger", last.Name)
			require.Equal(t, report.Unknown, last.Status)
			require.Contains(t, last.Detail, "file too large")
			require.NotContains(t, last.Detail, "\n")
			require.NotEmpty(t, last.Hint)

			// There is room again: the ledger has taken no harm.
			exitCode, stdout, _ = run(args...)
			require.Equal(t, map[bool]int{false: report.ExitProven, true: report.ExitViolated}[test.damage != ""], exitCode, stdout)
		})
	}
}

func TestViolationThatCannotBePrintedIsStillOne(t *testing.T) {
	t.Parallel()
	args := onDatabase(t, "check", "-o", "json")
	exitCode, stdout, _ := run(args...)
	require.Zero(t, exitCode, stdout)
	conn, err := pgx.Connect(t.Context(), args[2])
	require.NoError(t, err)
	defer conn.Close(t.Context())
	_, err = conn.Exec(t.Context(), "delete from verify.rows where seq = 3")
	require.NoError(t, err)
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	require.NoError(t, err)
	defer full.Close()
	process := program(t.Context(), args...)
	process.Stdout = full
	require.Equal(t, report.ExitViolated, exitCodeOf(t, process.Run()))
}
