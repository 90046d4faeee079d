package e2e

import (
	"bytes"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stateful-postgres/internal/contract"
	"stateful-postgres/internal/process"
)

// killTimeout is for the moment of a kill to come.
const killTimeout = 2 * time.Minute

// moment is when to kill an update: as soon as it is true.
type moment struct {
	name string
	when func(f *fixture) bool
}

// cluster is true as soon as kubectl finds what is asked for with a value.
func cluster(arguments ...string) func(f *fixture) bool {
	return func(f *fixture) bool {
		result := f.Kubectl(f.ctx, arguments...)
		return result.OK() && strings.TrimSpace(result.Stdout) != ""
	}
}

// locked is true as soon as the update has locked the stack.
func locked(f *fixture) bool {
	locks, err := filepath.Glob(filepath.Join(f.StateFolder(), ".pulumi", "locks", "*", "*", f.Name, "*.json"))
	require.NoError(f.t, err)
	return len(locks) > 0
}

func TestKilledFirstUpIsFinishedByTheNext(t *testing.T) {
	t.Parallel()
	for _, at := range []moment{
		{"stack is locked", locked},
		{"namespace exists", func(f *fixture) bool { return f.Run(f.ctx, "kubectl", "get", "namespace", f.Namespace).OK() }},
		{"Secret exists", cluster("get", "secret", contract.CredentialsSecret, "--output=name")},
		{"pod exists", cluster("get", "pod", pod, "--output=name")},
		{"pod runs", cluster("get", "pod", pod, "--output=jsonpath={.status.containerStatuses[0].state.running}")},
	} {
		t.Run(at.name, func(t *testing.T) {
			t.Parallel()
			f := setup(t, "killed")
			f.ok(f.Set(f.ctx, "replicas", "1"))
			f.killUp(at)
			f.upAfterKill()
			f.verify(proven)
			f.ok(f.Refresh(f.ctx, "--expect-no-changes"))
			f.ok(f.Up(f.ctx, "--expect-no-changes"))
			f.up(0)
			f.verify(proven)
			f.up(1)
			f.verify(proven)
		})
	}
}

func TestKilledScaleIsFinishedByTheNextUp(t *testing.T) {
	t.Parallel()
	f := setup(t, "killscale")
	f.up(1)
	f.verify(proven)
	for _, step := range []struct {
		replicas int
		at       moment
	}{
		{0, moment{"stack is locked", locked}},
		{1, moment{"stack is locked", locked}},
		{0, moment{"StatefulSet is scaled", scaled("0")}},
		{1, moment{"StatefulSet is scaled", scaled("1")}},
	} {
		f.ok(f.Set(f.ctx, "replicas", fmt.Sprint(step.replicas)))
		f.killUp(step.at)
		f.upAfterKill()
		f.verify(proven)
		f.ok(f.Up(f.ctx, "--expect-no-changes"))
	}
}

// scaled is true as soon as the StatefulSet is asked for a number of pods.
func scaled(replicas string) func(f *fixture) bool {
	return func(f *fixture) bool {
		result := f.Kubectl(f.ctx, "get", "statefulset", contract.StatefulSet, "--output=jsonpath={.spec.replicas}")
		return result.OK() && result.Stdout == replicas
	}
}

// beginUp starts `pulumi up` in a process group of its own: what it prints can be read
// once it has ended.
func (f *fixture) beginUp() (command *exec.Cmd, output *bytes.Buffer, ended <-chan error) {
	f.t.Helper()
	command = f.Command(f.ctx, f.UpArguments("--skip-preview")...)
	output = &bytes.Buffer{}
	command.Stdout, command.Stderr = output, output
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	require.NoError(f.t, command.Start())
	waiting := make(chan error, 1)
	go func() { waiting <- command.Wait() }()
	return command, output, waiting
}

// killUp starts `pulumi up` and kills it, with every process that it has
// started, when the moment comes.
func (f *fixture) killUp(at moment) {
	f.t.Helper()
	command, output, ended := f.beginUp()

	deadline := time.Now().Add(killTimeout)
	for !at.when(f) {
		select {
		case err := <-ended:
			require.Fail(f.t, fmt.Sprintf("the update ended (%v) before the moment %q came:\n%s", err, at.name, output))
		default:
			require.True(f.t, time.Now().Before(deadline), "the moment %q did not come within %s", at.name, killTimeout)
		}
	}
	killTree(f.t, command.Process.Pid)
	err := <-ended
	require.ErrorContains(f.t, err, "killed", "the update was killed when: %s\n%s", at.name, output)
}

// upAfterKill runs `pulumi up` and follows what it says has to be done first.
func (f *fixture) upAfterKill() {
	f.t.Helper()
	result := f.Up(f.ctx)
	if !result.OK() && strings.Contains(result.Output, "pulumi cancel") {
		f.ok(f.Cancel(f.ctx))
		result = f.Up(f.ctx)
	}
	f.ok(result)
}

// killTree kills a process and all its descendants, which Pulumi puts into
// process groups of their own. They are stopped first, so that none of them
// sees the end of another, as when the machine loses power.
func killTree(t *testing.T, root int) {
	t.Helper()
	var tree []int
	for {
		found, err := process.Tree(root)
		require.NoError(t, err)
		for _, pid := range found {
			// One that has ended meanwhile needs no signal.
			_ = syscall.Kill(pid, syscall.SIGSTOP)
		}
		if len(found) == len(tree) {
			break
		}
		tree = found
	}
	for _, pid := range tree {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}
