package supervisor

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"stateful-postgres/local/internal/machine"
	"stateful-postgres/local/internal/network"
	"stateful-postgres/local/internal/topology"
	"stateful-postgres/local/internal/volume"
)

// Fault is what can happen to a node, or its end.
type Fault string

const (
	// Crash ends a node as the loss of power does: nobody hears from it any more, and
	// everything in it is gone. It stays down until Start.
	Crash Fault = "crash"
	// Start starts a node that crashed.
	Start Fault = "start"
	// Disconnect lets no packet into or out of a node. Everything in it goes on.
	Disconnect Fault = "disconnect"
	// Connect ends that.
	Connect Fault = "connect"
)

// Faults are all there are.
var Faults = []Fault{Crash, Start, Disconnect, Connect}

// strike does to a node what was asked for. What is so already stays so.
func (s *Supervisor) strike(fault Fault, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	node, err := s.node(name)
	if err != nil {
		return err
	}
	if s.stopping {
		return fmt.Errorf("the cluster is being stopped")
	}
	own, controlPlane := s.machines[name], s.machines[topology.ControlPlane]
	switch fault {
	case Crash:
		s.crashed[name] = true
		if !own.alive() {
			return nil
		}
		// First of all, or the kernel would close the node's connections.
		if err := network.Unplug(node, controlPlane.pid); err != nil {
			return err
		}
		if err := syscall.Kill(own.pid, syscall.SIGKILL); err != nil {
			return fmt.Errorf("end process %d: %w", own.pid, err)
		}
		<-own.ended
	case Start:
		delete(s.crashed, name)
	case Disconnect:
		s.disconnected[name] = true
		return network.Unplug(node, controlPlane.pid)
	case Connect:
		delete(s.disconnected, name)
		if own.alive() {
			return network.Plug(node, controlPlane.pid)
		}
	default:
		return fmt.Errorf("%q: expected one of %v", fault, Faults)
	}
	return nil
}

func (s *Supervisor) node(name string) (topology.Node, error) {
	var names []string
	for _, node := range s.topology.AllNodes() {
		if node.Name == name {
			return node, nil
		}
		names = append(names, node.Name)
	}
	return topology.Node{}, fmt.Errorf("node %q: expected one of %s", name, strings.Join(names, ", "))
}

// stopComponent lets a component of a machine do nothing more, or go on: it keeps its
// memory and its connections, and answers nobody.
func (s *Supervisor) stopComponent(machineName, component string, stop bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	running := s.machines[machineName]
	if running == nil || !running.alive() {
		return fmt.Errorf("machine %q: expected one that runs, of %s", machineName, strings.Join(s.topology.Machines(), ", "))
	}
	status, err := machine.ReadStatus(s.layout, machineName)
	if err != nil {
		return err
	}
	var names []string
	for _, c := range status.Components {
		names = append(names, c.Name)
		if c.Name != component {
			continue
		}
		if c.PID == 0 {
			return fmt.Errorf("%s of %s does not run", component, machineName)
		}
		pid, err := outsidePID(running.pid, c.PID)
		if err != nil {
			return fmt.Errorf("%s of %s: %w", component, machineName, err)
		}
		signal := syscall.SIGCONT
		if stop {
			signal = syscall.SIGSTOP
		}
		return syscall.Kill(pid, signal)
	}
	return fmt.Errorf("component %q of %s: expected one of %s", component, machineName, strings.Join(names, ", "))
}

// slowVolume makes a volume of a node slow, or fast again. What is so already stays so.
func (s *Supervisor) slowVolume(nodeName, name string, slow bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	node, err := s.node(nodeName)
	if err != nil {
		return err
	}
	now := s.slow[name]
	switch {
	case !slow && now != nil:
		delete(s.slow, name)
		return now.End()
	case !slow, now != nil:
		return nil
	case s.stopping:
		return fmt.Errorf("the cluster is being stopped")
	}
	running := s.machines[node.Name]
	if running == nil || !running.alive() {
		return fmt.Errorf("node %s does not run", node.Name)
	}
	begun, err := volume.Begin(running.pid, name)
	if err != nil {
		return err
	}
	s.slow[name] = begun
	return nil
}

// allFast makes every volume fast again.
func (s *Supervisor) allFast() {
	for name, slow := range s.slow {
		if err := slow.End(); err != nil {
			logf("volume %s: %v", name, err)
		}
	}
}

// outsidePID is how the host calls a process of the PID namespace that another one is the
// first of. See NSpid in proc_pid_status(5).
func outsidePID(first, inside int) (int, error) {
	namespace, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", first))
	if err != nil {
		return 0, err
	}
	statuses, err := filepath.Glob("/proc/[0-9]*/status")
	if err != nil {
		return 0, err
	}
	for _, file := range statuses {
		// A process may end meanwhile.
		content, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(content)) {
			pids, found := strings.CutPrefix(line, "NSpid:")
			if !found {
				continue
			}
			all := strings.Fields(pids)
			if len(all) < 2 || all[len(all)-1] != strconv.Itoa(inside) {
				break
			}
			if its, err := os.Readlink(filepath.Join(filepath.Dir(file), "ns", "pid")); err == nil && its == namespace {
				return strconv.Atoi(all[0])
			}
		}
	}
	return 0, fmt.Errorf("no process %d in the namespace of process %d", inside, first)
}

// Component asks the supervisor of this machine to stop a component of a machine, or to
// let it go on.
func Component(ctx context.Context, machine, component, does string) error {
	return do(ctx, http.MethodPost, "/machines/"+url.PathEscape(machine)+"/"+url.PathEscape(component)+"/"+does, nil)
}

// Volume asks the supervisor of this machine to make a volume of a node slow, or fast again.
func Volume(ctx context.Context, node, volume, does string) error {
	return do(ctx, http.MethodPost, "/nodes/"+url.PathEscape(node)+"/"+url.PathEscape(volume)+"/"+does, nil)
}

// Strike asks the supervisor of this machine to do something to a node, and
// returns when it is done. A node that was started is not Ready yet.
func Strike(ctx context.Context, fault Fault, node string) error {
	return do(ctx, http.MethodPost, "/nodes/"+url.PathEscape(node)+"/"+string(fault), nil)
}
