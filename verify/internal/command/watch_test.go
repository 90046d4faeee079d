package command_test

import (
	"encoding/json"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"stateful-postgres/internal/buffer"
	"stateful-postgres/verify/internal/report"
)

func TestWatchPrintsALineARoundUntilAViolation(t *testing.T) {
	t.Parallel()
	args := onDatabase(t, "check", "--watch", "--interval", "10ms")
	var out buffer.Locked
	process := program(t.Context(), args...)
	process.Stdout = &out
	require.NoError(t, process.Start())
	require.Eventually(t, func() bool { return strings.Count(out.String(), "PASS") >= 3 }, 60*time.Second, 5*time.Millisecond)
	require.Contains(t, out.String(), "round 3  PASS 20 rows intact, 10 added in ")

	conn, err := pgx.Connect(t.Context(), args[2])
	require.NoError(t, err)
	defer conn.Close(t.Context())
	_, err = conn.Exec(t.Context(), "delete from verify.rows where seq = 4")
	require.NoError(t, err)
	var ended *exec.ExitError
	require.ErrorAs(t, process.Wait(), &ended)
	require.Equal(t, report.ExitViolated, ended.ExitCode())
	require.Contains(t, out.String(), "FAIL 1 row lost")
	require.Contains(t, out.String(), "row 4, acknowledged")
}

func TestWatchIsInterruptedCleanly(t *testing.T) {
	t.Parallel()
	args := onDatabase(t, "check", "--watch", "--interval", "1h", "-o", "json")
	var out buffer.Locked
	process := program(t.Context(), args...)
	process.Stdout = &out
	require.NoError(t, process.Start())
	require.Eventually(t, func() bool { return strings.HasSuffix(out.String(), "}\n") }, 60*time.Second, 5*time.Millisecond)
	var r report.Report
	require.NoError(t, json.Unmarshal([]byte(out.String()), &r), "one line a round")
	require.NoError(t, process.Process.Signal(syscall.SIGINT))
	var ended *exec.ExitError
	require.ErrorAs(t, process.Wait(), &ended)
	require.Equal(t, report.ExitInterrupted, ended.ExitCode())
}

func TestWatchRefusesWhatMakesNoSense(t *testing.T) {
	t.Parallel()
	exitCode, _, stderr := run("--watch", "-o", "junit")
	require.Equal(t, report.ExitUsage, exitCode)
	require.Contains(t, stderr, "a watch has no end")
	exitCode, _, stderr = run("--watch", "--interval", "-1s")
	require.Equal(t, report.ExitUsage, exitCode)
	require.Contains(t, stderr, "--interval -1s")
}
