// Package cycle scales a stack down and up again through the Pulumi engine, with a writer that
// runs throughout, and proves that nothing was lost on the way.
package cycle

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"stateful-postgres/verify/internal/check"
	"stateful-postgres/verify/internal/kubernetes"
	"stateful-postgres/verify/internal/ledger"
	"stateful-postgres/verify/internal/report"
	"stateful-postgres/verify/internal/rows"
)

const (
	// restoreTimeout is how long putting the replicas back may take after an interruption.
	restoreTimeout = 10 * time.Minute
	// resumeTimeout is how long the first write after the scale-up is waited for.
	resumeTimeout = 2 * time.Minute
)

// Deployer changes the replicas of what is cycled.
type Deployer interface {
	// Scale deploys other replicas than the settings say.
	Scale(ctx context.Context, replicas int) error
	// Restore deploys the settings as they are.
	Restore(ctx context.Context) error
	// RestoreCommand is Restore, to be typed by a person.
	RestoreCommand() string
}

// Cycle is a number of rounds down and up.
type Cycle struct {
	// Subject is the server as the settings have it.
	Subject  check.Subject
	Deployer Deployer
	Ledger   *ledger.Ledger
	Sink     *report.Sink
	// Others are the ledgers that may know the same database under another name.
	Others []check.Other
	// Notice tells a person something that is not a result.
	Notice func(text string)
	Times  int
	// To is the number of replicas to scale to.
	To int
	// Through, when it is set, replaces Times and To: the numbers of replicas to go through, one after
	// the other.
	Through []int
	Rows    int64
	Hold    time.Duration
	// Settle is how long several servers may take to agree; 0 is as long as a failover may need.
	Settle time.Duration

	turn sync.Mutex
	// scaled is whether the deployed replicas may differ from the settings.
	scaled bool
	// round is the number of the round, or of the step; from is how many replicas a step began with.
	round, from int
}

// Run runs the cycle. Every problem that is found is in the report; the error is about the
// ledger, without which nothing can be said. However it ends, the replicas are put back.
func (c *Cycle) Run(ctx context.Context) (err error) {
	c.Sink.Report.Ledger = c.Ledger.Path()
	c.Sink.Report.Cycle = &report.Timings{Phases: []report.Phase{}, UnavailableMS: []int64{}}
	c.Sink.Header(c.Subject.Target)
	if len(c.Through) > 0 {
		return c.goThrough(ctx)
	}
	if *c.Subject.Desired == c.To {
		c.add("replicas", report.Unknown, fmt.Sprintf("already %d: there is nothing to cycle", c.To), "run: pulumi config set replicas 1 && pulumi up")
		return nil
	}
	c.sayWayBack()
	defer c.putBack(ctx)
	for c.round = 1; c.round <= c.Times; c.round++ {
		if done, err := c.oneRound(ctx); err != nil || !done {
			return err
		}
	}
	return nil
}

// sayWayBack says what to type should this be killed, before anything is done.
func (c *Cycle) sayWayBack() {
	c.Notice("should this be killed, replicas are put back by: " + c.Deployer.RestoreCommand())
}

// putBack puts the replicas back where they are not what the settings say.
func (c *Cycle) putBack(ctx context.Context) {
	if c.scaled {
		c.restore(ctx)
	}
}

// restore puts the replicas back after a round that did not come to its end.
func (c *Cycle) restore(interrupted context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(interrupted), restoreTimeout)
	defer cancel()
	if interrupted.Err() != nil {
		c.Notice("putting replicas back; interrupt again to leave that to you: " + c.Deployer.RestoreCommand())
	}
	c.Sink.Progress.Say("putting replicas back to %d", *c.Subject.Desired)
	if err := c.Deployer.Restore(ctx); err != nil {
		c.add("put back", report.Unknown, fmt.Sprintf("replicas could not be put back: %v", err), "run: "+c.Deployer.RestoreCommand())
		return
	}
	c.scaled = false
	c.add("put back", report.Passed, fmt.Sprintf("replicas are %d again", *c.Subject.Desired), "")
}

// oneRound goes down and up once. It returns false when no further round makes sense.
func (c *Cycle) oneRound(ctx context.Context) (bool, error) {
	if ok, err := c.check(ctx, "check before", c.Subject); err != nil || !ok {
		return false, err
	}
	before := c.Ledger.State().Sighting
	c.Subject.Forwarded = before.Via == kubernetes.ViaPortForward
	// The check before has made sure that there is a run and a table.
	writer, err := rows.NewWriter(c.Ledger, 0)
	if err != nil {
		return false, err
	}
	stream := startStream(ctx, &c.Subject, writer, &c.turn)
	defer stream.halt()

	c.scaled = true
	if !c.phase(ctx, fmt.Sprintf("scale to %d", c.To), func() error { return c.Deployer.Scale(ctx, c.To) }) {
		return false, nil
	}
	scaled := c.Subject
	scaled.Desired = &c.To
	name := "down"
	if c.To > 0 {
		name = "check scaled"
	}
	if ok, err := c.check(ctx, name, scaled); err != nil || !ok {
		return false, err
	}
	resumed := stream.expectResume()
	if !c.phase(ctx, fmt.Sprintf("scale to %d", *c.Subject.Desired), func() error { return c.Deployer.Restore(ctx) }) {
		return false, nil
	}
	c.scaled = false
	writes := c.phase(ctx, "first write", func() error { return awaitResume(ctx, resumed) })
	if !writes && ctx.Err() != nil {
		return false, nil
	}
	// A server that takes no writes is looked at all the more.
	stream.halt()
	if stream.problem != nil {
		return false, stream.problem
	}
	c.Sink.Report.Cycle.UnavailableMS = append(c.Sink.Report.Cycle.UnavailableMS, stream.longest.Milliseconds())
	c.reportStream(stream.counts)
	ok, err := c.check(ctx, "check after", c.Subject)
	if err != nil {
		return false, err
	}
	return c.compare(before, c.To == 0) && ok && writes, nil
}

func awaitResume(ctx context.Context, answered <-chan error) error {
	select {
	case err := <-answered:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(resumeTimeout):
		return fmt.Errorf("no write was acknowledged within %s", resumeTimeout)
	}
}

// phase runs a measured step, and reports how long it took or why it failed.
func (c *Cycle) phase(ctx context.Context, name string, step func() error) bool {
	c.Sink.Progress.Say("round %d: %s", c.round, name)
	started := time.Now()
	err := step()
	took := time.Since(started)
	c.measured(name, took)
	if err == nil {
		c.add(name, report.Passed, "in "+report.Duration(took), "")
		return true
	}
	c.Sink.Report.CutShort(ctx)
	c.add(name, report.Unknown, err.Error(), "")
	return false
}

func (c *Cycle) measured(name string, took time.Duration) {
	c.Sink.Report.Cycle.Phases = append(c.Sink.Report.Cycle.Phases, report.Phase{Round: c.round, Name: name, DurationMS: took.Milliseconds()})
}

func (c *Cycle) add(name string, status report.Status, detail, hint string) {
	c.Sink.Add(report.Check{Section: c.section(), Name: name, Status: status, Detail: detail, Hint: hint})
}

func (c *Cycle) section() string {
	if len(c.Through) > 0 {
		return fmt.Sprintf("%s, step %d of %d", report.Cycle, max(c.round, 1), len(c.Through))
	}
	if c.Times > 1 {
		return fmt.Sprintf("%s, round %d of %d", report.Cycle, min(max(c.round, 1), c.Times), c.Times)
	}
	return report.Cycle
}

// check takes a look whose result is one line, and every line that is not as it should be.
func (c *Cycle) check(ctx context.Context, name string, subject check.Subject) (bool, error) {
	started := time.Now()
	c.turn.Lock()
	defer c.turn.Unlock()
	part := report.NewSink("check", report.Discard{}, c.Sink.Progress)
	checker := &check.Checker{Subject: subject, Ledger: c.Ledger, Sink: part, Rows: c.Rows, Hold: c.Hold, Settle: c.Settle, Others: c.Others}
	err := checker.Run(ctx)
	if err := errors.Join(err, part.Finish(checker.Summarize)); err != nil {
		return false, err
	}
	took := time.Since(started)
	c.measured(name, took)
	if part.Report.Rows != nil {
		c.Sink.Report.Rows = part.Report.Rows
	}
	c.Sink.Report.Target.Via, c.Sink.Report.Target.Address = part.Report.Target.Via, part.Report.Target.Address
	c.Sink.Report.Target.Pod, c.Sink.Report.Members = part.Report.Target.Pod, part.Report.Members
	if part.Report.Verdict == report.Proven {
		c.add(name, report.Passed, part.Report.Summary, "")
		c.forward(part.Report, "last shutdown")
		c.forward(part.Report, "withdrawn")
		return true, nil
	}
	c.Sink.Report.CutShort(ctx)
	for _, found := range part.Report.Checks {
		if found.Status == report.Violated || found.Status == report.Unknown {
			found.Section, found.Name = c.section(), name+": "+found.Name
			c.Sink.Add(found)
		}
	}
	return false, nil
}

// forward takes a check of a look over. A server that had to recover from a crash is no loss,
// but a scale to 0 must shut it down cleanly. Of several servers one that stays has taken the writes
// over.
func (c *Cycle) forward(part *report.Report, name string) {
	for _, found := range part.Checks {
		if found.Name != name {
			continue
		}
		if strings.HasPrefix(found.Detail, "not clean") && c.fromZero() {
			found.Status = report.Violated
		}
		found.Section = c.section()
		c.Sink.Add(found)
	}
}

// fromZero says whether the way to where the cycle is now leads over 0 replicas.
func (c *Cycle) fromZero() bool {
	if len(c.Through) > 0 {
		return c.from == 0
	}
	return c.To == 0
}

// reportStream reports what the writer met.
func (c *Cycle) reportStream(s counts) {
	detail := fmt.Sprintf("%s acknowledged while scaling", report.Plural(s.acknowledged, "row"))
	if s.failed > 0 {
		detail += fmt.Sprintf(", %s failed", report.Number(s.failed))
	}
	if s.unknown > 0 {
		detail += fmt.Sprintf(", %s without an answer", report.Number(s.unknown))
	}
	c.add("writer", report.Passed, fmt.Sprintf("%s; none for %s", detail, report.Duration(s.longest)), "")
	if s.locally > 0 {
		c.add("writer", report.Warning, fmt.Sprintf("of these %s were committed on the primary alone: the wait for the synchronous standby was given up", report.Number(s.locally)), "")
	}
}

// compare holds the server after a round against the one before. restarted says that it has to be
// another process.
func (c *Cycle) compare(before ledger.Sighting, restarted bool) bool {
	after := c.Ledger.State().Sighting
	several := c.Subject.Objects.HighAvailability
	detail := fmt.Sprintf("system_identifier %s, timeline %d", after.SystemIdentifier, after.Timeline)
	switch {
	// With several servers each start of a primary begins another timeline; a check has looked at
	// their history.
	case before.SystemIdentifier != after.SystemIdentifier || before.Timeline != after.Timeline && !several || before.Timeline > after.Timeline:
		c.add("same database", report.Violated, fmt.Sprintf("%s; before it was %s, timeline %d",
			detail, before.SystemIdentifier, before.Timeline), "")
		return false
	case restarted && before.PostmasterStart.Equal(after.PostmasterStart):
		c.add("same database", report.Violated, fmt.Sprintf("the server has been up since %s: it was never stopped", report.Time(after.PostmasterStart)), "")
		return false
	}
	if before.Timeline != after.Timeline {
		detail += fmt.Sprintf(" (it was %d)", before.Timeline)
	}
	if several {
		detail += ", primary " + after.Pod
		if before.Pod != after.Pod && before.Pod != "" {
			detail += fmt.Sprintf(" (it was %s)", before.Pod)
		}
	}
	if restarted {
		detail += ", server started anew"
	}
	c.add("same database", report.Passed, detail, "")
	return true
}

// Summarize says in one sentence what the cycle amounts to.
func (c *Cycle) Summarize(r *report.Report) string {
	return r.Summarize(func() string {
		if len(c.Through) > 0 {
			return fmt.Sprintf("through %s replicas, no acknowledged row was lost or altered", list(c.Through))
		}
		return report.Plural(int64(c.Times), "time") + " down and up again, no acknowledged row was lost or altered"
	})
}
