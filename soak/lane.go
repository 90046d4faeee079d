package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"stateful-postgres/internal/faults"
	"stateful-postgres/internal/stack"
)

const (
	// laneLabel is a label of the nodes of a lane, and a taint that keeps others away.
	laneLabel = "soak"
	// mostRounds is how often each fault strikes in one run of verify durability at most: then all rows
	// are read.
	mostRounds = 2
	// mostFailures is after how many runs in a row that proved nothing a lane ends.
	mostFailures = 3
	writers      = 4
)

// lane is a stack on nodes and disks of its own, which is struck by one fault after the other.
type lane struct {
	*stack.Stack
	soak    *soak
	name    string
	servers int
	nodes   []string
	// faults are those that can strike it, by their kinds.
	faults map[string][]string
}

// openLanes makes the stacks. Nodes are given to lanes from the last one on.
func (s *soak) openLanes(ctx context.Context) error {
	listed := s.Run(ctx, "kubectl", "get", "nodes", "--output=jsonpath={.items[*].metadata.name}")
	if err := listed.Err(); err != nil {
		return err
	}
	nodes := strings.Fields(listed.Stdout)
	if len(nodes) < s.options.nodes() {
		return fmt.Errorf("the cluster has %d nodes, and these stacks take %d: make cluster NODES=%d", len(nodes), s.options.nodes(), s.options.nodes())
	}
	for _, servers := range []int{1, 3} {
		for number := range s.options.lanes[servers] {
			last := len(nodes) - nodesOf(servers)
			s.lanes = append(s.lanes, &lane{soak: s, name: fmt.Sprintf("%d-%d", servers, number+1), servers: servers, nodes: nodes[last:]})
			nodes = nodes[:last]
		}
	}
	errs := make([]error, len(s.lanes))
	var group sync.WaitGroup
	// First updates are heavy.
	slots := make(chan struct{}, 3)
	for i, l := range s.lanes {
		group.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			if errs[i] = l.open(ctx); errs[i] != nil {
				errs[i] = fmt.Errorf("%s: %w", l.name, errs[i])
				return
			}
			say("%s: %s on %s", l.name, plural(l.servers, "server"), strings.Join(l.nodes, ", "))
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

// freeNodes takes from the nodes what made them a lane's.
func (s *soak) freeNodes() {
	ctx, cancel := context.WithTimeout(context.Background(), cleanTimeout)
	defer cancel()
	for _, l := range s.lanes {
		s.Run(ctx, append([]string{"kubectl", "label", "node", laneLabel + "-"}, l.nodes...)...)
		s.Run(ctx, append([]string{"kubectl", "taint", "node"}, append(l.nodes[:len(l.nodes):len(l.nodes)], laneLabel+"-")...)...)
	}
}

// open makes the lane's stack, and deploys it.
func (l *lane) open(ctx context.Context) (err error) {
	if l.Stack, err = l.soak.NewStack(ctx, "lane-"+l.name); err != nil {
		return err
	}
	mark := append([]string{"kubectl", "label", "node", "--overwrite", laneLabel + "=" + l.name}, l.nodes...)
	keep := append(append([]string{"kubectl", "taint", "node", "--overwrite"}, l.nodes...), laneLabel+"="+l.name+":NoSchedule")
	for _, arguments := range [][]string{mark, keep} {
		if err := l.Run(ctx, arguments...).Err(); err != nil {
			return err
		}
	}
	if _, err := l.OwnDisks(ctx, l.servers); err != nil {
		return err
	}
	for path, value := range map[string]string{
		"highAvailability": fmt.Sprint(l.servers > 1), "separateNodes": fmt.Sprint(l.servers > 1), "replicas": "1",
		"nodeSelector." + laneLabel: l.name, "tolerations[0].key": laneLabel, "tolerations[0].operator": "Exists",
	} {
		if err := l.SetPath(ctx, path, value).Err(); err != nil {
			return err
		}
	}
	for _, servers := range []int{1, l.servers} {
		if err := errors.Join(l.Set(ctx, "replicas", fmt.Sprint(servers)).Err(), l.Up(ctx).Err()); err != nil {
			return err
		}
	}
	return l.list(ctx)
}

// list finds the faults that can strike.
func (l *lane) list(ctx context.Context) error {
	listed := l.Run(ctx, l.durability("--list-faults")...)
	if err := listed.Err(); err != nil {
		return err
	}
	kinds := map[string]string{}
	for _, fault := range faults.All() {
		kinds[fault.Name] = fault.Kind
	}
	l.faults = map[string][]string{}
	for line := range strings.Lines(listed.Stdout) {
		words := strings.Fields(line)
		if len(words) < 2 || words[0] != "✓" || !l.soak.pattern.MatchString(words[1]) {
			continue
		}
		kind := kinds[words[1]]
		if kind == "" {
			// Those that need Pulumi or verify itself have one role.
			kind = words[1]
		}
		l.faults[kind] = append(l.faults[kind], words[1])
	}
	if len(l.faults) == 0 {
		return fmt.Errorf("-fault %s: matches nothing that can strike %s: see verify durability --list-faults", l.soak.pattern, plural(l.servers, "server"))
	}
	return nil
}

// durability is verify durability for the lane's stack.
func (l *lane) durability(flags ...string) []string {
	return append([]string{l.soak.Verify, "durability", "--stack", l.Name, "--ledger", l.Ledger(), "--config-file", l.ConfigFile()}, flags...)
}

// write is the part of its flags that says how it writes.
func (l *lane) write(history string) []string {
	return []string{"--output", "json", "--writers", fmt.Sprint(writers), "--rate", fmt.Sprint(l.soak.rate), "--history", history}
}

// run lets faults strike until each has struck often enough.
func (l *lane) run(ctx context.Context) error {
	for failures := 0; ctx.Err() == nil && !l.soak.late(); {
		var kinds []string
		for kind := range l.faults {
			if kind != faults.APIServerStop {
				kinds = append(kinds, kind)
			}
		}
		chosen, times := l.soak.results.reserve(l.servers, l.soak.options.lanes[l.servers], kinds)
		if len(chosen) == 0 {
			return nil
		}
		r := l.round(ctx, chosen, times)
		if err := l.soak.results.add(r, chosen, times); err != nil {
			return err
		}
		l.say(r)
		switch {
		case ctx.Err() != nil:
		case r.ExitCode == 0:
			failures = 0
		case r.ExitCode == exitViolated:
			// Whatever comes next would tell of the same rows.
			return nil
		default:
			if failures++; failures == mostFailures {
				return fmt.Errorf("%s: %d runs in a row proved nothing; the last one: %s", l.name, failures, r.Summary)
			}
		}
	}
	return nil
}

// round runs verify durability once, with a fault of each kind, each for a role at random.
func (l *lane) round(ctx context.Context, kinds []string, times int) record {
	var names []string
	for _, kind := range kinds {
		names = append(names, l.faults[kind][rand.IntN(len(l.faults[kind]))])
	}
	began := time.Now()
	history := filepath.Join(l.soak.folder, fmt.Sprintf("%s-%s.json.gz", began.UTC().Format("20060102T150405Z"), l.name))
	result := l.Run(ctx, l.durability(append(l.write(history), "--fault", strings.Join(names, ","), "--times", fmt.Sprint(times), "--every", "1s")...)...)
	return l.record(began, history, result)
}

// record is what a run of verify said.
func (l *lane) record(began time.Time, history string, result stack.Result) record {
	r := record{Servers: l.servers, Lane: l.name, Commit: l.soak.commit, Began: began.UTC(), Seconds: result.Duration.Seconds(), ExitCode: result.ExitCode, History: filepath.Base(history)}
	if err := json.Unmarshal([]byte(result.Stdout), &r.said); err != nil {
		r.Summary = result.String()
		return r
	}
	for _, check := range r.Checks {
		if check.Status == "violated" || check.Status == "unknown" {
			r.Problems = append(r.Problems, fmt.Sprintf("%s: %s", check.Name, check.Detail))
		}
	}
	r.Checks = nil
	return r
}

// say shows what a round amounts to, and what is left.
func (l *lane) say(r record) {
	say("%s: exit code %d after %s: %s", l.name, r.ExitCode, time.Duration(r.Seconds*float64(time.Second)).Round(time.Second), r.Summary)
	for _, problem := range r.Problems {
		say("%s:   %s", l.name, problem)
	}
	say("%s: %s", plural(l.servers, "server"), l.soak.results.progress(l.servers))
}
