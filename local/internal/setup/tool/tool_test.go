package tool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func setup(t *testing.T) *Log {
	t.Helper()
	log, err := OpenLog(filepath.Join(t.TempDir(), "log", "test.log"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, log.Close()) })
	return log
}

func TestOutputIsLoggedAndShownLineByLine(t *testing.T) {
	t.Parallel()
	log := setup(t)
	var shown []string
	err := log.Run(t.Context(), Command{
		Args: []string{"sh", "-c", `printf 'one\n\n  two\r'; echo three >&2; printf '%s' "$LAST"`},
		Env:  []string{"LAST=four"},
		Line: func(line string) { shown = append(shown, line) },
	})
	require.NoError(t, err)
	require.Equal(t, []string{"one", "two", "three", "four"}, shown)
	text, err := os.ReadFile(log.file.Name())
	require.NoError(t, err)
	require.Contains(t, string(text), "one\n\n  two\rthree\nfour")
}

func TestStandardOutputCanGoElsewhere(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	var shown []string
	err := setup(t).Run(t.Context(), Command{
		Args:   []string{"sh", "-c", "echo result; echo progress >&2"},
		Stdout: &out,
		Line:   func(line string) { shown = append(shown, line) },
	})
	require.NoError(t, err)
	require.Equal(t, "result\n", out.String())
	require.Equal(t, []string{"progress"}, shown)
}

func TestFailureHoldsTheEndOfTheOutput(t *testing.T) {
	t.Parallel()
	log := setup(t)
	err := log.Run(t.Context(), Command{Args: []string{"sh", "-c", "i=0; while [ $i -lt 30 ]; do echo line $i; i=$((i+1)); done; exit 3"}})
	var failure *Failure
	require.ErrorAs(t, err, &failure)
	require.Len(t, failure.Tail, tailLines)
	require.Equal(t, "line 29", failure.Tail[tailLines-1])
	require.Equal(t, fmt.Sprintf("sh: exit status 3 (full output: %s)", log.file.Name()), err.Error())
}

func TestMissingProgramIsNamed(t *testing.T) {
	t.Parallel()
	err := setup(t).Run(t.Context(), Command{Args: []string{"no-such-program"}})
	require.ErrorContains(t, err, "no-such-program")
}

func TestInterruptReachesTheProgram(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var shown []string
	err := setup(t).Run(ctx, Command{
		Args: []string{"sh", "-c", `trap 'echo cleaned up; exit 1' INT; echo ready; while :; do sleep 0.01; done`},
		Line: func(line string) {
			shown = append(shown, line)
			if line == "ready" {
				cancel()
			}
		},
	})
	require.True(t, errors.Is(err, context.Canceled), "%v", err)
	require.Equal(t, []string{"ready", "cleaned up"}, shown)
}

func TestInterruptReachesWhatTheProgramStarted(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var child int
	err := setup(t).Run(ctx, Command{
		// The program itself only waits, as many that work through others do.
		Args: []string{"sh", "-c", `trap : INT; sh -c 'echo $$; exec sleep 600'; exit 1`},
		Line: func(line string) {
			if n, err := strconv.Atoi(line); err == nil {
				child = n
				cancel()
			}
		},
	})
	require.ErrorIs(t, err, context.Canceled)
	require.NotZero(t, child)
	require.Eventually(t, func() bool {
		// A process that nobody has buried yet has ended as well.
		state, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", child))
		return err != nil || strings.Contains(string(state), ") Z ")
	}, 10*time.Second, time.Millisecond)
}
