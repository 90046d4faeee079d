package check

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"stateful-postgres/internal/contract"
	"stateful-postgres/verify/internal/kubernetes"
	"stateful-postgres/verify/internal/report"
)

// checkTrusted looks, while all servers are down, at who of them has every acknowledged write. That
// belongs to the data: without it none of them starts.
func (c *Checker) checkTrusted(observed *kubernetes.Observation) {
	agreement := observed.Agreement
	switch {
	case agreement == nil:
	case slices.Contains(agreement.Unseen, contract.MembersSync):
		c.add(report.Kubernetes, "trusted", report.Warning, fmt.Sprintf("this user may not read ConfigMap %s, which says who has every acknowledged write", contract.MembersSync), "")
	case agreement.SyncLeader == "" && c.State().Required() == 0:
		c.add(report.Kubernetes, "trusted", report.Warning, fmt.Sprintf("ConfigMap %s does not say who has every acknowledged write; none was ever acknowledged to verify", contract.MembersSync), "")
	case agreement.SyncLeader == "":
		c.add(report.Kubernetes, "trusted", report.Violated, fmt.Sprintf("ConfigMap %s does not say who has every acknowledged write, and no server starts without it", contract.MembersSync),
			"compare the servers: each one's log says at its next start how far it is, and what to type")
	default:
		c.add(report.Kubernetes, "trusted", report.Passed, fmt.Sprintf("%s %s every acknowledged write (ConfigMap %s)",
			enumerate(agreement.Trusted()), map[bool]string{true: "has", false: "have"}[len(agreement.Trusted()) == 1], contract.MembersSync), "")
	}
}

// enumerate writes a list of names.
func enumerate(names []string) string {
	if last := len(names) - 1; last > 0 {
		return strings.Join(names[:last], ", ") + " and " + names[last]
	}
	return strings.Join(names, "")
}

// checkDown proves that the database is down and its volume kept: no pod, no endpoint, nothing
// that answers for a hold period, and the claim still bound to the volume it had.
func (c *Checker) checkDown(ctx context.Context, observed *kubernetes.Observation) error {
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
		c.add(report.Kubernetes, "pods", report.Unknown, "waited in vain: "+kubernetes.DescribePod(&observed.Pods[0]),
			fmt.Sprintf("see: kubectl -n %s describe pod %s", observed.Objects.Namespace, observed.Pods[0].Name))
	}
	c.checkNoEndpoints(observed)
	c.checkClaims(observed, true)
	c.checkTrusted(observed)
	c.checkUnreachable(ctx, observed)
	c.checkOthersAtZero(observed)
	return nil
}

// waitGone waits until nothing of the server is left in the cluster. When the wait ends from
// outside, what was seen last is returned.
func (c *Checker) waitGone(ctx context.Context, observed *kubernetes.Observation) (*kubernetes.Observation, error) {
	return c.observeUntil(ctx, observed, func(o *kubernetes.Observation) string {
		if specReplicas(o) != 0 {
			return "" // It is not meant to go: there is nothing to wait for.
		}
		return notGone(o)
	})
}

// notGone says what is left of the server; empty when nothing is.
func notGone(observed *kubernetes.Observation) string {
	for i := range observed.Pods {
		return kubernetes.DescribePod(&observed.Pods[i])
	}
	for _, service := range observed.Objects.Services() {
		if ready := observed.ReadyEndpoints(service); ready > 0 {
			return fmt.Sprintf("Service %s has %s", service, report.Plural(int64(ready), "ready endpoint"))
		}
	}
	if replicas := observed.StatefulSet.Status.Replicas; replicas > 0 {
		return fmt.Sprintf("StatefulSet %s has %d replicas", observed.Objects.StatefulSet, replicas)
	}
	return ""
}

func (c *Checker) checkNoEndpoints(observed *kubernetes.Observation) {
	var looked []string
	for _, service := range observed.Objects.Services() {
		if ready := observed.ReadyEndpoints(service); ready > 0 {
			c.add(report.Kubernetes, "endpoints", report.Unknown, fmt.Sprintf("Service %s still has %s", service, report.Plural(int64(ready), "ready endpoint")), "")
			return
		}
		looked = append(looked, service)
	}
	c.add(report.Kubernetes, "endpoints", report.Passed, "none of "+enumerate(looked), "")
}
