package cluster

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"stateful-postgres/local/internal/status"
)

// Describe writes what runs: machines, their components and how often each was
// started again. It is an error when nothing does.
func (c *Cluster) Describe(ctx context.Context, out io.Writer) error {
	info, err := c.running(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "Up             %s, supervisor process %d\n", status.Elapsed(time.Since(info.Started)), info.PID)
	fmt.Fprintf(out, "Checkout       %s\n", info.Root)
	fmt.Fprintf(out, "Control plane  %s\n", info.Topology.APIServer())
	fmt.Fprint(out, "Nodes         ")
	for _, n := range info.Topology.AllNodes() {
		fmt.Fprintf(out, " %s", n.Address)
	}
	fmt.Fprintf(out, "\nLogs           %s\n\n", c.Layout.Logs())
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "MACHINE\tCOMPONENT\tSTATE\tFOR\tRESTARTS\tLAST EXIT")
	for _, m := range info.Machines {
		state := "down"
		if m.PID != 0 {
			state = "runs"
		}
		switch {
		case m.Crashed:
			state = "crashed"
		case m.Disconnected:
			state = "disconnected"
		}
		fmt.Fprintf(w, "%s\t(process %d)\t%s\t\t%d\t\n", m.Name, m.PID, state, m.Restarts)
		for _, component := range m.Status.Components {
			state := "down"
			if component.PID != 0 {
				state = "runs"
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%s\n", m.Name, component.Name, state,
				status.Elapsed(time.Since(component.Since)), component.Restarts, component.LastExit)
		}
	}
	return w.Flush()
}
