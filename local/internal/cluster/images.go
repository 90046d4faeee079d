package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"stateful-postgres/local/internal/node"
	"stateful-postgres/local/internal/supervisor"
)

// Load makes every node of the running cluster hold the image of a
// docker-archive.
func (c *Cluster) Load(ctx context.Context, archive string) error {
	if err := Supported(); err != nil {
		return err
	}
	info, err := c.running(ctx)
	if err != nil {
		return err
	}
	return c.Status.Step(fmt.Sprintf("Loading %s on %d node(s)", archive, info.Topology.Nodes), func(update func(string)) error {
		for _, n := range info.Topology.AllNodes() {
			update(n.Name)
			if err := importInto(ctx, machinePID(info, n.Name), archive); err != nil {
				return fmt.Errorf("%s: %w", n.Name, err)
			}
		}
		return nil
	})
}

// running returns the cluster of this checkout, which has to be up.
func (c *Cluster) running(ctx context.Context) (supervisor.Info, error) {
	info, err := supervisor.Ask(ctx)
	if errors.Is(err, supervisor.ErrNotRunning) {
		return info, fmt.Errorf("%w; start it with: make cluster", err)
	}
	if err == nil && info.Root != c.Layout.Root {
		err = errOtherCheckout(info)
	}
	return info, err
}

// importMissing loads the checkout's images that changed since a node was
// started; what is there at its start it loads by itself.
func (c *Cluster) importMissing(ctx context.Context, info supervisor.Info, update func(string)) error {
	for _, n := range info.Topology.AllNodes() {
		// The node's own import may be under way: kubelet and record come
		// after it.
		err := wait(ctx, update, func(context.Context) string {
			for _, m := range info.Machines {
				if m.Name != n.Name {
					continue
				}
				for _, component := range m.Status.Components {
					if component.Name == "kubelet" {
						return ""
					}
				}
			}
			fresh, err := supervisor.Ask(ctx)
			if err != nil {
				return err.Error()
			}
			info = fresh
			return n.Name + ": loading images"
		})
		if err != nil {
			return err
		}
		images, err := node.LoadedImages(c.Layout, n)
		if err != nil {
			return err
		}
		missing, err := images.Missing(c.Layout)
		if err != nil {
			return err
		}
		for _, archive := range missing {
			update(n.Name + ": " + filepath.Base(archive))
			if err := importInto(ctx, machinePID(info, n.Name), archive); err != nil {
				return fmt.Errorf("%s: %w", n.Name, err)
			}
			if err := images.Loaded(archive); err != nil {
				return err
			}
		}
	}
	return nil
}

// importInto loads an archive into the containerd of the machine whose process
// 1 is given. The archive is piped: the machine need not see its path.
func importInto(ctx context.Context, pid int, archive string) error {
	file, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer file.Close()
	arguments := append([]string{"--target", strconv.Itoa(pid), "--mount", "--pid"}, node.ImportCommand("-")...)
	var out bytes.Buffer
	command := exec.CommandContext(ctx, "nsenter", arguments...)
	command.Stdin = io.Reader(file)
	command.Stdout, command.Stderr = &out, &out
	if err := command.Run(); err != nil {
		return fmt.Errorf("import %s: %w: %s", archive, err, strings.TrimSpace(out.String()))
	}
	return nil
}
