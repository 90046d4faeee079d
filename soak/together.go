package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"stateful-postgres/internal/faults"
	"stateful-postgres/internal/stack"
)

const (
	// observersTimeout is for every lane to write.
	observersTimeout = 2 * time.Minute
	// mostBeginnings is how often that is tried.
	mostBeginnings = 3
	// enteredInLedger is how often a ledger has grown when commits are surely entered in it.
	enteredInLedger = 4
	// exitInterrupted is verify's exit code after Ctrl-C.
	exitInterrupted = 130
)

// stopAPIServer stops what all lanes have in common.
func (s *soak) stopAPIServer(ctx context.Context) error {
	lanes := s.allLanes()
	times := 0
	for _, l := range lanes {
		if l.faults[faults.APIServerStop] != nil {
			of := s.options.groups * s.options.lanes[l.servers]
			times = max(times, (s.results.leftOf(l.servers, faults.APIServerStop)+of-1)/of)
		}
	}
	if times == 0 || s.late() {
		return nil
	}
	// Nobody's commit may be hit by that alone, and a run in which none was proves nothing.
	return s.together(ctx, lanes, []string{faults.APIServerStop, "backend-kill"}, times)
}

// together lets what happens to nodes strike several lanes at once: the first one lets it happen, the
// others write meanwhile.
func (s *soak) together(ctx context.Context, lanes []*lane, names []string, times int) error {
	striker, observers := lanes[0], lanes[1:]
	say("%s: %s, %s, beneath %s", striker.name, strings.Join(names, ", "), plural(times, "time"), plural(len(lanes), "stack"))
	seen, err := observeAll(ctx, observers)
	if err != nil {
		return err
	}
	struck := striker.round(ctx, names, times)
	err = striker.note(ctx, struck, nil, 0)
	first, unread := readHistory(filepath.Join(s.folder, struck.History))
	if errors.Is(unread, fs.ErrNotExist) {
		// It ended before anything struck, and note has said why.
		unread = nil
	}
	errs := each(observers, func(number int, l *lane) error {
		found, all := seen[number].end(ctx)
		var err error
		if !all {
			say("%s: did not write until the end: nothing is counted", l.name)
		} else if first != nil {
			err = l.count(&found, first, struck.Durability.Faults)
		}
		return errors.Join(err, l.note(ctx, found, nil, 0))
	})
	return errors.Join(append(errs, err, unread)...)
}

// observeAll writes to all lanes. On a machine with too much to do some may not be written to in time: then
// it begins again.
func observeAll(ctx context.Context, lanes []*lane) ([]*observation, error) {
	for attempt := 1; ; attempt++ {
		all := make([]*observation, len(lanes))
		err := errors.Join(each(lanes, func(number int, l *lane) (err error) {
			all[number], err = l.observe(ctx)
			return err
		})...)
		if err == nil {
			err = untilAllWrite(ctx, lanes)
		}
		if err == nil {
			return all, nil
		}
		each(lanes, func(number int, _ *lane) error {
			if all[number] != nil {
				all[number].stop()
			}
			return nil
		})
		if ctx.Err() != nil || attempt == mostBeginnings {
			return nil, err
		}
		say("%v; it begins again", err)
	}
}

// untilAllWrite returns when verify enters one thing after the other in the ledger of each lane: first the
// run, and then commits.
func untilAllWrite(ctx context.Context, lanes []*lane) error {
	sizes, grew := map[*lane]int64{}, map[*lane]int{}
	return faults.Until(ctx, "all stacks to be written to", observersTimeout, func(context.Context) (string, bool) {
		var not []string
		for _, l := range lanes {
			if info, err := os.Stat(l.Ledger()); err == nil && info.Size() != sizes[l] {
				sizes[l] = info.Size()
				grew[l]++
			}
			if grew[l] < enteredInLedger {
				not = append(not, l.name)
			}
		}
		return strings.Join(not, ", ") + " are not", len(not) == 0
	})
}

// observation is a run of verify that writes to a lane's stack while others strike.
type observation struct {
	lane           *lane
	began          time.Time
	history        string
	command        *exec.Cmd
	stdout, output bytes.Buffer
}

// observe begins to write to the lane's stack.
func (l *lane) observe(ctx context.Context) (*observation, error) {
	on := l.Kubectl(ctx, "get", "pods", "--output=jsonpath={.items[*].spec.nodeName}")
	if err := on.Err(); err != nil {
		return nil, err
	}
	l.on = strings.Fields(on.Stdout)
	o := &observation{lane: l, began: time.Now()}
	o.history = l.history(o.began)
	o.command = l.Command(ctx, l.DurabilityArguments(append(l.write(o.history), "--fault", "none", "--duration", "24h")...)...)
	o.command.Stdout, o.command.Stderr = &o.stdout, &o.output
	if err := o.command.Start(); err != nil {
		return nil, err
	}
	return o, nil
}

// stop ends the writing.
func (o *observation) stop() {
	_ = o.command.Process.Signal(syscall.SIGINT)
	_ = o.command.Wait()
}

// end ends the writing, and has verify look at every row then. It says whether it wrote until then.
func (o *observation) end(ctx context.Context) (seen record, all bool) {
	o.stop()
	wrote := o.lane.record(o.began, o.history, stack.Result{Arguments: o.command.Args, Stdout: o.stdout.String(), Output: o.stdout.String() + o.output.String(), ExitCode: o.command.ProcessState.ExitCode()})
	if wrote.ExitCode != exitInterrupted {
		return wrote, false
	}
	looked := o.lane.record(o.began, o.history, o.lane.Check(ctx, "--output", "json", "--rows", "0"))
	looked.Durability = wrote.Durability
	looked.Seconds = time.Since(o.began).Seconds()
	return looked, true
}

// hit says whether a fault that another lane let happen is one of this lane's, too: one of a node that a
// server of it was on, or of what all need.
func (l *lane) hit(f stack.DurabilityFault) bool {
	return f.Kind == faults.APIServerStop || slices.ContainsFunc(f.Victims, func(victim string) bool { return slices.Contains(l.on, victim) })
}

// past is what is needed of a history.
type past struct {
	StartedAt time.Time `json:"started_at"`
	BucketMS  int64     `json:"bucket_ms"`
	Buckets   []struct {
		Acknowledged int64 `json:"acknowledged"`
	} `json:"buckets"`
}

func readHistory(path string) (*past, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	unpacked, err := gzip.NewReader(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	var p past
	if err := json.NewDecoder(unpacked).Decode(&p); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &p, nil
}

// count enters the faults of another lane that struck while this one wrote, with how long it waited.
func (l *lane) count(seen *record, first *past, struck []stack.DurabilityFault) error {
	own, err := readHistory(filepath.Join(l.soak.folder, seen.History))
	if err != nil {
		return err
	}
	seen.Durability.Faults = own.meet(first.StartedAt, slices.DeleteFunc(slices.Clone(struck), func(f stack.DurabilityFault) bool { return !l.hit(f) }))
	return nil
}

// meet are the faults of a run that began at a moment, as another run met them: in its own time, and only
// those before and after which it has acknowledged something.
func (p *past) meet(began time.Time, struck []stack.DurabilityFault) []stack.DurabilityFault {
	shift := began.Sub(p.StartedAt).Milliseconds()
	var met []stack.DurabilityFault
	for _, f := range struck {
		f.BeganMS, f.EndedMS, f.InFlight = f.BeganMS+shift, f.EndedMS+shift, 0
		first, last := f.BeganMS/p.BucketMS, f.EndedMS/p.BucketMS
		if first < 1 || last+1 >= int64(len(p.Buckets)) || p.Buckets[first-1].Acknowledged == 0 {
			continue
		}
		var pause, longest int64
		for i := first; i < int64(len(p.Buckets)) && (i <= last || pause > 0); i++ {
			if p.Buckets[i].Acknowledged > 0 {
				pause = 0
				continue
			}
			pause += p.BucketMS
			longest = max(longest, pause)
		}
		if pause > 0 {
			// It never went on.
			f.Problem = "no commit was acknowledged after it"
		}
		f.PauseMS = longest
		met = append(met, f)
	}
	return met
}
