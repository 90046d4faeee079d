// Package machine is the inside of one machine of the local cluster: process 1
// of a set of namespaces, with mounts of its own, that keeps components running.
//
// When process 1 ends, the kernel ends everything in the machine and takes its
// mounts and its network away: nothing has to be cleaned up after a kill.
package machine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"stateful-postgres/local/internal/cgroup"
	"stateful-postgres/local/internal/daemon"
	"stateful-postgres/local/internal/layout"
)

// Root is where every machine sees the checkout's .local folder, as
// Root/.local: the same path in all of them, wherever the checkout lies.
const Root = "/var/lib/localkube"

// StartFD is the file descriptor on which a machine is told that its network is
// there. When its other end closes, whoever made the machine is gone.
const StartFD = 3

// Machine is the machine in which this process is number 1.
type Machine struct {
	// Name is the machine's host name.
	Name string
	// Layout gives the paths as seen inside.
	Layout layout.Layout
	// Reaper starts every program of the machine.
	Reaper *daemon.Reaper

	mu      sync.Mutex
	runners []*daemon.Runner
}

// Status is what a machine tells about itself.
type Status struct {
	Machine    string          `json:"machine"`
	Components []daemon.Status `json:"components"`
}

// StatusFile is where a machine keeps its Status.
func StatusFile(l layout.Layout, name string) string {
	return filepath.Join(l.Cluster(), name, "status.json")
}

// ReadStatus reads the Status that a machine has kept.
func ReadStatus(l layout.Layout, name string) (Status, error) {
	content, err := os.ReadFile(filepath.Clean(StatusFile(l, name)))
	if err != nil {
		return Status{}, fmt.Errorf("status of %s: %w", name, err)
	}
	var status Status
	if err := json.Unmarshal(content, &status); err != nil {
		return Status{}, fmt.Errorf("status of %s: %w", name, err)
	}
	return status, nil
}

// Run turns this process, which must be number 1 of new mount, PID, network,
// UTS and IPC namespaces, into the named machine and calls do. The context of
// do is done when the machine is to stop; what do starts has to be over when
// it returns.
func Run(name string, do func(context.Context, *Machine) error) error {
	if os.Getpid() != 1 {
		return errors.New("a machine is started by the supervisor only: use up")
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	defer stop()
	outside, err := layout.FindFromExecutable()
	if err != nil {
		return err
	}
	if err := waitForStart(); err != nil {
		return err
	}
	if err := unix.Sethostname([]byte(name)); err != nil {
		return fmt.Errorf("set host name: %w", err)
	}
	m := &Machine{Name: name, Layout: layout.Layout{Root: Root}}
	if err := m.mountAll(outside); err != nil {
		return err
	}
	for key, value := range map[string]string{
		"net/ipv4/ip_forward":             "1",
		"net/ipv4/conf/all/rp_filter":     "0",
		"net/ipv4/conf/default/rp_filter": "0",
	} {
		if err := os.WriteFile("/proc/sys/"+key, []byte(value), 0); err != nil {
			return err
		}
	}
	m.Reaper = daemon.NewReaper()
	return do(ctx, m)
}

// waitForStart returns when the supervisor has written to StartFD, and from
// then on ends the machine as soon as the supervisor is gone.
func waitForStart() error {
	start := os.NewFile(StartFD, "start")
	if _, err := start.Read(make([]byte, 1)); err != nil {
		return fmt.Errorf("wait for the network: %w", err)
	}
	go func() {
		_, _ = io.Copy(io.Discard, start)
		os.Exit(1)
	}()
	return nil
}

// mountAll gives the machine a /proc of its own, private /run, /var/lib and
// /var/log, and the checkout's .local folder at Root. Nothing of it is seen by
// the host, and nothing the host mounts later is seen here.
func (m *Machine) mountAll(outside layout.Layout) error {
	local, err := unix.Open(outside.Local(), unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", outside.Local(), err)
	}
	defer unix.Close(local)
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	// Shared among the machine's own processes: the kubelet's mounts have to
	// show up in containers that ask for their propagation.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		return fmt.Errorf("share mounts inside the machine: %w", err)
	}
	if err := cgroup.HideUnified(); err != nil {
		return err
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	for _, dir := range []string{"/run", "/var/lib", "/var/log"} {
		if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
			return fmt.Errorf("mount a private %s: %w", dir, err)
		}
	}
	if err := coverKernelSettings(); err != nil {
		return err
	}
	return bind(fmt.Sprintf("/proc/self/fd/%d", local), m.Layout.Local())
}

// KernelSettings are the files below /proc/sys that the kubelet writes to and that
// all namespaces of a kernel share (k8s.io/component-helpers/node/util/sysctl).
var KernelSettings = []string{
	"vm/overcommit_memory", "vm/panic_on_oom",
	"kernel/panic", "kernel/panic_on_oops", "kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes",
}

// coverKernelSettings puts a file of the machine's own in the place of each kernel
// setting, or the kubelet would change the host's for good.
func coverKernelSettings() error {
	const own = "/run/kernel-settings"
	for _, key := range KernelSettings {
		setting, copied := filepath.Join("/proc/sys", key), filepath.Join(own, key)
		value, err := os.ReadFile(setting)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(copied), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(copied, value, 0o644); err != nil {
			return err
		}
		if err := unix.Mount(copied, setting, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("cover %s: %w", setting, err)
		}
	}
	return nil
}

// Bind shows the folder source, which is made if it is missing, at target.
func (m *Machine) Bind(source, target string) error {
	if err := os.MkdirAll(source, 0o700); err != nil {
		return err
	}
	return bind(source, target)
}

func bind(source, target string) error {
	if err := os.MkdirAll(target, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(source, target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("bind %s to %s: %w", source, target, err)
	}
	// A file system mounted elsewhere without shared propagation stays private
	// here; the kubelet needs its own folder shared.
	if err := unix.Mount("", target, "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		return fmt.Errorf("share %s: %w", target, err)
	}
	return nil
}

// Dir is the machine's own persistent folder, or one inside it.
func (m *Machine) Dir(elements ...string) string {
	return filepath.Join(append([]string{m.Layout.Cluster(), m.Name}, elements...)...)
}

// Self is the program of the local cluster itself, as a command to start one
// of its components with.
func (m *Machine) Self(component string, args ...string) []string {
	return append([]string{m.Layout.Binary("localkube"), "component", component}, args...)
}

// Start keeps a component running until the returned function is called, which
// stops it and waits for its end.
func (m *Machine) Start(name string, command []string) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	runner := daemon.NewRunner(m.Reaper, daemon.Component{
		Name:    name,
		Command: command,
		Log:     filepath.Join(m.Layout.Logs(), m.Name, name+".log"),
	}, m.saveStatus)
	m.mu.Lock()
	m.runners = append(m.runners, runner)
	m.mu.Unlock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runner.Run(ctx)
	}()
	return func() {
		cancel()
		<-done
	}
}

func (m *Machine) saveStatus() {
	m.mu.Lock()
	defer m.mu.Unlock()
	status := Status{Machine: m.Name}
	for _, r := range m.runners {
		status.Components = append(status.Components, r.Status())
	}
	content, err := json.MarshalIndent(status, "", "  ")
	if err == nil {
		err = layout.WriteFile(StatusFile(m.Layout, m.Name), content, 0o600)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: keep status: %v\n", m.Name, err)
	}
}

// WaitFor calls ready until it returns nil, at most for the given time.
func WaitFor(ctx context.Context, what string, timeout time.Duration, ready func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: not ready after %s, last seen: %w", what, timeout, err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}
