package e2e

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stateful-postgres/internal/stack"
)

var (
	interruptTimes = flag.Int("interrupts", 4, "how many updates are interrupted at a random moment, with one server and with three")
	interruptSeed  = flag.Uint64("interrupt-seed", 0, "decides about the moments (default: others each time)")
)

// moments are random ones.
func moments(t *testing.T) *rand.Rand {
	t.Helper()
	seed := *interruptSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("moments: -interrupt-seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// interruptUp starts `pulumi up` and ends it after some time: as Ctrl-C does, or with every process that
// it has started. It says whether the update had not come to its end before.
func (f *fixture) interruptUp(after time.Duration, kill bool) (interrupted bool) {
	f.t.Helper()
	command, output, ended := f.beginUp()
	how := "SIGINT"
	select {
	case err := <-ended:
		require.NoError(f.t, err, "%s", output)
		return false
	case <-time.After(after):
	}
	if kill {
		how = "SIGKILL"
		killTree(f.t, command.Process.Pid)
	} else if err := command.Process.Signal(os.Interrupt); !errors.Is(err, os.ErrProcessDone) {
		require.NoError(f.t, err)
	}
	select {
	case err := <-ended:
		if err == nil {
			return false
		}
	case <-time.After(killTimeout):
		require.Fail(f.t, "an update that was interrupted did not end", "%s", output)
	}
	f.t.Logf("%s after %s", how, after.Round(10*time.Millisecond))
	return true
}

const (
	// firstMoment is how long an update may take, before one is known.
	firstMoment = 3 * time.Second
	// mostAttempts is how many updates may begin for each that is to be interrupted.
	mostAttempts = 4
)

// interruptBetween scales to one number of replicas after the other, interrupts the updates at random
// moments, and has the next one finish what it left. Some come to their end before.
func (f *fixture) interruptBetween(numbers [2]int, check func()) {
	f.t.Helper()
	random := moments(f.t)
	// lasts is how long the last update to each number took.
	lasts := [2]time.Duration{firstMoment, firstMoment}
	interrupted := 0
	for attempt := 0; interrupted < *interruptTimes; attempt++ {
		require.Less(f.t, attempt, mostAttempts**interruptTimes, "only %d of %d updates were interrupted", interrupted, *interruptTimes)
		way := attempt % 2
		f.ok(f.Set(f.ctx, "replicas", fmt.Sprint(numbers[way])))
		began := time.Now()
		if f.interruptUp(time.Duration(random.Int64N(int64(lasts[way]))), random.IntN(2) == 0) {
			interrupted++
			f.t.Logf("%d of %d updates interrupted", interrupted, *interruptTimes)
			f.upAfterKill()
		} else {
			f.t.Log("the update came to its end before it was interrupted: it does not count")
		}
		lasts[way] = time.Since(began)
		check()
		f.ok(f.Up(f.ctx, "--expect-no-changes"))
	}
}

func TestUpInterruptedAtAnyMomentLosesNothing(t *testing.T) {
	t.Parallel()
	f := setupFor(t, "interrupt", testTimeout+time.Duration(*interruptTimes)*3*time.Minute)
	f.up(1)
	stop := f.underLoad()
	f.interruptBetween([2]int{0, 1}, func() {})
	f.up(1)
	stopped := stop()
	require.Equal(t, interruptedCode, stopped.ExitCode, "%s", stopped)
	said, err := stack.ReadProof(stopped.Stdout)
	require.NoError(t, err, "%s", stopped)
	require.NotZero(t, said.Durability.Writes.Acknowledged)
	t.Logf("%+v", said.Durability.Writes)
	f.verify(proven)
}

func TestMembersUpInterruptedAtAnyMomentLosesNothing(t *testing.T) {
	t.Parallel()
	f := setupFor(t, "interrupt", 2*testTimeout+time.Duration(*interruptTimes)*5*time.Minute)
	m := openMembers(t, f, 3)
	f.interruptBetween([2]int{1, 3}, func() {
		m.progress()
		m.requireEverything()
		m.verify(proven)
	})
}

// underLoad lets verify write to the stack until stop is called, which returns what it said.
func (f *fixture) underLoad() (stop func() stack.Result) {
	f.t.Helper()
	command := f.Command(f.ctx, f.durabilityCommand("--fault", "none", "--duration", "1h")...)
	var stdout, output bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &output
	require.NoError(f.t, command.Start())
	return func() stack.Result {
		require.NoError(f.t, command.Process.Signal(os.Interrupt))
		_ = command.Wait()
		return stack.Result{Arguments: command.Args, Stdout: stdout.String(), Output: stdout.String() + output.String(), ExitCode: command.ProcessState.ExitCode()}
	}
}
