package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"strings"

	"stateful-postgres/internal/stack"
)

// describeMachine is what the times depend on, without names or paths of the
// machine.
func describeMachine(ctx context.Context, w *stack.Workspace) ([]string, error) {
	var lines []string
	machine := fmt.Sprintf("%d cores, %s", runtime.NumCPU(), runtime.GOARCH)
	if memory, err := os.ReadFile("/proc/meminfo"); err == nil {
		var kilobytes int64
		if _, err := fmt.Sscanf(string(memory), "MemTotal: %d kB", &kilobytes); err != nil {
			return nil, fmt.Errorf("/proc/meminfo: %w", err)
		}
		machine += fmt.Sprintf(", %.0f GiB", float64(kilobytes)/(1<<20))
	}
	if kernel, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		machine += ", " + runtime.GOOS + " " + strings.TrimSpace(string(kernel))
	}
	lines = append(lines, machine)

	pulumi := w.Run(ctx, "pulumi", "version")
	if err := pulumi.Err(); err != nil {
		return nil, err
	}
	versions := w.Run(ctx, "kubectl", "version", "--output=json")
	if err := versions.Err(); err != nil {
		return nil, err
	}
	var kubernetes struct{ ServerVersion struct{ GitVersion string } }
	if err := json.Unmarshal([]byte(versions.Stdout), &kubernetes); err != nil {
		return nil, fmt.Errorf("kubectl version: %w", err)
	}
	nodes, err := countNodes(ctx, w)
	if err != nil {
		return nil, err
	}
	return append(lines, fmt.Sprintf("Pulumi %s, Kubernetes %s, nodes: %d, %s",
		strings.TrimSpace(pulumi.Stdout), kubernetes.ServerVersion.GitVersion, nodes, runtime.Version())), nil
}

// countNodes is how many nodes the cluster has.
func countNodes(ctx context.Context, w *stack.Workspace) (int, error) {
	nodes := w.Run(ctx, "kubectl", "get", "nodes", "--output=name")
	return len(strings.Fields(nodes.Stdout)), nodes.Err()
}
