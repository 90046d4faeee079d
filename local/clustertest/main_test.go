// Package clustertest tests the local cluster as its user runs it: through the
// localkube program, on this machine, as root. It needs what make setup makes
// and, since it stops and kills the cluster, is run only when LOCALKUBE_TEST
// is set: by make test.
package clustertest

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stateful-postgres/local/internal/layout"
	"stateful-postgres/local/internal/machine"
	"stateful-postgres/local/internal/supervisor"
)

const (
	// commandTimeout is for one call of localkube or kubectl.
	commandTimeout = 5 * time.Minute
	// eventually is for what the cluster mends by itself.
	eventually = 90 * time.Second
	tick       = 200 * time.Millisecond
)

// checkout is where the cluster under test is.
var checkout layout.Layout

func TestMain(m *testing.M) {
	if os.Getenv("LOCALKUBE_TEST") == "" {
		fmt.Fprintln(os.Stderr, "local/clustertest: no test ran: they stop and kill the local cluster; make test runs them (LOCALKUBE_TEST=1)")
		// go test says "no tests to run" then, instead of a plain "ok".
		if err := flag.Set("test.run", "^$"); err != nil {
			panic(err)
		}
		os.Exit(m.Run())
	}
	l, err := layout.FindFromExecutable()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	checkout = l
	code := m.Run()
	// One node is what everything after this expects.
	if _, err := localkube(l, "up", "--nodes", "1"); err != nil {
		fmt.Fprintln(os.Stderr, "put the cluster back to one node:", err)
		code = 1
	}
	os.Exit(code)
}

// localkube runs the program of a checkout and returns all it printed.
func localkube(l layout.Layout, args ...string) (string, error) {
	return command(l.Root, l.Binary("localkube"), args...)
}

func kubectl(t *testing.T, args ...string) string {
	t.Helper()
	out, err := tryKubectl(args...)
	require.NoError(t, err, out)
	return out
}

func tryKubectl(args ...string) (string, error) {
	args = append([]string{"--kubeconfig=" + checkout.Kubeconfig(), "--request-timeout=20s"}, args...)
	return command(checkout.Root, checkout.Binary("kubectl"), args...)
}

func command(dir, program string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), commandTimeout)
	defer cancel()
	var out bytes.Buffer
	c := exec.CommandContext(ctx, program, args...)
	c.Dir = dir
	c.Stdout, c.Stderr = &out, &out
	err := c.Run()
	return out.String(), err
}

func up(t *testing.T, args ...string) {
	t.Helper()
	out, err := localkube(checkout, append([]string{"up"}, args...)...)
	require.NoError(t, err, out)
}

func ask(t *testing.T) supervisor.Info {
	t.Helper()
	info, err := supervisor.Ask(t.Context())
	require.NoError(t, err)
	return info
}

func machineOf(t *testing.T, name string) supervisor.MachineInfo {
	t.Helper()
	for _, m := range ask(t).Machines {
		if m.Name == name {
			return m
		}
	}
	require.Failf(t, "no such machine", "%s", name)
	return supervisor.MachineInfo{}
}

// hostState is what the cluster must leave as it found it.
func hostState(t *testing.T) map[string]string {
	t.Helper()
	state := map[string]string{}
	for name, line := range map[string][]string{
		"links":     {"ip", "-brief", "link"},
		"addresses": {"ip", "-brief", "address"},
		"routes":    {"ip", "route", "show", "table", "all"},
		"firewall":  {"iptables-save"},
		"netns":     {"ip", "netns"},
		"listeners": {"ss", "-Hltn"},
	} {
		out, err := command("/", line[0], line[1:]...)
		require.NoError(t, err, out)
		state[name] = counters.ReplaceAllString(out, "")
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	require.NoError(t, err)
	state["mounts"] = string(mounts)
	groups, err := filepath.Glob("/sys/fs/cgroup/*/*")
	require.NoError(t, err)
	var folders []string
	for _, group := range groups {
		if info, err := os.Stat(group); err == nil && info.IsDir() {
			folders = append(folders, group)
		}
	}
	state["cgroups"] = strings.Join(folders, "\n")
	for _, key := range append([]string{"net/ipv4/ip_forward"}, machine.KernelSettings...) {
		value, err := os.ReadFile("/proc/sys/" + key)
		require.NoError(t, err)
		state[key] = string(value)
	}
	return state
}

// counters and dates differ from one listing of rules to the next.
var counters = regexp.MustCompile(`\[\d+:\d+\]|(?m)^#.*$`)

func TestHostIsAfterDownWhatItWasBeforeUp(t *testing.T) {
	out, err := localkube(checkout, "down")
	require.NoError(t, err, out)
	before := hostState(t)
	up(t)
	during := hostState(t)
	require.NotEqual(t, before["links"], during["links"], "the snapshot sees no link: it cannot fail")
	require.NotEqual(t, before["cgroups"], during["cgroups"], "the snapshot sees no group: it cannot fail")
	require.Equal(t, before["listeners"], during["listeners"], "something listens on an address of the host")
	require.Equal(t, before["firewall"], during["firewall"])
	require.Equal(t, before["mounts"], during["mounts"])
	// On a host whose settings are as the kubelet wants them no change would show.
	mounts, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", machineOf(t, "node-1").PID))
	require.NoError(t, err)
	for _, key := range machine.KernelSettings {
		require.Contains(t, string(mounts), " /proc/sys/"+key+" ", "the node changes the host's own setting")
		require.Equal(t, before[key], during[key])
	}
	out, err = localkube(checkout, "down")
	require.NoError(t, err, out)
	require.Equal(t, before, hostState(t))
	up(t)
}

func TestUpAgainChangesNothingAndIsQuick(t *testing.T) {
	up(t)
	before := ask(t)
	start := time.Now()
	up(t)
	require.Less(t, time.Since(start), 5*time.Second)
	require.Equal(t, before.PID, ask(t).PID, "the cluster was started anew")
}

func TestCredentialsAreTheOwnersAlone(t *testing.T) {
	up(t)
	files, err := filepath.Glob(filepath.Join(checkout.Cluster(), "pki", "*"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range append(files, checkout.Kubeconfig(), checkout.Env()) {
		info, err := os.Stat(file)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), file)
	}
}

func TestComponentThatDiesIsStartedAgain(t *testing.T) {
	up(t)
	for node, component := range map[string]string{"node-1": "kubelet", "control-plane": "kube-apiserver"} {
		t.Run(component, func(t *testing.T) {
			find := func() (pid, restarts int) {
				for _, c := range machineOf(t, node).Status.Components {
					if c.Name == component {
						return c.PID, c.Restarts
					}
				}
				return 0, 0
			}
			pid, before := find()
			require.NotZero(t, pid)
			init := strconv.Itoa(machineOf(t, node).PID)
			out, err := command("/", "nsenter", "--target", init, "--mount", "--pid", "kill", "-9", strconv.Itoa(pid))
			require.NoError(t, err, out)
			require.Eventually(t, func() bool {
				pid, restarts := find()
				return pid != 0 && restarts > before
			}, eventually, tick)
			up(t)
			require.FileExists(t, filepath.Join(checkout.Logs(), node, component+".log"))
		})
	}
}

func TestMachineThatDiesIsMadeAgain(t *testing.T) {
	up(t)
	for _, name := range []string{"node-1", "control-plane"} {
		t.Run(name, func(t *testing.T) {
			before := machineOf(t, name)
			require.NoError(t, syscall.Kill(before.PID, syscall.SIGKILL))
			require.Eventually(t, func() bool {
				now := machineOf(t, name)
				return now.PID != 0 && now.PID != before.PID && now.Restarts > before.Restarts
			}, eventually, tick)
			require.Eventually(t, func() bool {
				out, err := tryKubectl("get", "--raw", "/api/v1/nodes/node-1/proxy/healthz")
				return err == nil && out == "ok"
			}, eventually, tick, "the apiserver does not reach the kubelet")
			up(t)
		})
	}
}

func TestUpAfterEverythingWasKilled(t *testing.T) {
	up(t)
	for name, delay := range map[string]time.Duration{"while it runs": -1, "at once": 0, "early": 300 * time.Millisecond, "in the middle": 2 * time.Second} {
		t.Run(name, func(t *testing.T) {
			if delay >= 0 {
				out, err := localkube(checkout, "down")
				require.NoError(t, err, out)
				starting := exec.Command(checkout.Binary("localkube"), "up")
				require.NoError(t, starting.Start())
				time.Sleep(delay) // The moment of the kill is what is varied.
				require.NoError(t, starting.Process.Kill())
				_ = starting.Wait()
			}
			killAll(t)
			_, err := supervisor.Ask(t.Context())
			require.ErrorIs(t, err, supervisor.ErrNotRunning)
			up(t)
		})
	}
}

// killAll sends SIGKILL to every process of the cluster, in no order.
func killAll(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool {
		alive := processes(t)
		for _, pid := range alive {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		return len(alive) == 0
	}, eventually, tick)
}

// processes returns those that run this checkout's program, or are inside one
// of its control groups.
func processes(t *testing.T) []int {
	t.Helper()
	var pids []int
	folders, err := filepath.Glob("/proc/[0-9]*")
	require.NoError(t, err)
	for _, folder := range folders {
		exe, err := os.Readlink(filepath.Join(folder, "exe"))
		if err != nil {
			continue // ended in the meantime, or a thread of the kernel
		}
		groups, err := os.ReadFile(filepath.Join(folder, "cgroup"))
		if err != nil {
			continue
		}
		if exe != checkout.Binary("localkube") && !strings.Contains(string(groups), ":/localkube/") {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(folder))
		require.NoError(t, err)
		pids = append(pids, pid)
	}
	return pids
}

func TestOtherCheckout(t *testing.T) {
	up(t)
	other := layout.Layout{Root: t.TempDir()}
	require.NoError(t, os.MkdirAll(filepath.Join(other.Root, "local"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(other.Root, "local", "go.mod"), nil, 0o600))
	require.NoError(t, os.MkdirAll(other.Bin(), 0o755))
	out, err := command("/", "cp", checkout.Binary("localkube"), other.Binary("localkube"))
	require.NoError(t, err, out)
	require.NoError(t, os.Symlink(checkout.Images(), other.Images()))

	t.Run("alive, it is named and left alone", func(t *testing.T) {
		before := ask(t).PID
		out, err := localkube(other, "up")
		require.Error(t, err)
		require.Contains(t, out, checkout.Root)
		require.Contains(t, out, "make -C "+checkout.Root+" cluster-down")
		require.Len(t, strings.Split(strings.TrimSpace(out), "\n"), 1)
		out, err = localkube(other, "down")
		require.NoError(t, err, out)
		require.Equal(t, before, ask(t).PID)
	})
	t.Run("dead, its remains are cleaned up", func(t *testing.T) {
		killAll(t)
		out, err := localkube(other, "down")
		require.NoError(t, err, out)
		require.NotContains(t, hostState(t)["links"], "localkube0")
		groups, err := filepath.Glob("/sys/fs/cgroup/*/localkube")
		require.NoError(t, err)
		require.Empty(t, groups)
	})
	up(t)
}

func TestBadInput(t *testing.T) {
	for name, test := range map[string]struct {
		args []string
		says string
	}{
		"no nodes":      {[]string{"up", "--nodes", "0"}, "--nodes 0: expected a number from 1 to 50"},
		"too many":      {[]string{"up", "--nodes", "51"}, "--nodes 51: expected a number from 1 to 50"},
		"not a number":  {[]string{"up", "--nodes", "two"}, "two"},
		"no such file":  {[]string{"load", "/nonexistent.tar"}, "/nonexistent.tar"},
		"not an image":  {[]string{"load", "/etc/passwd"}, "/etc/passwd"},
		"no such thing": {[]string{"restart"}, "restart"},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := localkube(checkout, test.args...)
			require.Error(t, err)
			require.Contains(t, out, test.says)
		})
	}
}
