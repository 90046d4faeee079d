package components

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stateful-postgres/internal/postgres"
)

const (
	// patience is how long a test waits for what has to come.
	patience = 30 * time.Second
	poll     = 10 * time.Millisecond
	// stopped is how long a test watches that something does not come.
	stopped = time.Second
)

// start is a start of a pod that goes on while the test does.
type start struct {
	t      *testing.T
	cmd    *exec.Cmd
	output string
	ended  chan error
}

// begin starts process 1 of the pod.
func (p *pod) begin(t *testing.T, args ...string) *start {
	t.Helper()
	output, err := os.CreateTemp(t.TempDir(), "console")
	require.NoError(t, err)
	s := &start{t: t, cmd: p.command("start.sh", args...), output: output.Name(), ended: make(chan error, 1)}
	s.cmd.Stdout, s.cmd.Stderr = output, output
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: p.account}
	require.NoError(t, s.cmd.Start())
	require.NoError(t, output.Close())
	go func() { s.ended <- s.cmd.Wait() }()
	t.Cleanup(func() { _ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL) })
	return s
}

func (s *start) console() string {
	s.t.Helper()
	text, err := os.ReadFile(s.output)
	require.NoError(s.t, err)
	return string(text)
}

// waitFor waits until the log has a text.
func (s *start) waitFor(text string) {
	s.t.Helper()
	require.Eventually(s.t, func() bool { return strings.Contains(s.console(), text) }, patience, poll,
		"%q in: %s", text, lazy(s.console))
}

// lazy is a text that is made when it is shown.
type lazy func() string

func (l lazy) String() string { return l() }

func (s *start) signal(signal syscall.Signal) {
	s.t.Helper()
	require.NoError(s.t, s.cmd.Process.Signal(signal))
}

// exited waits for the end of process 1.
func (s *start) exited() {
	s.t.Helper()
	select {
	case <-s.ended:
	case <-time.After(patience):
		require.Fail(s.t, "process 1 did not end", "%s", s.console())
	}
}

// requireHeld requires that somebody lives on the volume.
func (p *pod) requireHeld(t *testing.T) {
	t.Helper()
	file, err := os.Open(p.data + ".lock")
	require.NoError(t, err)
	defer file.Close()
	require.Equal(t, syscall.EWOULDBLOCK, syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB), "the lock is free")
}

// successor is a pod of the same name on the same volume.
func (p *pod) successor(t *testing.T) *pod {
	t.Helper()
	next := *p
	next.console = bytes.Buffer{}
	folder := filepath.Join(p.dir, "second")
	require.NoError(t, os.MkdirAll(folder, 0o777))
	require.NoError(t, os.Chmod(folder, 0o777))
	next.env = append(slices.Clip(p.env), "POD_UID=second", "TMPDIR="+folder)
	return &next
}

// lasting is an image whose server has a process besides the first, and both
// stay until they are ended.
func lasting() map[string]string {
	programs := image("")
	// A stopped process is sent SIGHUP when the first one ends.
	programs["postgres"] += `
trap '' HUP
sleep 600 &
echo "child: $!" >>"$RECORD"
exec sleep 600`
	return programs
}

// child is the server's other process.
func (p *pod) child(t *testing.T) int {
	t.Helper()
	var child int
	require.Eventually(t, func() bool {
		text, err := os.ReadFile(filepath.Join(p.dir, "record"))
		if err != nil {
			return false
		}
		_, after, found := strings.Cut(string(text), "child: ")
		if !found || !strings.HasSuffix(after, "\n") {
			return false
		}
		child, err = strconv.Atoi(strings.TrimSpace(after))
		require.NoError(t, err)
		return true
	}, patience, poll)
	return child
}

func TestNobodyStartsOnAVolumeWhileAnybodyLivesOnIt(t *testing.T) {
	t.Parallel()
	p := newPod(t, lasting())
	p.env = append(p.env, "POD_NAME=postgres-0", "POD_UID=first", "NODE_NAME=node-1")
	p.write(t, "PG_VERSION")
	first := p.begin(t, "-c", "some=thing")
	child := p.child(t)
	t.Cleanup(func() { _ = syscall.Kill(child, syscall.SIGKILL) })

	// As a stalled disk does: neither ends, and neither says anything.
	first.signal(syscall.SIGSTOP)
	require.NoError(t, syscall.Kill(child, syscall.SIGSTOP))
	second := p.successor(t).begin(t, "-c", "some=thing")
	second.waitFor("start: waiting for the volume: pod postgres-0 (uid first) on node node-1 since 20")
	require.Contains(t, second.console(), "Z still lives on it. This pod starts as soon as that one is gone\n")
	waits := func() bool { return strings.Count(p.record(t), "server: ") == 1 }
	require.Never(t, func() bool { return !waits() }, stopped, poll)

	first.signal(syscall.SIGKILL)
	first.exited()
	p.requireHeld(t)
	require.Never(t, func() bool { return !waits() }, stopped, poll, "a process of the first one is left")

	gone := time.Now()
	require.NoError(t, syscall.Kill(child, syscall.SIGKILL))
	second.waitFor("start: the volume is free now")
	require.Eventually(t, func() bool { return !waits() }, patience, poll)
	require.Less(t, time.Since(gone), 5*time.Second, "at once")
	holder, err := os.ReadFile(p.data + ".lock")
	require.NoError(t, err)
	require.Regexp(t, `^pod postgres-0 \(uid second\) on node node-1 since \S+Z\n$`, string(holder))
}

func TestVolumeIsTakenBeforeAnythingOfItIsRead(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		// what the volume holds when the second pod comes
		prepare func(t *testing.T) *pod
		during  string
	}{
		{"initialization", func(t *testing.T) *pod {
			return newPod(t, image(`sleep 600 & echo "child: $!" >>"$RECORD"; wait`))
		}, "entrypoint: "},
		{"take-over", func(t *testing.T) *pod {
			p := newVolume(t)
			mv, err := exec.LookPath("mv")
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(filepath.Join(p.dir, "bin", "mv"), []byte("#!/bin/sh\n"+
				`if [ -z "${POD_UID-}" ]; then echo "child: $$" >>"$RECORD"; sleep 600; fi; exec `+mv+` "$@"`), 0o755))
			return p
		}, "child: "},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := test.prepare(t)
			p.begin(t)
			child := p.child(t)
			before := p.files(t, "")
			second := p.successor(t).begin(t)
			second.waitFor("start: waiting for the volume: pod unknown (uid unknown) on node unknown since 20")
			require.Never(t, func() bool { return strings.Count(p.record(t), test.during) > 1 }, stopped, poll)
			require.Equal(t, before, p.files(t, ""))
			require.NoError(t, syscall.Kill(child, 0), "the first one goes on")
		})
	}
}

func TestPodThatWaitsForTheVolumeCanBeStopped(t *testing.T) {
	t.Parallel()
	p := newPod(t, lasting())
	p.write(t, "PG_VERSION")
	p.begin(t)
	child := p.child(t)
	t.Cleanup(func() { _ = syscall.Kill(child, syscall.SIGKILL) })
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		second := p.successor(t).begin(t)
		second.waitFor("still lives on it")
		second.signal(signal)
		second.exited()
		require.Equal(t, 143, second.cmd.ProcessState.ExitCode(), "%s", signal)
	}
	require.Equal(t, 1, strings.Count(p.record(t), "server: "))
}

// A signal may come at any moment of the start, not only while it waits.
func TestStartThatIsStoppedStartsNoServer(t *testing.T) {
	t.Parallel()
	for _, program := range []string{"rm", "flock", "date", "stat", "cksum", "cat"} {
		for _, signal := range []string{"TERM", "INT"} {
			t.Run(program+" "+signal, func(t *testing.T) {
				t.Parallel()
				p := newPod(t, image(""))
				p.write(t, "PG_VERSION")
				path, err := exec.LookPath(program)
				require.NoError(t, err)
				// It stops process 1, which leads the group, once, and then does what it is
				// there for.
				p.program(t, program, `read -r _ _ _ _ group _ </proc/$$/stat
if (set -C; : >"$RECORD.stopped") 2>/dev/null; then kill -`+signal+` "$group"; fi
exec `+path+` "$@"
`)
				s := p.begin(t)
				s.exited()
				require.Equal(t, 143, s.cmd.ProcessState.ExitCode(), s.console())
				require.FileExists(t, filepath.Join(p.dir, "record.stopped"))
				require.NoFileExists(t, filepath.Join(p.dir, "record"), "no server")
			})
		}
	}
}

func TestVolumeThatCannotBeLockedIsNotUsed(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		prepare func(t *testing.T, p *pod)
		expect  string
	}{
		{"file system without locks", func(t *testing.T, p *pod) {
			p.program(t, "flock", `echo "flock: 9: No locks available" >&2; exit 71`)
		}, "start: nothing was started: the volume's file system refuses locks (flock: 9: No locks available), " +
			"and without them nothing keeps a second server away from it. Mount it with locks, or use another storage class\n"},
		{"image without the program", func(t *testing.T, p *pod) {
			// A PATH that has everything else.
			elsewhere := t.TempDir()
			for _, name := range []string{"cat", "date", "stat", "id", "sed", "ls", "rm", "mv", "sync", "cksum"} {
				path, err := exec.LookPath(name)
				require.NoError(t, err)
				require.NoError(t, os.Symlink(path, filepath.Join(elsewhere, name)))
			}
			p.env = append(p.env, "PATH="+filepath.Join(p.dir, "bin")+":"+elsewhere)
		}, "start: nothing was started: the image has no program flock (of util-linux or busybox), " +
			"and without it nothing keeps a second server away from the volume. Set an image that has it\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := newPod(t, image(""))
			p.write(t, "PG_VERSION")
			test.prepare(t, p)
			require.Equal(t, 1, p.run(t, "start.sh"))
			require.Equal(t, test.expect, p.console.String())
			require.NoFileExists(t, filepath.Join(p.dir, "record"))
		})
	}
}

// program puts a stand-in on the pod's PATH.
func (p *pod) program(t *testing.T, name, body string) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(p.dir, "bin", name), []byte("#!/bin/sh\n"+body), 0o755))
}

// newUnprivileged is a pod that does not run as root, as PostgreSQL demands.
func newUnprivileged(t *testing.T, programs map[string]string) *pod {
	t.Helper()
	p := newPod(t, programs)
	var err error
	p.account, err = postgres.UnprivilegedAccount()
	require.NoError(t, err)
	if p.account != nil {
		// The one above belongs to the test alone.
		require.NoError(t, os.Chmod(filepath.Dir(p.dir), 0o755))
		for _, path := range []string{p.dir, filepath.Dir(p.data), filepath.Join(p.dir, "password")} {
			require.NoError(t, os.Chown(path, int(p.account.Uid), int(p.account.Gid)))
		}
	}
	return p
}

// newServer is a pod with a real PostgreSQL, whose volume is initialized.
func newServer(t *testing.T) *pod {
	t.Helper()
	binaries := postgres.NeedBinaries(t)
	p := newUnprivileged(t, nil)
	// Only this has a stand-in: nobody has to wait between two probes.
	p.program(t, "sleep", "exec /bin/sleep 0.05")
	p.env = append(p.env, fmt.Sprintf("PATH=%s:%s:%s", filepath.Join(p.dir, "bin"), binaries, os.Getenv("PATH")))
	initdb := exec.Command("initdb", "--pgdata="+p.data, "--username=clerk", "--auth-local=trust", "--auth-host=scram-sha-256", "--no-locale", "--no-sync")
	initdb.Path = filepath.Join(binaries, "initdb")
	initdb.Env, initdb.SysProcAttr = p.env, &syscall.SysProcAttr{Credential: p.account}
	output, err := initdb.CombinedOutput()
	require.NoError(t, err, "%s", output)
	return p
}

// process is the number of the server's process of a kind, such as
// "checkpointer".
func (s *start) process(kind string) int {
	s.t.Helper()
	var found int
	require.Eventually(s.t, func() bool {
		processes, err := filepath.Glob("/proc/[0-9]*/cmdline")
		require.NoError(s.t, err)
		for _, path := range processes {
			text, err := os.ReadFile(path)
			if err != nil || !strings.HasPrefix(string(text), "postgres: "+kind) {
				continue
			}
			folder := filepath.Dir(path)
			number, err := strconv.Atoi(filepath.Base(folder))
			require.NoError(s.t, err)
			if _, parent := look(number); parent == s.cmd.Process.Pid {
				found = number
				return true
			}
		}
		return false
	}, patience, poll, "no %s: %s", kind, lazy(s.console))
	return found
}

// look is a process's state and parent, or "" when there is none.
func look(process int) (state string, parent int) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", process))
	if err != nil {
		return "", 0
	}
	_, after, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(after)
	parent, _ = strconv.Atoi(fields[1])
	return fields[0], parent
}

func TestServersLastProcessKeepsTheVolume(t *testing.T) {
	t.Parallel()
	p := newServer(t)
	arguments := []string{"-c", "listen_addresses=", "-c", "unix_socket_directories=" + p.dir}
	const ready = "database system is ready to accept connections"
	first := p.begin(t, arguments...)
	first.waitFor(ready)
	checkpointer := first.process("checkpointer")
	t.Cleanup(func() { _ = syscall.Kill(checkpointer, syscall.SIGKILL) })

	// It would write into the files of its successor.
	require.NoError(t, syscall.Kill(checkpointer, syscall.SIGSTOP))
	first.signal(syscall.SIGKILL)
	first.exited()
	p.requireHeld(t)
	second := p.successor(t).begin(t, arguments...)
	second.waitFor("still lives on it")
	require.Never(t, func() bool { return strings.Contains(second.console(), "starting PostgreSQL") }, stopped, poll)

	require.NoError(t, syscall.Kill(checkpointer, syscall.SIGCONT))
	second.waitFor("start: the volume is free now")
	second.waitFor(ready)
	state, _ := look(checkpointer)
	require.Contains(t, []string{"", "Z"}, state, "it saw that its postmaster is gone")
	second.signal(syscall.SIGINT)
	second.exited()
	require.Contains(t, second.console(), "database system is shut down")
}
