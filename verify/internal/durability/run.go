// Package durability writes under load while faults strike, and accounts for every write at the end.
package durability

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"stateful-postgres/internal/faults"
	"stateful-postgres/verify/internal/check"
	"stateful-postgres/verify/internal/history"
	"stateful-postgres/verify/internal/ledger"
	"stateful-postgres/verify/internal/report"
	"stateful-postgres/verify/internal/rows"
	"stateful-postgres/verify/internal/server"
)

// warmUpTimeout is for the first commits.
const warmUpTimeout = time.Minute

// Run is one run.
type Run struct {
	Subject check.Subject
	Ledger  *ledger.Ledger
	Sink    *report.Sink
	Others  []check.Other
	// Servers are what the faults happen to, Faults those that may strike.
	Servers *faults.Servers
	Faults  []faults.Fault
	// Recovery is how long commits may take to go on after a fault.
	Recovery time.Duration
	// History has what was asked for, and takes everything that is seen.
	History *history.History
}

// Run writes and lets faults strike until the time is over, and looks at everything then. Every problem
// that is found is in the report; the error is about the ledger, without which nothing can be said.
func (r *Run) Run(ctx context.Context) error {
	r.Sink.Report.Ledger = r.Ledger.Path()
	r.Sink.Header(r.Subject.Target)
	r.History.Target = r.Subject.Target
	if ok, err := r.checkBefore(ctx); err != nil || !ok {
		return err
	}
	if err := r.write(ctx); err != nil {
		return err
	}
	if ctx.Err() != nil {
		r.Sink.Report.CutShort(ctx)
		r.Sink.Add(report.Check{Section: report.Rows, Name: "rows", Status: report.Unknown,
			Detail: "not looked at: " + context.Cause(ctx).Error(), Hint: "the ledger has every outcome: verify looks at the rows"})
		conclude(r.History, r.Sink, false)
		return nil
	}
	return r.look(ctx)
}

// checkBefore looks whether all is well before anything is broken, and makes the table.
func (r *Run) checkBefore(ctx context.Context) (bool, error) {
	part := report.NewSink("check", report.Discard{}, r.Sink.Progress)
	checker := &check.Checker{Subject: r.Subject, Ledger: r.Ledger, Sink: part, Rows: check.DefaultRows, Others: r.Others}
	err := checker.Run(ctx)
	if err := errors.Join(err, part.Finish(checker.Summarize)); err != nil {
		return false, err
	}
	r.Subject.Forwarded = checker.Subject.Forwarded
	if part.Report.Verdict == report.Proven {
		r.Sink.Add(report.Check{Section: report.Faults, Name: "check before", Status: report.Passed, Detail: part.Report.Summary})
		return true, nil
	}
	r.Sink.Report.CutShort(ctx)
	for _, found := range part.Report.Checks {
		if found.Status == report.Violated || found.Status == report.Unknown {
			r.Sink.Add(found)
		}
	}
	return false, nil
}

// write lets writers write and faults strike. It returns when all has come to its end.
func (r *Run) write(ctx context.Context) error {
	h := r.History
	account, err := newAccount(r.Ledger)
	if err != nil {
		return err
	}
	h.Run = account.run
	entrance := r.Subject.Entrance()
	defer entrance.Close()
	if err := r.announce(ctx, entrance, account); err != nil {
		r.Sink.Report.CutShort(ctx)
		r.Sink.Add(report.Check{Section: report.Commits, Name: "start", Status: report.Unknown, Detail: err.Error()})
		return nil
	}

	h.StartedAt = time.Now().UTC().Truncate(time.Millisecond)
	meter := newMeter(time.Now())
	work, stop := context.WithCancel(ctx)
	defer stop()
	var background, writing sync.WaitGroup
	writers := make([]*writer, h.Plan.Writers)
	problems := make([]error, len(writers))
	for i := range writers {
		w := &writer{client: client{connector: entrance, meter: meter}, pen: pen{account: account}}
		w.acknowledged.Store(-1)
		writers[i] = w
		writing.Go(func() {
			if problems[i] = w.run(work); problems[i] != nil {
				// A ledger that takes nothing any more ends the run.
				stop()
			}
		})
	}
	reader := &reader{client: client{connector: entrance, meter: newMeter(time.Now())}, run: account.run, writers: writers}
	background.Go(func() { reader.read(work) })
	background.Go(func() { enterAll(work, writers) })
	watcher := &watcher{cluster: r.Subject.Cluster, objects: r.Subject.Objects, meter: meter}
	if r.Subject.Cluster != nil {
		background.Go(func() { watcher.run(work) })
	}

	injector := &injector{
		servers: r.Servers, faults: r.Faults, recovery: r.Recovery, every: time.Duration(h.Plan.EveryMS) * time.Millisecond,
		random: rand.New(rand.NewPCG(uint64(h.Plan.Seed), 0)), meter: meter, writers: writers, progress: r.Sink.Progress,
		struck: func(f *history.Fault) {
			h.Faults = append(h.Faults, *f)
			r.Sink.Add(faultCheck(f))
		},
	}
	injector.progress.Say("waiting for the first commits")
	if err := injector.untilCommits(work, warmUpTimeout); err == nil {
		injector.run(work, time.Now().Add(time.Duration(h.Plan.DurationMS)*time.Millisecond), h.Plan.Times)
	} else if ctx.Err() == nil {
		r.Sink.Add(report.Check{Section: report.Commits, Name: "start", Status: report.Unknown, Detail: oneLine(err)})
	}
	r.Sink.Progress.Say("waiting for the last answers")
	stop()
	writing.Wait()
	background.Wait()
	ended := time.Now()
	meter.end(ended)
	// What counts for a fault goes on until the next one.
	h.DurationMS = meter.since(ended)
	h.BucketMS, h.Buckets = meter.bucketTime.Milliseconds(), meter.buckets
	h.Writes, h.Latency, h.Reads = meter.count(), meter.latencies(), reader.reads
	watcher.enter(h)
	h.Spans = account.spans()
	return errors.Join(problems...)
}

// announce tells the database of the run.
func (r *Run) announce(ctx context.Context, entrance *check.Entrance, account *account) error {
	session, err := server.Wait(ctx, entrance.Open, func(met string) { r.Sink.Progress.Say("waiting for the server: %s", met) })
	if err != nil {
		return err
	}
	defer session.Close()
	if err := rows.Create(ctx, session.Exec); err != nil {
		return err
	}
	return session.Exec(ctx, rows.Announcement(r.Ledger.State().Run(account.run)))
}

// enterAll enters outcomes in the ledger until ctx ends. An error comes up again where rows are written.
func enterAll(ctx context.Context, writers []*writer) {
	ticker := time.NewTicker(enterInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		for _, w := range writers {
			_ = w.pen.enter()
		}
	}
}

// look looks at everything, once all servers follow again.
func (r *Run) look(ctx context.Context) error {
	h := r.History
	before := len(r.Sink.Report.Checks)
	checker := &check.Checker{Subject: r.Subject, Ledger: r.Ledger, Sink: r.Sink, Others: r.Others, Settle: settleTime}
	if err := checker.Run(ctx); err != nil {
		return err
	}
	h.Look = history.Look{Checks: append([]report.Check{}, r.Sink.Report.Checks[before:]...), Members: r.Sink.Report.Members, Rows: r.Sink.Report.Rows}
	h.Writes.Survived = r.Ledger.State().Run(h.Run).Count(ledger.Seen)
	conclude(h, r.Sink, false)
	return nil
}

// settleTime is how long several servers may take to follow again after the last fault.
const settleTime = 3 * time.Minute

// Describe says in one line what is about to happen.
func Describe(plan history.Plan) string {
	long := "for " + milliseconds(plan.DurationMS)
	if plan.Times > 0 {
		long = "until each fault has struck " + report.Plural(int64(plan.Times), "time")
	}
	return fmt.Sprintf("%s, %s; from one fault to the next about %s", report.Plural(int64(plan.Writers), "writer"), long, milliseconds(plan.EveryMS))
}
