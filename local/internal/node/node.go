// Package node runs one Kubernetes node: containerd, the kubelet and
// kube-proxy, with the images of the checkout loaded before the first pod.
package node

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"stateful-postgres/local/internal/layout"
	"stateful-postgres/local/internal/machine"
	"stateful-postgres/local/internal/pki"
	"stateful-postgres/local/internal/provisioner"
	"stateful-postgres/local/internal/topology"
	"stateful-postgres/local/internal/upstream"
)

const (
	containerdSocket  = "/run/containerd/containerd.sock"
	containerdTimeout = 60 * time.Second
	importTimeout     = 5 * time.Minute
)

// Run keeps the node running until the context is done, then stops its pods
// as a node that is shut down does, and the rest after them.
func Run(ctx context.Context, m *machine.Machine, number int) error {
	t, err := topology.Load(m.Layout)
	if err != nil {
		return err
	}
	n := t.Node(number)
	keys := pki.In(m.Layout)
	for target, name := range map[string]string{
		"/var/lib/containerd": "containerd",
		kubeletRoot:           "kubelet",
		podLogs:               "pod-logs",
	} {
		if err := m.Bind(m.Dir(name), target); err != nil {
			return err
		}
	}
	if err := writeConfigs(t, n, keys); err != nil {
		return err
	}

	stopContainerd := m.Start("containerd", []string{"containerd", "--config", containerdConfig})
	defer stopContainerd()
	err = machine.WaitFor(ctx, "containerd", containerdTimeout, func(ctx context.Context) error {
		connection, err := (&net.Dialer{}).DialContext(ctx, "unix", containerdSocket)
		if err != nil {
			return err
		}
		return connection.Close()
	})
	if err != nil {
		return err
	}
	if err := importImages(ctx, m, n); err != nil {
		return err
	}
	stopProxy := m.Start(upstream.Proxy, m.Self(upstream.Proxy, "--config="+proxyConfig))
	defer stopProxy()
	stopKubelet := m.Start(upstream.Kubelet, m.Self(upstream.Kubelet,
		"--kubeconfig="+keys.Kubeconfig(n.Name),
		"--config="+kubeletConfig,
		"--root-dir="+kubeletRoot,
		"--hostname-override="+n.Name,
		"--node-ip="+n.Address.String(),
		"--cert-dir="+filepath.Join(kubeletRoot, "pki"),
		// One zone: a volume of the provisioner can move between the nodes,
		// like a cloud disk within its zone.
		"--node-labels=topology.kubernetes.io/zone="+provisioner.Zone,
	))
	<-ctx.Done()
	stopKubelet()
	if err := stopPods(); err != nil {
		fmt.Fprintf(os.Stderr, "%s: stop pods: %v\n", n.Name, err)
	}
	return nil
}

func writeConfigs(t topology.Topology, n topology.Node, keys pki.Files) error {
	files, err := configs(t, n, keys)
	if err != nil {
		return err
	}
	for path, content := range files {
		if err := layout.WriteFile(path, content, 0o600); err != nil {
			return err
		}
	}
	return nil
}
