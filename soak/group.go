package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"stateful-postgres/internal/faults"
)

const (
	// groupNodes is how many nodes a group has: one for each of three servers.
	groupNodes = 3
	// groupLabel is a label of the nodes of a group, and a taint that keeps others away.
	groupLabel = "soak"
	// firstUpdates is how many stacks are deployed at the same time: first updates are heavy.
	firstUpdates = 3
)

// group is some nodes, and the stacks on them. Its name is the number of the first of them.
type group struct {
	soak  *soak
	name  string
	nodes []string
	lanes []*lane
	// turns is how often nodes were struck: another lane lets it happen each time.
	turns int
}

// openGroups makes the stacks, on the last nodes of the cluster that no other soak has.
func (s *soak) openGroups(ctx context.Context) error {
	listed := s.Run(ctx, "kubectl", "get", "nodes", "--selector=!"+groupLabel, "--output=jsonpath={.items[*].metadata.name}")
	if err := listed.Err(); err != nil {
		return err
	}
	nodes := strings.Fields(listed.Stdout)
	wanted := s.options.groups*groupNodes + 1
	if len(nodes) < wanted {
		return fmt.Errorf("the cluster has %d nodes that no other soak uses, and these stacks take %d, one of them for everything else: give it more with make cluster NODES=N", len(nodes), wanted)
	}
	for range s.options.groups {
		last := len(nodes) - groupNodes
		g := &group{soak: s, name: strings.TrimPrefix(nodes[last], "node-"), nodes: nodes[last:]}
		nodes = nodes[:last]
		s.groups = append(s.groups, g)
		for _, arguments := range [][]string{
			append(append([]string{"kubectl", "label", "node", "--overwrite"}, g.nodes...), groupLabel+"="+g.name),
			append(append([]string{"kubectl", "taint", "node", "--overwrite"}, g.nodes...), groupLabel+"="+g.name+":NoSchedule"),
		} {
			if err := s.Run(ctx, arguments...).Err(); err != nil {
				return err
			}
		}
		for _, servers := range []int{1, 3} {
			for number := range s.options.lanes[servers] {
				g.lanes = append(g.lanes, &lane{group: g, soak: s, name: fmt.Sprintf("%s-%d-%d", g.name, servers, number+1), servers: servers})
			}
		}
	}
	slots := make(chan struct{}, firstUpdates)
	return errors.Join(each(s.allLanes(), func(_ int, l *lane) error {
		slots <- struct{}{}
		defer func() { <-slots }()
		if err := l.open(ctx); err != nil {
			return fmt.Errorf("%s: %w", l.name, err)
		}
		say("%s: %s on %s", l.name, plural(l.servers, "server"), strings.Join(l.group.nodes, ", "))
		return nil
	})...)
}

// allLanes are those of all groups that are not over.
func (s *soak) allLanes() []*lane {
	var all []*lane
	for _, g := range s.groups {
		all = append(all, g.alive()...)
	}
	return all
}

// alive are the lanes that are not over.
func (g *group) alive() []*lane {
	return slices.DeleteFunc(slices.Clone(g.lanes), func(l *lane) bool { return l.over })
}

// each does something with all lanes at the same time.
func each(lanes []*lane, do func(number int, l *lane) error) []error {
	var group sync.WaitGroup
	errs := make([]error, len(lanes))
	for i, l := range lanes {
		group.Go(func() { errs[i] = do(i, l) })
	}
	group.Wait()
	return errs
}

// freeNodes takes from the nodes what made them a group's.
func (s *soak) freeNodes() {
	ctx, cancel := context.WithTimeout(context.Background(), freeTimeout)
	defer cancel()
	for _, g := range s.groups {
		s.Run(ctx, append(append([]string{"kubectl", "label", "node"}, g.nodes...), groupLabel+"-")...)
		s.Run(ctx, append(append([]string{"kubectl", "taint", "node"}, g.nodes...), groupLabel+"-")...)
	}
}

// run lets faults strike, each lane by itself and then all nodes, in turns, until each has struck often
// enough. Another group begins with the nodes, so that one waits while the other one works.
func (g *group) run(ctx context.Context, nodesFirst bool) error {
	for nodes, idle := nodesFirst, 0; idle < 2; nodes = !nodes {
		if ctx.Err() != nil || g.soak.late() || len(g.alive()) == 0 {
			return nil
		}
		strike := g.strikeLanes
		if nodes {
			strike = g.strikeNodes
		}
		struck, err := strike(ctx)
		if err != nil {
			return err
		}
		if idle++; struck {
			idle = 0
		}
	}
	return nil
}

// strikeLanes lets what happens to one stack strike each of them, again and again. Where the nodes are to be
// struck, too, no lane begins again once all have come to their end: until then, three servers take several
// times as long as one.
func (g *group) strikeLanes(ctx context.Context) (struck bool, err error) {
	var some atomic.Bool
	var busy atomic.Int64
	lanes := g.alive()
	nodeKinds, _ := g.lackNodes()
	busy.Store(int64(len(lanes)))
	errs := each(lanes, func(_ int, l *lane) error {
		done := sync.OnceFunc(func() { busy.Add(-1) })
		defer done()
		for {
			kinds, times := g.soak.results.reserve(l.servers, g.soak.options.groups*g.soak.options.lanes[l.servers], l.own)
			if len(kinds) == 0 {
				return nil
			}
			some.Store(true)
			if err := l.note(ctx, l.round(ctx, l.choose(kinds), times), kinds, times); err != nil {
				return err
			}
			done()
			if ctx.Err() != nil || l.over || g.soak.late() || len(nodeKinds) > 0 && busy.Load() == 0 {
				return nil
			}
		}
	})
	return some.Load(), errors.Join(errs...)
}

// lackNodes are the kinds that have to strike the nodes still, and the lanes that need it.
func (g *group) lackNodes() (kinds []string, lacking []*lane) {
	for _, l := range g.alive() {
		lacks := false
		for kind := range l.faults {
			if kind != faults.APIServerStop && !slices.Contains(l.own, kind) && g.soak.results.leftOf(l.servers, kind) > 0 {
				lacks = true
				if !slices.Contains(kinds, kind) {
					kinds = append(kinds, kind)
				}
			}
		}
		if lacks {
			lacking = append(lacking, l)
		}
	}
	return kinds, lacking
}

// strikeNodes lets what happens to nodes strike all stacks of the group at once.
func (g *group) strikeNodes(ctx context.Context) (struck bool, err error) {
	lanes := g.alive()
	kinds, lacking := g.lackNodes()
	if len(kinds) == 0 {
		return false, nil
	}
	// What strikes the node of a single server strikes one of every three, too, but not the other way
	// round: single servers come first as long as they need it.
	fewest := slices.MinFunc(lacking, func(a, b *lane) int { return a.servers - b.servers }).servers
	lacking = slices.DeleteFunc(lacking, func(l *lane) bool { return l.servers > fewest })
	striker := lacking[g.turns%len(lacking)]
	g.turns++
	others := slices.DeleteFunc(slices.Clone(lanes), func(l *lane) bool { return l == striker })
	return true, g.soak.together(ctx, append([]*lane{striker}, others...), striker.choose(kinds), mostRounds)
}
