package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"stateful-postgres/internal/process"
)

// memoryInterval is between two samples. A sample walks the page tables of some
// forty processes, which is why none is taken while something is timed.
const memoryInterval = 250 * time.Millisecond

// clusterMemory watches the memory of all processes of the local cluster.
type clusterMemory struct {
	supervisor int

	mu   sync.Mutex
	peak memorySample
}

// memorySample is proportional set size by program, in bytes: what several
// processes share counts once.
type memorySample map[string]int64

func (s memorySample) total() int64 {
	var sum int64
	for _, bytes := range s {
		sum += bytes
	}
	return sum
}

// errNotLocal says that the cluster runs elsewhere.
var errNotLocal = errors.New("the local cluster of this checkout is not up")

// findClusterMemory looks for the supervisor of this checkout's cluster, which
// all of its processes descend from.
func findClusterMemory(root string) (*clusterMemory, error) {
	all, err := process.All()
	if err != nil {
		return nil, err
	}
	for _, pid := range all {
		arguments := process.CommandLine(pid)
		if len(arguments) > 1 && arguments[0] == filepath.Join(root, ".local", "bin", "localkube") && arguments[1] == "supervise" {
			return &clusterMemory{supervisor: pid}, nil
		}
	}
	return nil, errNotLocal
}

// watch samples while f runs.
func (m *clusterMemory) watch(ctx context.Context, f func() error) error {
	ctx, stop := context.WithCancel(ctx)
	failed := make(chan error, 1)
	go func() {
		for {
			if err := m.sample(); err != nil {
				failed <- err
				return
			}
			select {
			case <-ctx.Done():
				failed <- nil
				return
			case <-time.After(memoryInterval):
			}
		}
	}()
	err := f()
	stop()
	return errors.Join(err, <-failed)
}

// sample measures once, and keeps what is larger than before.
func (m *clusterMemory) sample() error {
	tree, err := process.Tree(m.supervisor)
	if err != nil {
		return err
	}
	sample := memorySample{}
	for _, pid := range tree {
		// A process that has ended meanwhile uses nothing.
		rollup, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		if err != nil || len(rollup) == 0 {
			continue
		}
		bytes, err := proportionalSetSize(string(rollup))
		if err != nil {
			return fmt.Errorf("smaps_rollup of process %d: %w", pid, err)
		}
		sample[programOf(pid)] += bytes
	}
	if sample.total() == 0 {
		return fmt.Errorf("no process below the cluster's supervisor, process %d: did the cluster stop?", m.supervisor)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if sample.total() > m.peak.total() {
		m.peak = sample
	}
	return nil
}

// largest names the programs that use most at the peak.
func (m *clusterMemory) largest(n int) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	programs := make([]string, 0, len(m.peak))
	for program := range m.peak {
		programs = append(programs, program)
	}
	slices.SortFunc(programs, func(a, b string) int { return cmp.Compare(m.peak[b], m.peak[a]) })
	var parts []string
	for _, program := range programs[:min(n, len(programs))] {
		parts = append(parts, fmt.Sprintf("%s %d MiB", program, m.peak[program]>>20))
	}
	return strings.Join(parts, ", ")
}

func proportionalSetSize(rollup string) (int64, error) {
	for line := range strings.Lines(rollup) {
		if value, found := strings.CutPrefix(line, "Pss:"); found {
			kilobytes, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 10, 64)
			return kilobytes << 10, err
		}
	}
	return 0, errors.New("no line Pss")
}

// programOf is what a process of the cluster is known as: the component where
// one program is several.
func programOf(pid int) string {
	arguments := process.CommandLine(pid)
	switch {
	case len(arguments) == 0:
		return "ended"
	case len(arguments) > 2 && arguments[1] == "component":
		return arguments[2]
	case len(arguments) > 1 && (arguments[1] == "machine" || arguments[1] == "supervise"):
		return arguments[1]
	case strings.HasPrefix(arguments[0], "postgres"):
		// A server process writes what it does into its command line.
		return "postgres"
	}
	return filepath.Base(arguments[0])
}
