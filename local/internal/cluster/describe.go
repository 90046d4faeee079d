package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"stateful-postgres/local/internal/status"
	"stateful-postgres/local/internal/supervisor"
)

// Describe writes what runs: machines, their components and how often each was
// started again. It returns [supervisor.ErrNotRunning] when nothing does.
func (c *Cluster) Describe(ctx context.Context, out io.Writer) error {
	info, err := c.running(ctx)
	if errors.Is(err, supervisor.ErrNotRunning) {
		return err
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "The local cluster of %s runs since %s (%s), supervisor process %d.\n",
		info.Root, info.Started.Local().Format(time.DateTime), status.Elapsed(time.Since(info.Started)), info.PID)
	fmt.Fprintf(out, "Control plane %s, nodes", info.Topology.APIServer())
	for _, n := range info.Topology.AllNodes() {
		fmt.Fprintf(out, " %s", n.Address)
	}
	fmt.Fprintf(out, ". Logs: %s\n\n", c.Layout.Logs())
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "MACHINE\tCOMPONENT\tSTATE\tFOR\tRESTARTS\tLAST EXIT")
	for _, m := range info.Machines {
		state := "down"
		if m.PID != 0 {
			state = "runs"
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
