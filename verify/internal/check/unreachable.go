package check

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"stateful-postgres/verify/internal/kubernetes"
	"stateful-postgres/verify/internal/report"
	"stateful-postgres/verify/internal/server"
)

// checkUnreachable opens fresh connections to every address of the server for the hold period.
func (c *Checker) checkUnreachable(ctx context.Context, observed *kubernetes.Observation) {
	access, err := c.Subject.Cluster.Access(ctx, observed.Services[observed.Objects.Service], c.Subject.Via)
	if err != nil {
		c.add(report.Server, "unreachable", report.Unknown, err.Error(), "")
		return
	}
	if len(access.Addresses) == 0 {
		c.add(report.Server, "unreachable", report.Skipped, "not tried: the server has no address outside the cluster, and without a pod there is nothing to forward to", "")
		return
	}
	c.Sink.Progress.Say("connecting for %s, to see that nothing answers", report.Duration(c.Hold))
	c.reportProbes(ctx, access, hold(ctx, access.Addresses, c.Hold))
}

// reportProbes says what was met at the addresses. Only an answer shows that no server is there;
// silence shows it at no address but the one where the server did answer before.
func (c *Checker) reportProbes(ctx context.Context, access kubernetes.Access, probes []probe) {
	attempts, worst := 0, server.Unanswered
	var answered, silenced, unknown []string
	for _, p := range probes {
		attempts += p.attempts
		worst = max(worst, p.reach)
		switch {
		case p.reach != server.Unanswered:
			answered = append(answered, p.address)
		case p.address == c.State().Sighting.Address:
			silenced = append(silenced, p.address)
		default:
			unknown = append(unknown, p.address)
		}
	}
	detail := fmt.Sprintf("%s to %s %s over %s: %s", report.Plural(int64(attempts), "connection"), access.Via,
		strings.Join(access.Addresses, ", "), report.Duration(c.Hold), said(probes, worst))
	switch {
	case worst == server.Reached:
		c.add(report.Server, "unreachable", report.Violated, detail, "a PostgreSQL server is up behind that address: which one?")
	case c.cutShort(ctx):
		c.add(report.Server, "unreachable", report.Unknown, fmt.Sprintf("not finished: %v", context.Cause(ctx)), "")
	case worst == server.Silent:
		c.add(report.Server, "unreachable", report.Unknown, detail, "something takes connections and does not answer: a server that hangs would look like this")
	case len(answered)+len(silenced) > 0:
		if len(silenced) > 0 {
			detail += fmt.Sprintf("; no answer at %s, where the server answered before", strings.Join(silenced, ", "))
		}
		if len(unknown) > 0 {
			detail += fmt.Sprintf("; nothing is shown by %s, where nothing answers", strings.Join(unknown, ", "))
		}
		c.add(report.Server, "unreachable", report.Passed, detail, "")
	case c.State().Sighting.Via == kubernetes.ViaPortForward:
		c.add(report.Server, "unreachable", report.Skipped, "not shown: "+detail+"; nothing answered there while the server was up, either, so that it was reached through "+
			"a forwarded port, and without a pod there is nothing to forward to", "")
	default:
		c.add(report.Server, "unreachable", report.Unknown, "not shown: "+detail+"; it is not known that the server can be reached there from this machine",
			"run verify from here while the server is up: then it knows the way, and silence there counts")
	}
}

// said is what was met, in words.
func said(probes []probe, reach server.Reach) string {
	var all []string
	for _, p := range probes {
		if p.reach == reach {
			all = append(all, p.said...)
		}
	}
	slices.Sort(all)
	return strings.Join(slices.Compact(all), ", ")
}

// probe is what fresh connections to one address met.
type probe struct {
	address  string
	attempts int
	// reach is the worst that was met, said what that was in words.
	reach server.Reach
	said  []string
}

// hold connects to all addresses again and again for a period. It ends early when a server answers.
func hold(ctx context.Context, addresses []string, period time.Duration) []probe {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	probes := make([]probe, len(addresses))
	var group sync.WaitGroup
	end := time.Now().Add(period)
	for i, address := range addresses {
		p := &probes[i]
		p.address, p.reach = address, server.Unanswered
		group.Go(func() {
			for {
				reach, said := server.Probe(ctx, address, probeTimeout)
				if ctx.Err() != nil {
					return
				}
				p.add(reach, said)
				if reach == server.Reached {
					cancel()
					return
				}
				select {
				case <-ctx.Done():
					return
				case <-time.After(probeInterval):
				}
				if time.Now().After(end) {
					return
				}
			}
		})
	}
	group.Wait()
	return probes
}

func (p *probe) add(reach server.Reach, said string) {
	p.attempts++
	if reach > p.reach {
		p.reach, p.said = reach, nil
	}
	if reach == p.reach && !slices.Contains(p.said, said) {
		p.said = append(p.said, said)
	}
}
