package cycle

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"stateful-postgres/verify/internal/check"
	"stateful-postgres/verify/internal/kubernetes"
	"stateful-postgres/verify/internal/report"
	"stateful-postgres/verify/internal/rows"
)

// journey is a cycle through a list of replicas.
type journey struct {
	*Cycle
	// at is how many replicas there are now.
	at int
	// stream is nil until there is a table to write to.
	stream *stream
}

// goThrough deploys each number of replicas in its turn, with a writer throughout, and takes a look
// after each.
func (c *Cycle) goThrough(ctx context.Context) error {
	j := &journey{Cycle: c, at: *c.Subject.Desired}
	c.sayWayBack()
	defer c.putBack(ctx)
	// A writer must not meet the replicas while they are put back.
	defer func() {
		if j.stream != nil {
			j.stream.halt()
		}
	}()
	c.from = j.at
	if ok, err := c.check(ctx, "check before", c.subjectAt(j.at)); err != nil || !ok {
		return err
	}
	if err := j.startWriter(ctx); err != nil {
		return err
	}
	for i, to := range c.Through {
		c.round = i + 1
		if ok, err := j.step(ctx, to); err != nil || !ok {
			return err
		}
	}
	return nil
}

// subjectAt is the subject with another number of replicas.
func (c *Cycle) subjectAt(replicas int) check.Subject {
	subject := c.Subject
	subject.Desired = &replicas
	return subject
}

// startWriter starts the writer, unless it runs or there is nothing yet that it could write to.
func (j *journey) startWriter(ctx context.Context) error {
	if j.stream != nil || j.at == 0 {
		return nil
	}
	j.Subject.Forwarded = j.Ledger.State().Sighting.Via == kubernetes.ViaPortForward
	// The check before has made sure that there is a run and a table.
	writer, err := rows.NewWriter(j.Ledger, 0)
	if err != nil {
		return err
	}
	j.stream = startStream(ctx, &j.Subject, writer, &j.turn)
	return nil
}

// step deploys a number of replicas, waits until writes go on, and takes a look. It returns false when
// no further step makes sense.
func (j *journey) step(ctx context.Context, to int) (bool, error) {
	j.from = j.at
	before, started := j.Ledger.State().Sighting, time.Now()
	if j.stream != nil {
		j.stream.begin()
	}
	if j.at != to {
		if !j.phase(ctx, fmt.Sprintf("scale %d to %d", j.at, to), func() error { return j.deploy(ctx, to) }) {
			return false, nil
		}
		j.at = to
	}
	writes := true
	if to > 0 && j.stream != nil {
		resumed := j.stream.expectResume()
		writes = j.phase(ctx, "next write", func() error { return awaitResume(ctx, resumed) })
		if !writes && ctx.Err() != nil {
			return false, nil
		}
	}
	taken := report.Step{Step: j.round, From: j.from, To: to}
	var met counts
	if to > 0 {
		// What the look keeps the writer waiting for is no outage.
		met = j.measure(&taken, started)
	}
	name := "check"
	if to == 0 {
		name = "down"
	}
	ok, err := j.check(ctx, name, j.subjectAt(to))
	if err != nil {
		return false, err
	}
	if to == 0 {
		met = j.measure(&taken, started)
	} else if ok {
		taken.Pod = j.Ledger.State().Sighting.Pod
	}
	j.Sink.Report.Cycle.Steps = append(j.Sink.Report.Cycle.Steps, taken)
	if j.stream != nil {
		if err := j.stream.ledgerProblem(); err != nil {
			return false, err
		}
		j.reportStream(met)
	}
	// There is nothing to compare the first server with.
	if to > 0 && ok && before.SystemIdentifier != "" {
		ok = j.compare(before, j.from == 0)
	}
	if !ok || !writes {
		return false, nil
	}
	return true, j.startWriter(ctx)
}

// measure enters how long a step took, and what the writer met meanwhile.
func (j *journey) measure(taken *report.Step, started time.Time) counts {
	taken.DurationMS = time.Since(started).Milliseconds()
	if j.stream == nil {
		return counts{}
	}
	met := j.stream.end()
	longest := met.longest.Milliseconds()
	taken.UnavailableMS, taken.Acknowledged, taken.AcknowledgedLocally = &longest, met.acknowledged, met.locally
	return met
}

// deploy deploys a number of replicas: by the settings where it is theirs.
func (j *journey) deploy(ctx context.Context, replicas int) error {
	if replicas != *j.Subject.Desired {
		j.scaled = true
		return j.Deployer.Scale(ctx, replicas)
	}
	err := j.Deployer.Restore(ctx)
	j.scaled = err != nil
	return err
}

// list writes numbers with commas.
func list(numbers []int) string {
	var texts []string
	for _, number := range numbers {
		texts = append(texts, strconv.Itoa(number))
	}
	return strings.Join(texts, ",")
}
