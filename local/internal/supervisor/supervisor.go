// Package supervisor is the one process on the host that makes the machines of
// a local cluster, connects them and makes them again when they end. When it
// ends itself, however that happens, the kernel ends them all.
package supervisor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"stateful-postgres/local/internal/cgroup"
	"stateful-postgres/local/internal/layout"
	"stateful-postgres/local/internal/machine"
	"stateful-postgres/local/internal/network"
	"stateful-postgres/local/internal/pki"
	"stateful-postgres/local/internal/topology"
	"stateful-postgres/local/internal/volume"
)

const (
	// nodeStopTimeout is longer than a node gives its pods.
	nodeStopTimeout         = 110 * time.Second
	controlPlaneStopTimeout = 30 * time.Second
	cgroupTimeout           = 20 * time.Second
	restartPause            = time.Second
)

// Supervisor runs one cluster.
type Supervisor struct {
	layout   layout.Layout
	topology topology.Topology
	started  time.Time

	mu sync.Mutex
	// machines holds those that run, by name.
	machines map[string]*running
	restarts map[string]int
	// crashed and disconnected are nodes that somebody took away.
	crashed, disconnected map[string]bool
	// slow are the volumes that somebody made slow.
	slow     map[string]*volume.Slow
	stopping bool
	stop     context.CancelFunc
}

// running is a machine's process 1, seen from the host.
type running struct {
	pid   int
	begin *os.File
	ended chan struct{}
}

// Run makes the cluster and returns when it was asked to stop, by the context
// or through its socket, and everything is gone.
func Run(ctx context.Context, l layout.Layout, t topology.Topology) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	s := &Supervisor{
		layout: l, topology: t, started: time.Now(), stop: stop,
		machines: map[string]*running{}, restarts: map[string]int{},
		crashed: map[string]bool{}, disconnected: map[string]bool{}, slow: map[string]*volume.Slow{},
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		if errors.Is(err, syscall.EADDRINUSE) {
			return errors.New("a local cluster runs on this machine already")
		}
		return err
	}
	server := s.serve(listener)
	defer server.Close()

	if err := Clean(l); err != nil {
		return err
	}
	if err := pki.Ensure(l, t); err != nil {
		return err
	}
	var group sync.WaitGroup
	for _, name := range t.Machines() {
		if err := s.startMachine(name); err != nil {
			s.stopAll()
			return fmt.Errorf("machine %s: %w", name, err)
		}
		group.Go(func() { s.keepRunning(ctx, name) })
	}
	<-ctx.Done()
	s.stopAll()
	group.Wait()
	return Clean(l)
}

// Clean removes what a cluster leaves on the host when it is killed: its
// control groups, with what still runs in them, and its link.
func Clean(l layout.Layout) error {
	if err := network.RemoveHostLink(); err != nil {
		return err
	}
	statuses, err := filepath.Glob(machine.StatusFile(l, "*"))
	if err != nil {
		return err
	}
	for _, file := range statuses {
		if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return cgroup.RemoveAll(cgroupTimeout)
}

func (s *Supervisor) keepRunning(ctx context.Context, name string) {
	for {
		s.mu.Lock()
		m := s.machines[name]
		s.mu.Unlock()
		select {
		case <-m.ended:
		case <-ctx.Done():
			return
		}
		logf("machine %s ended, next start in %s", name, restartPause)
		for {
			select {
			case <-ctx.Done():
				return
			case <-time.After(restartPause):
			}
			s.mu.Lock()
			if s.crashed[name] {
				s.mu.Unlock()
				continue
			}
			s.restarts[name]++
			s.mu.Unlock()
			err := s.startMachine(name)
			if err == nil {
				break
			}
			logf("machine %s: %v", name, err)
		}
	}
}

// startMachine makes a machine, connects it and lets it begin.
func (s *Supervisor) startMachine(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		return errors.New("the cluster is being stopped")
	}
	if name != topology.ControlPlane {
		if err := cgroup.Renew(name, cgroupTimeout); err != nil {
			return err
		}
	}
	m, err := spawn(s.layout, name)
	if err != nil {
		return err
	}
	if err := s.wire(name, m.pid); err != nil {
		_ = syscall.Kill(m.pid, syscall.SIGKILL)
		<-m.ended
		return err
	}
	if _, err := m.begin.Write([]byte{1}); err != nil {
		return err
	}
	s.machines[name] = m
	logf("machine %s runs as process %d", name, m.pid)
	return nil
}

// wire connects a new machine. A new control plane brings a new bridge, to
// which every node that runs has to be connected again.
func (s *Supervisor) wire(name string, pid int) error {
	if name == topology.ControlPlane {
		if err := network.WireControlPlane(s.topology, pid); err != nil {
			return err
		}
		for _, node := range s.topology.AllNodes() {
			if m := s.machines[node.Name]; m != nil && m.alive() {
				if err := network.WireNode(s.topology, node, m.pid, pid); err != nil {
					return err
				}
				if s.disconnected[node.Name] {
					if err := network.Unplug(node, pid); err != nil {
						return err
					}
				}
			}
		}
		return nil
	}
	for _, node := range s.topology.AllNodes() {
		if node.Name == name {
			return network.WireNode(s.topology, node, pid, s.machines[topology.ControlPlane].pid)
		}
	}
	return fmt.Errorf("no machine %q in the topology", name)
}

// spawn starts process 1 of a machine in namespaces of its own.
func spawn(l layout.Layout, name string) (*running, error) {
	log, err := openLog(filepath.Join(l.Logs(), name, "machine.log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	reader, writer, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	m := &running{begin: writer, ended: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		// Pdeathsig is sent when the thread that started the process ends:
		// this one has to live as long as the machine.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		command := exec.Command("/proc/self/exe", "machine", name)
		command.Stdout, command.Stderr = log, log
		command.ExtraFiles = []*os.File{reader}
		command.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC,
			Pdeathsig:  syscall.SIGKILL,
			Setsid:     true,
		}
		err := command.Start()
		if err == nil {
			m.pid = command.Process.Pid
		}
		started <- err
		if err != nil {
			return
		}
		defer close(m.ended)
		defer writer.Close()
		logf("machine %s: %v", name, command.Wait())
	}()
	if err := <-started; err != nil {
		writer.Close()
		return nil, err
	}
	return m, nil
}

func (m *running) alive() bool {
	select {
	case <-m.ended:
		return false
	default:
		return true
	}
}

// stopAll stops the nodes, which stop their pods, and then the control plane.
func (s *Supervisor) stopAll() {
	s.mu.Lock()
	s.stopping = true
	s.allFast()
	machines := s.machines
	s.mu.Unlock()
	var group sync.WaitGroup
	for name, m := range machines {
		if name != topology.ControlPlane {
			group.Go(func() { m.terminate(name, nodeStopTimeout) })
		}
	}
	group.Wait()
	if m := machines[topology.ControlPlane]; m != nil {
		m.terminate(topology.ControlPlane, controlPlaneStopTimeout)
	}
}

func (m *running) terminate(name string, timeout time.Duration) {
	if !m.alive() {
		return
	}
	_ = syscall.Kill(m.pid, syscall.SIGTERM)
	select {
	case <-m.ended:
	case <-time.After(timeout):
		logf("machine %s did not stop within %s and is killed", name, timeout)
		_ = syscall.Kill(m.pid, syscall.SIGKILL)
		<-m.ended
	}
}

func openLog(path string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	return os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
}

func logf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%s %s\n", time.Now().UTC().Format(time.RFC3339), fmt.Sprintf(format, args...))
}
