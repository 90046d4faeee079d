package check

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"stateful-postgres/verify/internal/cluster"
	"stateful-postgres/verify/internal/report"
	"stateful-postgres/verify/internal/server"
)

// checkDown proves that the database is down and its volume kept: no pod, no endpoint, nothing
// that answers for a hold period, and the claim still bound to the volume it had.
func (c *Checker) checkDown(ctx context.Context, observed *cluster.Observation) error {
	observed, err := c.waitGone(ctx, observed)
	if err != nil {
		c.cannotSee(ctx, err)
		return nil
	}
	left := notGone(observed)
	if left != "" {
		c.cutShort(ctx)
	}
	status := observed.StatefulSet.Status
	if status.Replicas == 0 {
		c.add(report.Kubernetes, "StatefulSet", report.Passed, fmt.Sprintf("%s: 0 replicas asked for, 0 there", observed.Objects.StatefulSet), "")
	} else {
		c.add(report.Kubernetes, "StatefulSet", report.Unknown, fmt.Sprintf("%s: 0 replicas asked for, %d there", observed.Objects.StatefulSet, status.Replicas), "")
	}
	if len(observed.Pods) == 0 {
		c.add(report.Kubernetes, "pods", report.Passed, "none", "")
	} else {
		c.add(report.Kubernetes, "pods", report.Unknown, "waited in vain: "+cluster.DescribePod(&observed.Pods[0]),
			fmt.Sprintf("see: kubectl -n %s describe pod %s", observed.Objects.Namespace, observed.Pods[0].Name))
	}
	c.checkNoEndpoints(observed)
	c.checkClaim(observed, true)
	c.checkUnreachable(ctx, observed)
	return nil
}

// waitGone waits until nothing of the server is left in the cluster. When the wait ends from
// outside, what was seen last is returned.
func (c *Checker) waitGone(ctx context.Context, observed *cluster.Observation) (*cluster.Observation, error) {
	return c.observeUntil(ctx, observed, func(o *cluster.Observation) string {
		if specReplicas(o) != 0 {
			return "" // It is not meant to go: there is nothing to wait for.
		}
		return notGone(o)
	})
}

// notGone says what is left of the server; empty when nothing is.
func notGone(observed *cluster.Observation) string {
	for i := range observed.Pods {
		return cluster.DescribePod(&observed.Pods[i])
	}
	for _, service := range []string{observed.Objects.Service, observed.Objects.Headless} {
		if ready := observed.ReadyEndpoints(service); ready > 0 {
			return fmt.Sprintf("Service %s has %s", service, report.Plural(int64(ready), "ready endpoint"))
		}
	}
	if replicas := observed.StatefulSet.Status.Replicas; replicas > 0 {
		return fmt.Sprintf("StatefulSet %s has %d replicas", observed.Objects.StatefulSet, replicas)
	}
	return ""
}

func (c *Checker) checkNoEndpoints(observed *cluster.Observation) {
	var looked []string
	for _, service := range []string{observed.Objects.Service, observed.Objects.Headless} {
		if service == "" {
			continue
		}
		if ready := observed.ReadyEndpoints(service); ready > 0 {
			c.add(report.Kubernetes, "endpoints", report.Unknown, fmt.Sprintf("Service %s still has %s", service, report.Plural(int64(ready), "ready endpoint")), "")
			return
		}
		looked = append(looked, service)
	}
	c.add(report.Kubernetes, "endpoints", report.Passed, "none of "+strings.Join(looked, " and "), "")
}

// checkUnreachable opens fresh connections to every address of the server for the hold period.
func (c *Checker) checkUnreachable(ctx context.Context, observed *cluster.Observation) {
	doors, err := c.Subject.Cluster.Doors(ctx, observed.Services[observed.Objects.Service], c.Subject.Via)
	if err != nil {
		c.add(report.Server, "unreachable", report.Unknown, err.Error(), "")
		return
	}
	if len(doors.Addresses) == 0 {
		c.add(report.Server, "unreachable", report.Skipped, "not tried: the server has no address outside the cluster, and without a pod there is nothing to forward to", "")
		return
	}
	c.Sink.Progress.Say("connecting for %s, to see that nothing answers", report.Duration(c.Hold))
	attempts, met, reach := hold(ctx, doors.Addresses, c.Hold)
	detail := fmt.Sprintf("%s to %s over %s: %s", report.Plural(int64(attempts), "connection"), doors.Via+" "+strings.Join(doors.Addresses, ", "), report.Duration(c.Hold), met)
	switch {
	case reach == server.Reached:
		c.add(report.Server, "unreachable", report.Violated, detail, "a PostgreSQL server is up behind that address: which one?")
	case reach == server.Silent:
		c.add(report.Server, "unreachable", report.Unknown, detail, "something accepts connections and says nothing: a server that hangs looks like that")
	case c.cutShort(ctx):
		c.add(report.Server, "unreachable", report.Unknown, "not finished: "+detail, "")
	default:
		c.add(report.Server, "unreachable", report.Passed, detail, "")
	}
}

// hold probes all addresses for a period, and at least once each. It returns the number of
// attempts, what they met in words, and the worst of it. It ends early when a server answers.
func hold(ctx context.Context, addresses []string, period time.Duration) (int, string, server.Reach) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var mutex sync.Mutex
	var probes sync.WaitGroup
	attempts, worst, met := 0, server.Unreached, map[string]server.Reach{}
	end := time.Now().Add(period)
	for _, address := range addresses {
		probes.Go(func() {
			for {
				reach, said := server.Probe(ctx, address, probeTimeout)
				if ctx.Err() != nil {
					return
				}
				mutex.Lock()
				attempts++
				met[said] = reach
				worst = max(worst, reach)
				mutex.Unlock()
				if reach == server.Reached {
					cancel()
					return
				}
				if time.Now().After(end) {
					return
				}
				select {
				case <-ctx.Done():
					return
				case <-time.After(probeInterval):
				}
			}
		})
	}
	probes.Wait()
	var said []string
	for text, reach := range met {
		if reach == worst {
			said = append(said, text)
		}
	}
	slices.Sort(said)
	return attempts, strings.Join(said, ", "), worst
}
