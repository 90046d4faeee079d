package daemon

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// One reaper for all tests: it collects every child of this process.
var reaper = NewReaper()

const eventually = 20 * time.Second

func start(t *testing.T, script string) (runner *Runner, log string, stop func()) {
	t.Helper()
	log = filepath.Join(t.TempDir(), "component.log")
	runner = NewRunner(reaper, Component{
		Name: "component", Command: []string{"sh", "-c", script}, Log: log, StopTimeout: time.Second,
	}, func() {})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		runner.Run(ctx)
	}()
	stop = func() {
		cancel()
		<-done
	}
	t.Cleanup(stop)
	return runner, log, stop
}

func TestComponentThatEndsIsStartedAgainAndLogged(t *testing.T) {
	t.Parallel()
	runner, log, _ := start(t, "echo begin; exit 7")
	require.Eventually(t, func() bool { return runner.Status().Restarts >= 2 }, eventually, 10*time.Millisecond)
	require.Equal(t, "exit code 7", runner.Status().LastExit)
	require.Eventually(t, func() bool {
		content, err := os.ReadFile(log)
		return err == nil && strings.Count(string(content), "begin\n") >= 2 && strings.Contains(string(content), "ended (exit code 7)")
	}, eventually, 10*time.Millisecond)
}

func TestComponentThatIsKilledIsStartedAgain(t *testing.T) {
	t.Parallel()
	runner, _, _ := start(t, "exec sleep 1000")
	require.Eventually(t, func() bool { return runner.Status().PID != 0 }, eventually, 10*time.Millisecond)
	first := runner.Status().PID
	require.NoError(t, syscall.Kill(first, syscall.SIGKILL))
	require.Eventually(t, func() bool {
		now := runner.Status()
		return now.PID != 0 && now.PID != first && now.Restarts == 1
	}, eventually, 10*time.Millisecond)
	require.Equal(t, "signal killed", runner.Status().LastExit)
}

func TestStopEndsTheComponent(t *testing.T) {
	t.Parallel()
	for name, script := range map[string]string{
		"that obeys":   "exec sleep 1000",
		"that ignores": "trap '' TERM; while :; do sleep 0.1; done",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			runner, _, stop := start(t, script)
			require.Eventually(t, func() bool { return runner.Status().PID != 0 }, eventually, 10*time.Millisecond)
			pid := runner.Status().PID
			stop()
			require.Zero(t, runner.Status().PID)
			require.ErrorIs(t, syscall.Kill(pid, 0), syscall.ESRCH)
		})
	}
}

func TestRunOnce(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	require.NoError(t, RunOnce(t.Context(), reaper, &out, "sh", "-c", "echo said; echo too >&2"))
	require.Equal(t, "said\ntoo\n", out.String())
	require.EqualError(t, RunOnce(t.Context(), reaper, &out, "sh", "-c", "exit 3"), "sh: exit code 3")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, RunOnce(ctx, reaper, &out, "sleep", "1000"), context.DeadlineExceeded)
}
