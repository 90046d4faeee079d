package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"stateful-postgres/internal/faults"
	"stateful-postgres/internal/stack"
)

const (
	// observersTimeout is for every lane to write.
	observersTimeout = 2 * time.Minute
	// exitInterrupted is verify's exit code after Ctrl-C.
	exitInterrupted = 130
)

// stopAPIServer stops what all lanes have in common: one of them lets it strike, the others write
// meanwhile.
func (s *soak) stopAPIServer(ctx context.Context) error {
	times := 0
	for _, l := range s.lanes {
		if l.faults[faults.APIServerStop] != nil {
			lanes := s.options.lanes[l.servers]
			left := s.results.left(l.servers, faults.APIServerStop, s.results.struck(l.servers))
			times = max(times, (left+lanes-1)/lanes)
		}
	}
	if times == 0 || s.late() {
		return nil
	}
	say("%s: %d times, in all lanes at once", faults.APIServerStop, times)
	observers, striker := s.lanes[1:], s.lanes[0]
	ends := make([]func() (record, error), len(observers))
	for i, l := range observers {
		var err error
		if ends[i], err = l.observe(ctx); err != nil {
			return err
		}
	}
	if err := faults.Until(ctx, "all lanes to write", observersTimeout, func(context.Context) (string, bool) {
		for _, l := range observers {
			if info, err := os.Stat(l.Ledger()); err != nil || time.Since(info.ModTime()) > 5*time.Second {
				return l.name + " does not write", false
			}
		}
		return "", true
	}); err != nil {
		return err
	}
	began := time.Now()
	history := filepath.Join(s.folder, fmt.Sprintf("%s-%s.json.gz", began.UTC().Format("20060102T150405Z"), striker.name))
	result := striker.Run(ctx, striker.durability(append(striker.write(history), "--fault", faults.APIServerStop, "--times", fmt.Sprint(times), "--every", "3s")...)...)
	struck := striker.record(began, history, result)
	errs := []error{s.results.add(struck, nil, 0)}
	striker.say(struck)
	first, err := readHistory(history)
	errs = append(errs, err)
	var group sync.WaitGroup
	var mutex sync.Mutex
	for i, l := range observers {
		group.Go(func() {
			seen, err := ends[i]()
			if err == nil && first != nil {
				err = l.count(&seen, first, struck.Durability.Faults)
			}
			err = errors.Join(err, s.results.add(seen, nil, 0))
			l.say(seen)
			mutex.Lock()
			defer mutex.Unlock()
			errs = append(errs, err)
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

// observe writes to the lane's stack until end is called, which has verify look at every row then.
func (l *lane) observe(ctx context.Context) (end func() (record, error), err error) {
	began := time.Now()
	history := filepath.Join(l.soak.folder, fmt.Sprintf("%s-%s.json.gz", began.UTC().Format("20060102T150405Z"), l.name))
	command := l.Command(ctx, l.durability(append(l.write(history), "--fault", "none", "--duration", "24h")...)...)
	var stdout, output bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &output
	if err := command.Start(); err != nil {
		return nil, err
	}
	return func() (record, error) {
		_ = command.Process.Signal(syscall.SIGINT)
		_ = command.Wait()
		wrote := l.record(began, history, stack.Result{Arguments: command.Args, Stdout: stdout.String(), Output: stdout.String() + output.String(), ExitCode: command.ProcessState.ExitCode()})
		if wrote.ExitCode != exitInterrupted {
			return wrote, fmt.Errorf("%s: ended by itself with exit code %d: %s", l.name, wrote.ExitCode, wrote.Summary)
		}
		looked := l.record(began, history, l.Check(ctx, "--output", "json", "--rows", "0"))
		looked.Durability = wrote.Durability
		looked.Seconds = time.Since(began).Seconds()
		return looked, nil
	}, nil
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
func (l *lane) count(seen *record, first *past, struck []fault) error {
	own, err := readHistory(filepath.Join(l.soak.folder, seen.History))
	if err != nil {
		return err
	}
	seen.Durability.Faults = own.meet(first.StartedAt, struck)
	return nil
}

// meet are the faults of a run that began at a moment, as another run met them: in its own time, and only
// those before and after which it has acknowledged something.
func (p *past) meet(began time.Time, struck []fault) []fault {
	shift := began.Sub(p.StartedAt).Milliseconds()
	var met []fault
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
