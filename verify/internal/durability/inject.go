package durability

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"stateful-postgres/internal/faults"
	"stateful-postgres/internal/progress"
	"stateful-postgres/verify/internal/history"
)

const (
	// undoTimeout is for what a fault changed to be put back.
	undoTimeout = 5 * time.Minute
	// undoPatience is how long that is tried again when it fails, undoPause the time between.
	undoPatience, undoPause = 2 * time.Minute, 5 * time.Second
	// holdTime is how long what a fault took away stays away at least, and how long commits may take to
	// go on without it before it comes back all the same.
	holdTime, holdTimeout = 3 * time.Second, time.Minute
	// steadyCommits are acknowledged when commits go on.
	steadyCommits = 20
	recoveryPoll  = 100 * time.Millisecond
	// jitter is by how much the time between two faults differs from what was asked for.
	jitter = 0.25
)

// injector lets faults strike, one after the other.
type injector struct {
	servers *faults.Servers
	faults  []faults.Fault
	every   time.Duration
	// recovery is how long commits may take to go on after a fault.
	recovery time.Duration
	// random decides about the order and the moments.
	random   *rand.Rand
	meter    *meter
	clients  []*client
	progress *progress.Line
	// struck is told about each fault when it is over.
	struck func(*history.Fault)
}

// run lets faults strike until a moment, or each so often when times is not 0, and each come to its
// end. When ctx ends, what was changed is put back all the same.
func (i *injector) run(ctx context.Context, until time.Time, times int) {
	var round []faults.Fault
	for rounds := 0; ; {
		if times > 0 && len(i.faults) > 0 && len(round) == 0 && rounds == times {
			return
		}
		wait := time.Duration(float64(i.every) * (1 + jitter*(2*i.random.Float64()-1)))
		if len(i.faults) == 0 {
			i.progress.Say("writing")
		} else {
			i.progress.Say("writing; the next fault strikes within %s", progress.Duration(time.Duration(float64(i.every)*(1+jitter)).Round(time.Second)))
		}
		if len(i.faults) == 0 || times == 0 && time.Until(until) < wait {
			pause(ctx, time.Until(until))
			return
		}
		pause(ctx, wait)
		if ctx.Err() != nil {
			return
		}
		if len(round) == 0 {
			rounds++
			round = append(round, i.faults...)
			i.random.Shuffle(len(round), func(a, b int) { round[a], round[b] = round[b], round[a] })
		}
		fault := round[0]
		round = round[1:]
		i.progress.Say("waiting for the servers, before %s", fault.Name)
		err := i.servers.UntilSettled(ctx)
		if err == nil {
			err = i.servers.UntilReady(ctx)
		}
		if err != nil {
			if ctx.Err() == nil {
				i.struck(&history.Fault{Kind: fault.Name, Does: fault.Does, BeganMS: i.meter.since(time.Now()), Problem: "it did not strike: " + oneLine(err)})
			}
			return
		}
		entry := &history.Fault{Kind: fault.Name, Does: fault.Does, RecoveredMS: -1}
		i.strike(ctx, fault, entry)
		i.struck(entry)
	}
}

// strike lets one fault strike and come to its end.
func (i *injector) strike(ctx context.Context, fault faults.Fault, entry *history.Fault) {
	i.progress.Say("%s: %s", fault.Name, fault.Does)
	for _, c := range i.clients {
		if c.since.Load() != 0 {
			entry.InFlight++
		}
	}
	i.meter.begin(entry, time.Now())
	struck, err := fault.Strike(ctx, i.servers)
	if struck != nil {
		entry.Victims = struck.Victims
	}
	if struck != nil && struck.Undo != nil {
		if err == nil {
			i.hold(ctx, fault)
		}
		err = errors.Join(err, i.putBack(ctx, fault, struck.Undo))
	}
	entry.EndedMS = i.meter.since(time.Now())
	if err == nil {
		i.progress.Say("%s: waiting for commits to go on", fault.Name)
		err = i.untilCommits(ctx, i.recovery)
	}
	now := time.Now()
	i.meter.over(now)
	switch {
	case err == nil:
		entry.RecoveredMS = i.meter.since(now)
	case ctx.Err() != nil:
		entry.Problem = "interrupted"
	default:
		entry.Problem = oneLine(err)
	}
}

// putBack undoes what a fault changed, also after an interruption. What that takes may be away for a
// moment, such as the API server: then it is tried again.
func (i *injector) putBack(ctx context.Context, fault faults.Fault, undo func(context.Context) error) error {
	i.progress.Say("%s: putting back what it changed", fault.Name)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	for began := time.Now(); ; pause(ctx, undoPause) {
		err := undo(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil || time.Since(began) >= undoPatience {
			return fmt.Errorf("what it changed is not put back: %w", err)
		}
		i.progress.Say("%s: putting back what it changed, again: %s", fault.Name, oneLine(err))
	}
}

// hold lets a fault last: until commits go on without what it took away, or a while where they cannot.
func (i *injector) hold(ctx context.Context, fault faults.Fault) {
	pause(ctx, max(holdTime, fault.Lasts))
	if !fault.Total && !(fault.OfNodes && i.servers.Replicas == 1) {
		// Commits that do not go on are seen after the end of the fault.
		_ = i.untilCommits(ctx, holdTimeout)
	}
}

func (i *injector) untilCommits(ctx context.Context, timeout time.Duration) error {
	before := i.meter.count().Acknowledged
	return faults.UntilEvery(ctx, recoveryPoll, "commits to go on", timeout, func(context.Context) (string, bool) {
		now := i.meter.count().Acknowledged
		last := ""
		for _, c := range i.clients {
			if err := c.problem(); err != nil {
				last = ", last problem: " + oneLine(err)
			}
		}
		return fmt.Sprintf("%d more%s", now-before, last), now >= before+steadyCommits
	})
}

// oneLine is an error in one line.
func oneLine(err error) string {
	return strings.Join(strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' || r == '\r' }), " | ")
}
