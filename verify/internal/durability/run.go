// Package durability writes under load while faults strike, and accounts for every write at the end.
package durability

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"stateful-postgres/internal/faults"
	"stateful-postgres/verify/internal/check"
	"stateful-postgres/verify/internal/history"
	"stateful-postgres/verify/internal/ledger"
	"stateful-postgres/verify/internal/register"
	"stateful-postgres/verify/internal/report"
	"stateful-postgres/verify/internal/rows"
	"stateful-postgres/verify/internal/server"
)

// timeOfFault is about what one fault takes, where it is said how often each strikes.
const timeOfFault = 2 * time.Minute

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

// workload is what clients do.
type workload struct {
	clients []*client
	// works are what each of them runs until the context ends, background what runs beside.
	works, background []func(context.Context) error
	// finish is called when all have ended, and fills the history.
	finish func(context.Context, *history.History) error
}

// write lets clients work and faults strike. It returns when all has come to its end.
func (r *Run) write(ctx context.Context) error {
	h := r.History
	entrance := r.Subject.Entrance()
	defer entrance.Close()
	meter := newMeter(time.Now())
	open := r.openRows
	if h.Plan.Workload == history.Register {
		open = r.openRegisters
	}
	load, err := open(ctx, entrance, meter)
	var broken *rows.LedgerError
	switch {
	case errors.As(err, &broken):
		return err
	case err != nil:
		r.Sink.Report.CutShort(ctx)
		r.Sink.Add(report.Check{Section: report.Commits, Name: "start", Status: report.Unknown, Detail: oneLine(err)})
		return nil
	}
	// The table was made before: time begins with the first commit.
	meter.start(time.Now())
	h.StartedAt = time.Now().UTC().Truncate(time.Millisecond)
	work, stop := context.WithCancel(ctx)
	defer stop()
	var background, working sync.WaitGroup
	problems := make([]error, len(load.works))
	for i, run := range load.works {
		working.Go(func() {
			if problems[i] = run(work); problems[i] != nil {
				// A ledger that takes nothing any more ends the run.
				stop()
			}
		})
	}
	for _, run := range load.background {
		background.Go(func() { _ = run(work) })
	}
	watcher := &watcher{cluster: r.Subject.Cluster, objects: r.Subject.Objects, meter: meter}
	if r.Subject.Cluster != nil {
		background.Go(func() { watcher.run(work) })
	}
	injector := &injector{
		servers: r.Servers, faults: r.Faults, recovery: r.Recovery, every: time.Duration(h.Plan.EveryMS) * time.Millisecond,
		random: rand.New(rand.NewPCG(uint64(h.Plan.Seed), 0)), meter: meter, clients: load.clients, progress: r.Sink.Progress,
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
	working.Wait()
	background.Wait()
	ended := time.Now()
	meter.end(ended)
	h.DurationMS = meter.since(ended)
	h.BucketMS, h.Buckets = meter.bucketTime.Milliseconds(), meter.buckets
	h.Writes, h.Latency = meter.count(), meter.latencies()
	watcher.enter(h)
	return errors.Join(errors.Join(problems...), load.finish(ctx, h))
}

// openRows makes ready for writers that add rows to a run of their own.
func (r *Run) openRows(ctx context.Context, entrance *check.Entrance, meter *meter) (*workload, error) {
	account, err := newAccount(r.Ledger)
	if err != nil {
		return nil, &rows.LedgerError{Err: err}
	}
	r.History.Run = account.run
	err = r.prepare(ctx, entrance, func(exec execute) error {
		if err := rows.Create(ctx, exec); err != nil {
			return err
		}
		return exec(ctx, rows.Announcement(r.Ledger.State().Run(account.run)))
	})
	if err != nil {
		return nil, err
	}
	load := &workload{}
	pace := newPace(r.History.Plan)
	writers := make([]*writer, r.History.Plan.Writers)
	for i := range writers {
		w := &writer{client: client{connector: entrance, meter: meter, pace: pace}, pen: pen{account: account}}
		w.acknowledged.Store(-1)
		writers[i] = w
		load.clients, load.works = append(load.clients, &w.client), append(load.works, w.run)
	}
	// What a read needs to reconnect is no commit's.
	reader := &reader{client: client{connector: entrance, meter: newMeter(time.Now())}, run: account.run, writers: writers}
	load.background = []func(context.Context) error{
		func(ctx context.Context) error { reader.read(ctx); return nil },
		func(ctx context.Context) error { enterAll(ctx, writers); return nil },
	}
	load.finish = func(_ context.Context, h *history.History) error {
		h.Reads, h.Spans = reader.reads, account.spans()
		return nil
	}
	return load, nil
}

// openRegisters makes ready for clients that read, write and exchange values.
func (r *Run) openRegisters(ctx context.Context, entrance *check.Entrance, meter *meter) (*workload, error) {
	r.History.Run = ledger.NewRunID()
	if err := r.prepare(ctx, entrance, func(exec execute) error { return register.Create(ctx, exec) }); err != nil {
		return nil, err
	}
	load := &workload{}
	plan := r.History.Plan
	lasts := max(time.Duration(plan.DurationMS)*time.Millisecond, time.Duration(plan.Times*len(r.Faults))*timeOfFault)
	pace := newPace(plan)
	shared := register.NewRun(r.History.Run, time.Now(), register.Options{Lasts: lasts})
	for i := range plan.Writers {
		c := &registers{client: client{connector: entrance, meter: meter, pace: pace}, operations: shared.Client(uint64(r.History.Plan.Seed) + uint64(i))}
		load.clients, load.works = append(load.clients, &c.client), append(load.works, c.run)
	}
	load.finish = func(ctx context.Context, h *history.History) error {
		last := &registers{client: client{connector: entrance, meter: newMeter(time.Now())}, operations: shared.Client(uint64(h.Plan.Seed))}
		if err := last.lookAtAll(ctx); err != nil {
			r.Sink.Add(report.Check{Section: report.Registers, Name: "last look", Status: report.Unknown, Detail: oneLine(err)})
		}
		var err error
		h.Operations, err = register.Encode(shared.Operations())
		return err
	}
	return load, nil
}

// newPace is what the plan's clients keep to together. What they could not try while the server was away is
// not made up for.
func newPace(plan history.Plan) *rate.Limiter {
	if plan.Rate == 0 {
		return rate.NewLimiter(rate.Inf, 0)
	}
	return rate.NewLimiter(rate.Limit(plan.Rate), plan.Writers)
}

// execute runs a statement in a transaction of its own.
type execute = func(ctx context.Context, sql string, args ...any) error

// prepare connects, and lets something be done before the clients begin.
func (r *Run) prepare(ctx context.Context, entrance *check.Entrance, do func(execute) error) error {
	session, err := server.Wait(ctx, entrance.Open, func(met string) { r.Sink.Progress.Say("waiting for the server: %s", met) })
	if err != nil {
		return err
	}
	defer session.Close()
	return do(session.Exec)
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
	if run := r.Ledger.State().Run(h.Run); run != nil {
		h.Writes.Survived = run.Count(ledger.Seen)
	}
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
	who := report.Plural(int64(plan.Writers), "writer")
	if plan.Rate > 0 {
		who += fmt.Sprintf(", %g commits a second", plan.Rate)
	}
	if len(plan.Faults) == 0 {
		return fmt.Sprintf("%s, %s; nothing is broken", who, long)
	}
	return fmt.Sprintf("%s, %s; from one fault to the next about %s", who, long, milliseconds(plan.EveryMS))
}
