// Localkube is a real Kubernetes on one Linux machine: the unmodified upstream
// components in one program, and the commands that start and stop them.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"stateful-postgres/local/internal/cluster"
	"stateful-postgres/local/internal/controlplane"
	"stateful-postgres/local/internal/layout"
	"stateful-postgres/local/internal/machine"
	"stateful-postgres/local/internal/node"
	"stateful-postgres/local/internal/status"
	"stateful-postgres/local/internal/supervisor"
	"stateful-postgres/local/internal/topology"
	"stateful-postgres/local/internal/upstream"
)

func main() { os.Exit(run(os.Args)) }

func run(args []string) int {
	// Components parse their own flags: nothing of ours comes in between.
	if len(args) >= 3 && args[1] == "component" {
		return upstream.Run(args[2], args[3:])
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	command := newCommand()
	command.SetArgs(args[1:])
	err := command.ExecuteContext(ctx)
	switch {
	case err == nil:
		return 0
	case ctx.Err() != nil:
		fmt.Fprintln(os.Stderr, "localkube: interrupted")
		return 130
	case errors.As(err, new(usageError)):
		fmt.Fprintf(os.Stderr, "localkube: %v; see localkube --help\n", err)
		return 64
	default:
		fmt.Fprintf(os.Stderr, "localkube: %v\n", err)
		return 1
	}
}

type usageError struct{ error }

func newCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "localkube",
		Short:         "A real Kubernetes on this machine",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(newUp(), newDown(), newStatus(), newNode(), newProcess(), newVolume(), newLoad(), newEnv(), newSupervise(), newMachine())
	return root
}

// onCluster is what a command does with the cluster of this checkout.
func onCluster(do func(command *cobra.Command, args []string, c *cluster.Cluster) error) func(*cobra.Command, []string) error {
	return func(command *cobra.Command, args []string) error {
		l, err := layout.FindFromExecutable()
		if err != nil {
			return err
		}
		return do(command, args, &cluster.Cluster{Layout: l, Status: status.New(os.Stderr)})
	}
}

// newGroup is a command that does nothing by itself.
func newGroup(name, short string) *cobra.Command {
	return &cobra.Command{
		Use:   name,
		Short: short,
		Args:  cobra.NoArgs,
		RunE:  func(command *cobra.Command, _ []string) error { return command.Help() },
	}
}

func newUp() *cobra.Command {
	var nodes int
	c := &cobra.Command{
		Use:   "up",
		Short: "Start the cluster, and return when every node is Ready and DNS answers",
		Args:  cobra.NoArgs,
		RunE: onCluster(func(command *cobra.Command, _ []string, c *cluster.Cluster) error {
			if command.Flags().Changed("nodes") && (nodes < 1 || nodes > topology.MaxNodes) {
				return usageError{fmt.Errorf("--nodes %d: expected a number from 1 to %d", nodes, topology.MaxNodes)}
			}
			return c.Up(command.Context(), nodes)
		}),
	}
	c.Flags().IntVar(&nodes, "nodes", 0, "number of nodes, 1 to "+strconv.Itoa(topology.MaxNodes)+" (default as last time, else 1)")
	return c
}

func newDown() *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "Stop the cluster; its data stays for the next up",
		Args:  cobra.NoArgs,
		RunE: onCluster(func(command *cobra.Command, _ []string, c *cluster.Cluster) error {
			return c.Down(command.Context())
		}),
	}
}

func newStatus() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show machines and components",
		Args:  cobra.NoArgs,
		RunE: onCluster(func(command *cobra.Command, _ []string, c *cluster.Cluster) error {
			return c.Describe(command.Context(), command.OutOrStdout())
		}),
	}
}

// newNode is for tests of what happens when a node goes away.
func newNode() *cobra.Command {
	root := newGroup("node", "Take a node away, or bring it back: a test of what runs in the cluster")
	for fault, short := range map[supervisor.Fault]string{
		supervisor.Crash:      "End a node at once, as the loss of power does; it stays down",
		supervisor.Start:      "Start a node that crashed",
		supervisor.Disconnect: "Let no packet into or out of a node; what it runs goes on",
		supervisor.Connect:    "Connect a node that was disconnected",
	} {
		root.AddCommand(&cobra.Command{
			Use:   string(fault) + " NODE",
			Short: short,
			Args:  cobra.ExactArgs(1),
			RunE: onCluster(func(command *cobra.Command, args []string, c *cluster.Cluster) error {
				return c.Strike(command.Context(), fault, args[0])
			}),
		})
	}
	return root
}

// newProcess is for tests of what happens when a part of the cluster does not answer.
func newProcess() *cobra.Command {
	root := newGroup("process", "Stop a component of a machine where it stands, or let it go on: a test of what runs in the cluster")
	for does, short := range map[string]string{
		"stop":  "Let a component do nothing more (SIGSTOP): it keeps its connections, and answers nobody",
		"start": "Let it go on (SIGCONT)",
	} {
		root.AddCommand(&cobra.Command{
			Use:     does + " MACHINE COMPONENT",
			Short:   short,
			Example: "  localkube process " + does + " node-1 kubelet\n  localkube process " + does + " control-plane kube-apiserver",
			Args:    cobra.ExactArgs(2),
			RunE: onCluster(func(command *cobra.Command, args []string, c *cluster.Cluster) error {
				return c.Component(command.Context(), args[0], args[1], does)
			}),
		})
	}
	return root
}

// newVolume is for tests of what happens when a disk is slow.
func newVolume() *cobra.Command {
	root := newGroup("volume", "Make a volume slow, or fast again: a test of what runs in the cluster")
	for does, short := range map[string]string{
		"slow": "Let nothing be written to a volume for most of each half second, for 5 minutes at most",
		"fast": "Make a volume fast again",
	} {
		root.AddCommand(&cobra.Command{
			Use:   does + " NODE VOLUME",
			Short: short,
			Long:  short + ". VOLUME is the name of a PersistentVolume that a pod on the node has mounted; it needs a disk of its own.",
			Args:  cobra.ExactArgs(2),
			RunE: onCluster(func(command *cobra.Command, args []string, c *cluster.Cluster) error {
				return c.Volume(command.Context(), args[0], args[1], does)
			}),
		})
	}
	return root
}

func newLoad() *cobra.Command {
	return &cobra.Command{
		Use:   "load IMAGE.tar",
		Short: "Load a container image into every node",
		Long:  "Load a container image into every node: a docker-archive or OCI archive, as docker save and podman save write it.",
		Args:  cobra.ExactArgs(1),
		RunE: onCluster(func(command *cobra.Command, args []string, c *cluster.Cluster) error {
			return c.Load(command.Context(), args[0])
		}),
	}
}

func newEnv() *cobra.Command {
	return &cobra.Command{
		Use:   "env",
		Short: "Print what a shell needs: . <(localkube env)",
		Args:  cobra.NoArgs,
		RunE: onCluster(func(command *cobra.Command, _ []string, c *cluster.Cluster) error {
			_, err := fmt.Fprint(command.OutOrStdout(), cluster.Env(c.Layout))
			return err
		}),
	}
}

// newSupervise is what up starts in the background.
func newSupervise() *cobra.Command {
	return &cobra.Command{
		Use:    "supervise",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			l, err := layout.FindFromExecutable()
			if err != nil {
				return err
			}
			t, err := topology.Load(l)
			if err != nil {
				return err
			}
			return supervisor.Run(command.Context(), l, t)
		},
	}
}

// newMachine is what the supervisor starts as process 1 of a machine.
func newMachine() *cobra.Command {
	return &cobra.Command{
		Use:    "machine NAME",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			name := args[0]
			if name == topology.ControlPlane {
				return machine.Run(name, controlplane.Run)
			}
			number, err := strconv.Atoi(strings.TrimPrefix(name, "node-"))
			if err != nil {
				return usageError{fmt.Errorf("machine %q: expected %s or node-N", name, topology.ControlPlane)}
			}
			return machine.Run(name, func(ctx context.Context, m *machine.Machine) error {
				return node.Run(ctx, m, number)
			})
		},
	}
}
