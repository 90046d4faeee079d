package supervisor

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"syscall"

	"stateful-postgres/local/internal/network"
	"stateful-postgres/local/internal/topology"
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
	machine, controlPlane := s.machines[name], s.machines[topology.ControlPlane]
	switch fault {
	case Crash:
		s.crashed[name] = true
		if !machine.alive() {
			return nil
		}
		// First of all, or the kernel would close the node's connections.
		if err := network.Unplug(node, controlPlane.pid); err != nil {
			return err
		}
		if err := syscall.Kill(machine.pid, syscall.SIGKILL); err != nil {
			return fmt.Errorf("end process %d: %w", machine.pid, err)
		}
		<-machine.ended
	case Start:
		delete(s.crashed, name)
	case Disconnect:
		s.disconnected[name] = true
		return network.Unplug(node, controlPlane.pid)
	case Connect:
		delete(s.disconnected, name)
		if machine.alive() {
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

// Strike asks the supervisor of this machine to do something to a node, and
// returns when it is done. A node that was started is not Ready yet.
func Strike(ctx context.Context, fault Fault, node string) error {
	return do(ctx, http.MethodPost, "/nodes/"+url.PathEscape(node)+"/"+string(fault), nil)
}
