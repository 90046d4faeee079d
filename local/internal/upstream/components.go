// Package upstream holds the upstream programs that the one binary contains,
// unmodified: their own commands with their own flags.
package upstream

import (
	"context"
	"fmt"
	"os"
	"slices"

	"github.com/spf13/cobra"
	"k8s.io/component-base/cli"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"

	"stateful-postgres/local/internal/provisioner"
)

// Names of the programs, as their own --help gives them.
const (
	Etcd              = "etcd"
	APIServer         = "kube-apiserver"
	ControllerManager = "kube-controller-manager"
	Scheduler         = "kube-scheduler"
	Kubelet           = "kubelet"
	Proxy             = "kube-proxy"
	VolumeProvisioner = "volume-provisioner"
)

var commands = map[string]func() *cobra.Command{
	Etcd:              newEtcdCommand,
	APIServer:         apiserver.NewAPIServerCommand,
	ControllerManager: controllermanager.NewControllerManagerCommand,
	Scheduler:         func() *cobra.Command { return scheduler.NewSchedulerCommand() },
	Kubelet:           func() *cobra.Command { return kubelet.NewKubeletCommand(context.Background()) },
	Proxy:             proxy.NewProxyCommand,
	VolumeProvisioner: provisioner.NewCommand,
}

// Names returns the names of all programs, sorted.
func Names() []string {
	names := make([]string, 0, len(commands))
	for name := range commands {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Run runs the named program with the given arguments and returns its exit code.
func Run(name string, args []string) int {
	construct := commands[name]
	if construct == nil {
		fmt.Fprintf(os.Stderr, "localkube: no component %q: expected one of %v\n", name, Names())
		return 64
	}
	// The commands read the process's own arguments, some of them before
	// cobra parses any.
	os.Args = append([]string{name}, args...)
	return cli.Run(construct())
}
