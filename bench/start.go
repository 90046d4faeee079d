package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Targets of this part.
const (
	readyTarget = 300 * time.Millisecond
	// startTarget is of what the earlier commit takes.
	startTarget = 0.65
)

// measureStart scales from zero to one with kubectl, and looks at the way until
// the server answers: of this program's server, and of the earlier commit's.
func measureStart(ctx context.Context, b *bench) (findings, error) {
	here, err := b.sharedServer(ctx)
	if err != nil {
		return findings{}, err
	}
	servers := map[string]*server{"here": here}
	if b.baseline != nil {
		b.say("a stack of commit %s: first update", b.baseline.commit)
		if servers["earlier"], err = b.newRunningServer(ctx, b.baseline.Workspace); err != nil {
			return findings{}, err
		}
	}
	m := series{}
	for run := range b.runs {
		b.say("kubectl scale 0 to 1: %d of %d", run+1, b.runs)
		for name, s := range servers {
			if err := s.start(ctx, m, name); err != nil {
				return findings{}, err
			}
		}
	}
	found := findings{
		rows: []row{{what: "`kubectl scale` 0 to 1", ours: m["here"].String()}},
		notes: []string{
			"0 to 1 by `kubectl scale --replicas=1`, from the start of the command until the server answers SQL through the node port.",
			fmt.Sprintf("Ready after the server answers: from the line %q in the server's log until a watch of the pod tells that it is Ready; the clocks of server and client are compared.", readyMessage),
			"After that, kube-proxy leads the port to the pod. By default it writes its rules at most once a second, and the pod's address, not ready yet, is one such time.",
		},
	}
	ready, through := "Ready after the server answers", "first answer through the port after Ready"
	if b.baseline == nil {
		found.rows = append(found.rows, within(ready, m["here ready"], readyTarget), row{what: through, ours: m["here through"].String()})
		found.notes = append(found.notes, "There was no -baseline: nothing says how much faster this is than an earlier commit.")
		return found, nil
	}
	commit := "commit " + b.baseline.commit
	found.rows[0] = beside(found.rows[0].what, m["here"], commit, m["earlier"], startTarget)
	found.rows = append(found.rows,
		within(ready, m["here ready"], readyTarget).besides(commit, m["earlier ready"]),
		beside(through, m["here through"], commit, m["earlier through"], 0))
	return found, servers["earlier"].Remove(ctx)
}

// start scales to zero, and back while the clock runs.
func (s *server) start(ctx context.Context, m series, name string) error {
	for _, step := range []step{s.scale(0), s.untilGone()} {
		if _, err := step(ctx); err != nil {
			return err
		}
	}
	if err := pause(ctx, randomMoment()); err != nil {
		return err
	}
	watch, err := s.watchPod(ctx)
	if err != nil {
		return err
	}
	err = m.add(ctx, name, s.scale(1), s.untilAnswer)
	answered := time.Now()
	ready, readyErr := watch.until(ctx, "ready", func(seen sightings) time.Time { return seen.ready })
	watch.close()
	if err := errors.Join(err, readyErr); err != nil {
		return err
	}
	log, err := s.readServerLog(ctx)
	if err != nil {
		return err
	}
	m[name+" ready"] = append(m[name+" ready"], ready.Sub(log.answers))
	m[name+" through"] = append(m[name+" through"], answered.Sub(ready))
	return nil
}
