package command_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"stateful-postgres/verify/internal/command"
	"stateful-postgres/verify/internal/ledger"
	"stateful-postgres/verify/internal/pgtest"
	"stateful-postgres/verify/internal/report"
)

// asProgram makes the test binary run the command line in its environment instead of the tests,
// so that a test can kill it.
const asProgram = "VERIFY_TEST_ARGUMENTS"

func TestMain(m *testing.M) {
	if args := os.Getenv(asProgram); args != "" {
		limitFiles(os.Getenv(fileLimit))
		os.Exit(command.Run(strings.Split(args, "\n"), command.Streams{Out: os.Stdout, Err: os.Stderr}))
	}
	os.Exit(pgtest.Main(m))
}

// program is the command line as a process of its own.
func program(ctx context.Context, args ...string) *exec.Cmd {
	process := exec.CommandContext(ctx, os.Args[0])
	process.Env = append(os.Environ(), asProgram+"="+strings.Join(args, "\n"))
	return process
}

func TestFillWritesRowsThatCheckProves(t *testing.T) {
	t.Parallel()
	args := onDatabase(t, "fill", "-o", "json", "--rows", "2500", "--batch", "1000")
	exitCode, stdout, _ := run(args...)
	require.Zero(t, exitCode, stdout)
	require.EqualValues(t, 2500, decode(t, stdout).Rows.Added)
	exitCode, stdout, _ = run(append([]string{"check"}, args[1:7]...)...)
	require.Zero(t, exitCode, stdout)
	require.EqualValues(t, 2500, decode(t, stdout).Rows.Intact)

	// A fill that was finished is not resumed.
	exitCode, _, _ = run(args...)
	require.Zero(t, exitCode)
	exitCode, stdout, _ = run(append([]string{"check"}, args[1:7]...)...)
	require.Zero(t, exitCode, stdout)
	require.EqualValues(t, 5010, decode(t, stdout).Rows.Intact)
}

func TestFillThatIsKilledIsResumedWithoutLossOrDoubling(t *testing.T) {
	t.Parallel()
	const goal = 60_000
	args := onDatabase(t, "fill", "-o", "json", "--rows", "60000", "--batch", "200")
	path := args[4]
	kills := 0
	for resumed := false; ; {
		var out bytes.Buffer
		process := program(t.Context(), args...)
		process.Stdout = &out
		before := required(path)
		require.NoError(t, process.Start())
		ended := make(chan error, 1)
		go func() { ended <- process.Wait() }()
		if kills < 4 {
			// Killed once some rows are on their way, wherever it is then.
			require.Eventually(t, func() bool { return required(path) > before+5000 }, 60*time.Second, time.Millisecond)
			require.NoError(t, process.Process.Kill())
			require.Error(t, <-ended)
			kills++
			continue
		}
		require.NoError(t, <-ended)
		r := decode(t, out.String())
		require.Equal(t, report.ExitProven, r.ExitCode, out.String())
		for _, c := range r.Checks {
			resumed = resumed || c.Name == "resumed"
		}
		require.True(t, resumed)
		break
	}
	// A batch whose commit the killed process never heard of is there, and counted, or not, and
	// written anew. The server may finish one after the resumed fill looked, so the first check
	// settles, and for the second all that is there is accounted for.
	check := []string{"check", "--dsn", args[2], "--ledger", path, "--rows", "0", "-o", "json"}
	exitCode, stdout, _ := run(check...)
	require.Zero(t, exitCode, stdout)
	exitCode, stdout, _ = run(check...)
	require.Zero(t, exitCode, stdout)
	r := decode(t, stdout)
	require.GreaterOrEqual(t, r.Rows.Required, int64(goal))
	require.Equal(t, r.Rows.Required, r.Rows.Intact)
	require.Equal(t, r.Rows.Required, r.Rows.Before)
}

func required(path string) int64 {
	state, err := ledger.Read(path)
	if err != nil {
		return 0
	}
	return state.Required()
}

func TestFillGoesOnAfterTheServerWasRestarted(t *testing.T) {
	t.Parallel()
	own := pgtest.Start(t)
	path := filepath.Join(t.TempDir(), "ledger")
	process := program(t.Context(), "fill", "--dsn", own.DSN("postgres"), "--ledger", path, "--rows", "50000", "--batch", "100", "-o", "json", "--timeout", "5m")
	var out bytes.Buffer
	process.Stdout = &out
	require.NoError(t, process.Start())
	for range 3 {
		before := required(path)
		require.Eventually(t, func() bool { return required(path) > before+1000 }, 30*time.Second, time.Millisecond)
		own.StopImmediate(t)
		own.Run(t)
	}
	require.NoError(t, process.Wait(), out.String())
	exitCode, stdout, _ := run("check", "--dsn", own.DSN("postgres"), "--ledger", path, "-o", "json")
	require.Zero(t, exitCode, stdout)
	require.GreaterOrEqual(t, decode(t, stdout).Rows.Intact, int64(50_000))
}

func TestFillStopsWhereNothingCanBeWritten(t *testing.T) {
	t.Parallel()
	args := onDatabase(t, "fill", "-o", "json", "--rows", "1000")
	conn, err := pgx.Connect(t.Context(), args[2])
	require.NoError(t, err)
	defer conn.Close(t.Context())
	_, err = conn.Exec(t.Context(), "create schema verify; create table verify.runs (run bigint primary key, seed bigint); create table verify.rows (run bigint, seq bigint, payload text check (length(payload) < 10))")
	require.NoError(t, err)
	exitCode, stdout, _ := run(args...)
	require.Equal(t, report.ExitUnknown, exitCode, stdout)
	require.Contains(t, stdout, "violates check constraint")

	for _, bad := range [][]string{{"fill"}, {"fill", "--rows", "0"}, {"fill", "--rows", "5", "--batch", "0"}} {
		exitCode, _, stderr := run(bad...)
		require.Equal(t, report.ExitUsage, exitCode)
		require.Contains(t, stderr, "expected 1 or more")
	}
}
