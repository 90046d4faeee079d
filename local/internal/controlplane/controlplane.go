// Package controlplane runs what Kubernetes runs once: etcd, the apiserver, the
// controller manager, the scheduler and the provisioner of volumes.
package controlplane

import (
	"context"
	"fmt"
	"net"
	"time"

	"stateful-postgres/local/internal/machine"
	"stateful-postgres/local/internal/pki"
	"stateful-postgres/local/internal/provisioner"
	"stateful-postgres/local/internal/topology"
	"stateful-postgres/local/internal/upstream"
)

const (
	etcdAddress      = "127.0.0.1:2379"
	etcdTimeout      = 60 * time.Second
	apiServerTimeout = 90 * time.Second
)

// Run keeps the control plane running until the context is done.
func Run(ctx context.Context, m *machine.Machine) error {
	t, err := topology.Load(m.Layout)
	if err != nil {
		return err
	}
	keys := pki.In(m.Layout)
	address := t.ControlPlane().String()

	stopEtcd := m.Start(upstream.Etcd, m.Self(upstream.Etcd, "--data-dir="+m.Dir("etcd")))
	defer stopEtcd()
	if err := machine.WaitFor(ctx, upstream.Etcd, etcdTimeout, accepts(etcdAddress)); err != nil {
		return err
	}
	stopAPIServer := m.Start(upstream.APIServer, m.Self(upstream.APIServer,
		"--etcd-servers=http://"+etcdAddress,
		"--bind-address="+address,
		"--advertise-address="+address,
		fmt.Sprintf("--secure-port=%d", topology.APIServerPort),
		"--service-cluster-ip-range="+topology.ServiceCIDR,
		"--tls-cert-file="+keys.Certificate(pki.APIServer),
		"--tls-private-key-file="+keys.Key(pki.APIServer),
		"--client-ca-file="+keys.CA(),
		"--kubelet-certificate-authority="+keys.CA(),
		"--kubelet-client-certificate="+keys.Certificate(pki.KubeletClient),
		"--kubelet-client-key="+keys.Key(pki.KubeletClient),
		"--kubelet-preferred-address-types=InternalIP",
		"--service-account-key-file="+keys.ServiceAccountKey(),
		"--service-account-signing-key-file="+keys.ServiceAccountKey(),
		"--service-account-issuer=https://kubernetes.default.svc."+topology.ClusterDomain,
		"--authorization-mode=Node,RBAC",
		"--enable-admission-plugins=NodeRestriction",
		"--allow-privileged=true",
		"--profiling=false",
	))
	defer stopAPIServer()
	if err := machine.WaitFor(ctx, upstream.APIServer, apiServerTimeout, accepts(net.JoinHostPort(address, fmt.Sprint(topology.APIServerPort)))); err != nil {
		return err
	}
	for name, command := range map[string][]string{
		upstream.ControllerManager: m.Self(upstream.ControllerManager,
			"--kubeconfig="+keys.Kubeconfig(pki.ControllerManager),
			"--service-account-private-key-file="+keys.ServiceAccountKey(),
			"--root-ca-file="+keys.CA(),
			"--use-service-account-credentials=true",
			"--leader-elect=false",
			"--bind-address=127.0.0.1",
			"--profiling=false",
		),
		upstream.Scheduler: m.Self(upstream.Scheduler,
			"--kubeconfig="+keys.Kubeconfig(pki.Scheduler),
			"--leader-elect=false",
			"--bind-address=127.0.0.1",
			"--profiling=false",
		),
		upstream.VolumeProvisioner: m.Self(upstream.VolumeProvisioner,
			"--kubeconfig="+keys.Kubeconfig(pki.Provisioner),
			"--volumes="+provisioner.Folder(m.Layout),
		),
	} {
		defer m.Start(name, command)()
	}
	<-ctx.Done()
	return nil
}

// accepts tells whether something listens: the component's clients retry by
// themselves what it is not ready for yet.
func accepts(address string) func(context.Context) error {
	return func(ctx context.Context) error {
		connection, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", address)
		if err != nil {
			return err
		}
		return connection.Close()
	}
}
