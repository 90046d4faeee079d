// Package cluster is what the user does with a local cluster: up, down,
// status, load and env. It talks to the supervisor and to the apiserver, and
// makes neither machines nor mounts itself.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"stateful-postgres/local/internal/addons"
	"stateful-postgres/local/internal/layout"
	"stateful-postgres/local/internal/network"
	"stateful-postgres/local/internal/status"
	"stateful-postgres/local/internal/supervisor"
	"stateful-postgres/local/internal/topology"
)

// Deadlines of what up and down wait for.
const (
	lockTimeout         = 2 * time.Minute
	supervisorTimeout   = 30 * time.Second
	controlPlaneTimeout = 2 * time.Minute
	addonsTimeout       = time.Minute
	nodesTimeout        = 3 * time.Minute
	dnsTimeout          = 2 * time.Minute
	// Nodes give their pods up to 75 s, one after the other with the
	// control plane.
	stopTimeout = 150 * time.Second
)

// Cluster is the local cluster of one checkout.
type Cluster struct {
	Layout layout.Layout
	// Status shows what up and down do.
	Status *status.Status
}

// Supported returns an error that says in one line why this machine cannot
// have a local cluster, and how to go on without.
func Supported() error {
	const instead = "use a cluster and a Pulumi CLI of your own instead: make demo CONTEXT=name"
	if runtime.GOOS != "linux" {
		return fmt.Errorf("the local cluster needs Linux, this is %s; %s", runtime.GOOS, instead)
	}
	if os.Geteuid() != 0 {
		return fmt.Errorf("the local cluster needs root to make network namespaces and containers, this is user %d; run it as root, or %s", os.Geteuid(), instead)
	}
	for _, program := range []string{"containerd", "ctr", "crun", "iptables", "conntrack", "nsenter", "/usr/lib/cni/bridge"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("the local cluster needs %s, which is not installed; run: make cluster (it installs Debian's packages), or %s", filepath.Base(program), instead)
		}
	}
	return nil
}

// errOtherCheckout names where the cluster of another checkout is.
func errOtherCheckout(info supervisor.Info) error {
	return fmt.Errorf("a local cluster of another checkout runs in %s (process %d); stop it first: make -C %s cluster-down", info.Root, info.PID, info.Root)
}

// Up makes the cluster of this checkout run with the given number of nodes,
// and returns when every node is Ready and its DNS answers. Zero nodes means
// as many as last time, or one.
func (c *Cluster) Up(ctx context.Context, nodes int) error {
	if err := Supported(); err != nil {
		return err
	}
	unlock, err := c.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if err := c.writeEnv(); err != nil {
		return err
	}
	t, err := c.plan(nodes)
	if err != nil {
		return err
	}
	if err := c.stopIfOutdated(ctx, t); err != nil {
		return err
	}
	if _, err := supervisor.Ask(ctx); errors.Is(err, supervisor.ErrNotRunning) {
		if err := c.start(ctx, t); err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	info, err := c.returned(ctx)
	if err != nil {
		return err
	}
	return c.waitUntilReady(ctx, info)
}

// returned brings back the nodes that somebody took away.
func (c *Cluster) returned(ctx context.Context) (supervisor.Info, error) {
	info, err := supervisor.Ask(ctx)
	if err != nil {
		return info, err
	}
	for _, m := range info.Machines {
		for fault, so := range map[supervisor.Fault]bool{supervisor.Start: m.Crashed, supervisor.Connect: m.Disconnected} {
			if !so {
				continue
			}
			if err := supervisor.Strike(ctx, fault, m.Name); err != nil {
				return info, err
			}
		}
	}
	return info, nil
}

// Strike does something to a node of the cluster that runs.
func (c *Cluster) Strike(ctx context.Context, fault supervisor.Fault, node string) error {
	if _, err := c.running(ctx); err != nil {
		return err
	}
	return supervisor.Strike(ctx, fault, node)
}

// Component stops a component of a machine, or lets it go on.
func (c *Cluster) Component(ctx context.Context, machine, component, does string) error {
	if _, err := c.running(ctx); err != nil {
		return err
	}
	return supervisor.Component(ctx, machine, component, does)
}

// Volume makes a volume of a node slow, or fast again.
func (c *Cluster) Volume(ctx context.Context, node, volume, does string) error {
	if _, err := c.running(ctx); err != nil {
		return err
	}
	return supervisor.Volume(ctx, node, volume, does)
}

// plan decides about nodes and subnet: what was there before stays, if it can.
func (c *Cluster) plan(nodes int) (topology.Topology, error) {
	if nodes < 0 || nodes > topology.MaxNodes {
		return topology.Topology{}, fmt.Errorf("--nodes %d: expected a number from 1 to %d", nodes, topology.MaxNodes)
	}
	t, err := topology.Load(c.Layout)
	if err != nil {
		return t, err
	}
	if nodes != 0 {
		t.Nodes = nodes
	}
	if t.Nodes == 0 {
		t.Nodes = 1
	}
	inUse, err := network.RoutesInUse()
	if err != nil {
		return t, err
	}
	t.Subnet, err = topology.ChooseSubnet(t.Subnet, inUse)
	return t, err
}

// stopIfOutdated stops a cluster of this checkout that runs with another
// program or topology, and refuses to touch that of another checkout.
func (c *Cluster) stopIfOutdated(ctx context.Context, t topology.Topology) error {
	info, err := supervisor.Ask(ctx)
	if errors.Is(err, supervisor.ErrNotRunning) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Root != c.Layout.Root {
		return errOtherCheckout(info)
	}
	program, err := supervisor.Program(c.Layout.Binary("localkube"))
	if err != nil {
		return err
	}
	reason := ""
	switch {
	case info.Program != program:
		reason = "localkube was built anew"
	case info.Topology.Nodes != t.Nodes:
		reason = fmt.Sprintf("it has %d node(s), %d wanted", info.Topology.Nodes, t.Nodes)
	case info.Topology != t:
		reason = "its subnet " + info.Topology.Subnet.String() + " is in use elsewhere now"
	default:
		return nil
	}
	return c.Status.Step("Stopping the cluster that runs: "+reason, func(func(string)) error {
		return stop(ctx, info)
	})
}

// start makes a supervisor that outlives this process.
func (c *Cluster) start(ctx context.Context, t topology.Topology) error {
	if err := t.Save(c.Layout); err != nil {
		return err
	}
	return c.Status.Step("Starting the machines", func(update func(string)) error {
		logPath := filepath.Join(c.Layout.Logs(), "supervisor.log")
		if err := os.MkdirAll(filepath.Dir(logPath), 0o700); err != nil {
			return err
		}
		log, err := os.OpenFile(logPath, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		defer log.Close()
		command := exec.Command(c.Layout.Binary("localkube"), "supervise")
		command.Dir = "/"
		command.Stdout, command.Stderr = log, log
		// Out of the terminal's session: closing it does not end the cluster.
		command.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if err := command.Start(); err != nil {
			return err
		}
		ended := make(chan error, 1)
		go func() { ended <- command.Wait() }()
		deadline := time.NewTimer(supervisorTimeout)
		defer deadline.Stop()
		for {
			info, err := supervisor.Ask(ctx)
			if err == nil && allRun(info) {
				return nil
			}
			if err == nil {
				update("waiting for all machines to run")
			}
			select {
			case <-ended:
				return fmt.Errorf("the supervisor ended: %s (log: %s)", lastLine(logPath), logPath)
			case <-deadline.C:
				return fmt.Errorf("the machines do not run after %s: %s (log: %s)", supervisorTimeout, lastLine(logPath), logPath)
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-time.After(50 * time.Millisecond):
			}
		}
	})
}

func allRun(info supervisor.Info) bool {
	for _, m := range info.Machines {
		if m.PID == 0 {
			return false
		}
	}
	return len(info.Machines) > 0
}

func lastLine(path string) string {
	content, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(content)), "\n")
	return lines[len(lines)-1]
}

func (c *Cluster) waitUntilReady(ctx context.Context, info supervisor.Info) error {
	k, err := connect(c.Layout)
	if err != nil {
		return err
	}
	steps := []struct {
		title   string
		timeout time.Duration
		do      func(context.Context, func(string)) error
	}{
		{"Control plane", controlPlaneTimeout, k.waitForAPIServer},
		{"Cluster's own objects", addonsTimeout, func(ctx context.Context, _ func(string)) error {
			return addons.Apply(ctx, c.Layout)
		}},
		{fmt.Sprintf("Images on %d node(s)", info.Topology.Nodes), nodesTimeout, func(ctx context.Context, update func(string)) error {
			return c.importMissing(ctx, info, update)
		}},
		{fmt.Sprintf("Nodes Ready: %d", info.Topology.Nodes), nodesTimeout, func(ctx context.Context, update func(string)) error {
			return k.waitForNodes(ctx, info, update)
		}},
		{"DNS answers", dnsTimeout, func(ctx context.Context, update func(string)) error {
			return waitForDNS(ctx, info, update)
		}},
	}
	for _, step := range steps {
		err := c.Status.Step(step.title, func(update func(string)) error {
			ctx, cancel := context.WithTimeout(ctx, step.timeout)
			defer cancel()
			return step.do(ctx, update)
		})
		if err != nil {
			return fmt.Errorf("%s: %w (logs: %s)", step.title, err, c.Layout.Logs())
		}
	}
	return nil
}

// Down stops the cluster of this checkout and leaves its data for the next up.
// It also removes what a cluster that was killed left on the host.
func (c *Cluster) Down(ctx context.Context) error {
	if err := Supported(); err != nil {
		return err
	}
	unlock, err := c.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	info, err := supervisor.Ask(ctx)
	if errors.Is(err, supervisor.ErrNotRunning) {
		return supervisor.Clean(c.Layout)
	}
	if err != nil {
		return err
	}
	if info.Root != c.Layout.Root {
		c.Status.Note("No cluster of this checkout is running. %v", errOtherCheckout(info))
		return nil
	}
	return c.Status.Step("Stopping the cluster", func(func(string)) error { return stop(ctx, info) })
}

// stop asks the supervisor to end, waits until it is gone, and kills it when
// that takes too long: the machines end with it.
func stop(ctx context.Context, info supervisor.Info) error {
	if err := supervisor.Stop(ctx); err != nil && !errors.Is(err, supervisor.ErrNotRunning) {
		return err
	}
	deadline := time.Now().Add(stopTimeout)
	killed := false
	for {
		// The process itself and not its socket: it cleans up at its end.
		err := syscall.Kill(info.PID, 0)
		if errors.Is(err, syscall.ESRCH) {
			return nil
		}
		if time.Now().After(deadline) {
			if killed {
				return fmt.Errorf("process %d of the local cluster does not end", info.PID)
			}
			_ = syscall.Kill(info.PID, syscall.SIGKILL)
			killed, deadline = true, time.Now().Add(supervisorTimeout)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// lock keeps two ups or downs of one checkout apart.
func (c *Cluster) lock(ctx context.Context) (unlock func(), err error) {
	if err := os.MkdirAll(c.Layout.Local(), 0o755); err != nil {
		return nil, err
	}
	path := filepath.Join(c.Layout.Local(), "cluster.lock")
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	deadline := time.Now().Add(lockTimeout)
	for said := false; ; said = true {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { file.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) || time.Now().After(deadline) {
			file.Close()
			return nil, fmt.Errorf("another up or down of this checkout is running (lock %s): %w", path, err)
		}
		if !said {
			c.Status.Note("Waiting for another up or down of this checkout to end")
		}
		select {
		case <-ctx.Done():
			file.Close()
			return nil, context.Cause(ctx)
		case <-time.After(100 * time.Millisecond):
		}
	}
}
