package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"strings"
	"time"

	"github.com/vishvananda/netns"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"stateful-postgres/local/internal/layout"
	"stateful-postgres/local/internal/supervisor"
	"stateful-postgres/local/internal/topology"
)

// poll is how often something that becomes ready is looked at.
const poll = 100 * time.Millisecond

type apiServer struct{ client kubernetes.Interface }

func connect(l layout.Layout) (apiServer, error) {
	config, err := clientcmd.BuildConfigFromFlags("", l.Kubeconfig())
	if err != nil {
		return apiServer{}, err
	}
	config.Timeout = 10 * time.Second
	client, err := kubernetes.NewForConfig(config)
	return apiServer{client}, err
}

// wait looks until there is nothing left to wait for, which look says with an
// empty string.
func wait(ctx context.Context, update func(string), look func(context.Context) string) error {
	for {
		waitingFor := look(ctx)
		if waitingFor == "" {
			return nil
		}
		update(waitingFor)
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w; last seen: %s", context.Cause(ctx), waitingFor)
		case <-time.After(poll):
		}
	}
}

func (a apiServer) waitForAPIServer(ctx context.Context, update func(string)) error {
	return wait(ctx, update, func(ctx context.Context) string {
		if _, err := a.client.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx); err != nil {
			return err.Error()
		}
		// Addons and pods need it; a controller makes it a moment later.
		if _, err := a.client.CoreV1().Namespaces().Get(ctx, metav1.NamespaceSystem, metav1.GetOptions{}); err != nil {
			return err.Error()
		}
		return ""
	})
}

// waitForNodes waits until each node has said by itself, since this cluster
// was started, that it is Ready, and until no pod is shown in a state from
// before. It removes nodes that an earlier, larger cluster had.
func (a apiServer) waitForNodes(ctx context.Context, info supervisor.Info, update func(string)) error {
	wanted := map[string]bool{}
	for _, node := range info.Topology.AllNodes() {
		wanted[node.Name] = true
	}
	return wait(ctx, update, func(ctx context.Context) string {
		nodes, err := a.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
		if err != nil {
			return err.Error()
		}
		ready := map[string]bool{}
		var waitingFor []string
		for _, node := range nodes.Items {
			if !wanted[node.Name] {
				if err := a.removeNode(ctx, node.Name); err != nil {
					return fmt.Sprintf("removing node %s: %v", node.Name, err)
				}
				continue
			}
			if problem := notReady(node, info.Started); problem != "" {
				waitingFor = append(waitingFor, node.Name+": "+problem)
				continue
			}
			ready[node.Name] = true
		}
		for name := range wanted {
			if !ready[name] && len(waitingFor) == 0 {
				waitingFor = append(waitingFor, name+": not registered yet")
			}
		}
		if len(waitingFor) > 0 {
			return strings.Join(waitingFor, "; ")
		}
		return a.stalePod(ctx, info.Started)
	})
}

// removeNode removes a node that no longer exists, and its pods at once: they
// cannot be running, and the garbage collection would leave them for a minute.
func (a apiServer) removeNode(ctx context.Context, name string) error {
	at := "spec.nodeName=" + name
	pods, err := a.client.CoreV1().Pods(metav1.NamespaceAll).List(ctx, metav1.ListOptions{FieldSelector: at})
	if err != nil {
		return err
	}
	for _, pod := range pods.Items {
		now := int64(0)
		err := a.client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{GracePeriodSeconds: &now})
		if err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	return a.client.CoreV1().Nodes().Delete(ctx, name, metav1.DeleteOptions{})
}

func notReady(node corev1.Node, since time.Time) string {
	for _, condition := range node.Status.Conditions {
		if condition.Type != corev1.NodeReady {
			continue
		}
		// Heartbeats have whole seconds.
		if condition.LastHeartbeatTime.Time.Before(since.Truncate(time.Second)) {
			return "not heard of yet"
		}
		if condition.Status != corev1.ConditionTrue {
			return condition.Message
		}
		for _, taint := range node.Spec.Taints {
			if taint.Key == corev1.TaintNodeNotReady || taint.Key == corev1.TaintNodeUnreachable {
				return "taint " + taint.Key + " not yet taken away"
			}
		}
		return ""
	}
	return "no condition yet"
}

// stalePod names a pod whose containers are shown as running since before the
// cluster was started, which cannot be.
func (a apiServer) stalePod(ctx context.Context, started time.Time) string {
	pods, err := a.client.CoreV1().Pods(metav1.NamespaceAll).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err.Error()
	}
	for _, pod := range pods.Items {
		for _, container := range pod.Status.ContainerStatuses {
			if running := container.State.Running; running != nil && running.StartedAt.Time.Before(started.Truncate(time.Second)) {
				return fmt.Sprintf("pod %s/%s: still shown as before", pod.Namespace, pod.Name)
			}
		}
	}
	return ""
}

// waitForDNS asks the cluster's DNS from inside the first node, at the address
// that every pod uses.
func waitForDNS(ctx context.Context, info supervisor.Info, update func(string)) error {
	name := "kubernetes.default.svc." + topology.ClusterDomain
	return wait(ctx, update, func(ctx context.Context) string {
		addresses, err := lookupInside(ctx, machinePID(info, info.Topology.Node(1).Name), name)
		if err != nil {
			// The resolver names the server of the host's resolv.conf, which
			// was not asked.
			if failed := new(net.DNSError); errors.As(err, &failed) {
				failed.Server = topology.DNSServiceIP
			}
			return err.Error()
		}
		if len(addresses) != 1 || addresses[0] != topology.APIServerServiceIP {
			return fmt.Sprintf("%s is %v, expected %s", name, addresses, topology.APIServerServiceIP)
		}
		return ""
	})
}

func lookupInside(ctx context.Context, pid int, name string) ([]string, error) {
	resolver := &net.Resolver{
		PreferGo: true,
		Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return dialInside(ctx, pid, network, net.JoinHostPort(topology.DNSServiceIP, "53"))
		},
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	return resolver.LookupHost(ctx, name+".")
}

// dialInside connects from within the network namespace of a process. A socket
// stays in the namespace in which it was made.
func dialInside(ctx context.Context, pid int, network, address string) (net.Conn, error) {
	type result struct {
		connection net.Conn
		err        error
	}
	done := make(chan result, 1)
	go func() {
		// Never unlocked: the thread ends with the goroutine instead of
		// being used for something else in the wrong namespace.
		runtime.LockOSThread()
		ns, err := netns.GetFromPid(pid)
		if err == nil {
			defer ns.Close()
			err = netns.Set(ns)
		}
		if err != nil {
			done <- result{err: fmt.Errorf("enter the network of process %d: %w", pid, err)}
			return
		}
		connection, err := (&net.Dialer{}).DialContext(ctx, network, address)
		done <- result{connection, err}
	}()
	r := <-done
	return r.connection, r.err
}

func machinePID(info supervisor.Info, name string) int {
	for _, m := range info.Machines {
		if m.Name == name {
			return m.PID
		}
	}
	return 0
}
