package check

import (
	"context"
	"fmt"
	"strings"
	"time"

	"stateful-postgres/internal/contract"
	"stateful-postgres/verify/internal/kubernetes"
	"stateful-postgres/verify/internal/report"
)

// checkCluster looks at the objects, and then at the server when there should be one.
func (c *Checker) checkCluster(ctx context.Context) error {
	c.Sink.Progress.Say("looking at namespace %s", c.Subject.Objects.Namespace)
	observed, err := c.Subject.Cluster.Observe(ctx, c.Subject.Objects)
	desired, known := c.desired(observed)
	if known {
		c.Subject.Target.Replicas = &desired
	}
	c.Sink.Header(c.Subject.Target)
	if err == nil {
		err = c.checkPlace(ctx)
	}
	if err != nil {
		c.cannotSee(ctx, err)
		return nil
	}
	c.checkDeletion(observed)
	if observed.StatefulSet == nil {
		c.add(report.Kubernetes, "StatefulSet", report.Unknown, fmt.Sprintf("%s does not exist in namespace %s", c.Subject.Objects.StatefulSet, c.Subject.Objects.Namespace),
			"is this the right cluster (--context)? run: pulumi up")
		c.checkClaims(observed, false)
		return nil
	}
	if actual := specReplicas(observed); actual != desired {
		return c.changedBehind(ctx, observed, desired, actual)
	}
	if desired == 0 && c.Fill != nil {
		c.add(report.Kubernetes, "StatefulSet", report.Unknown, "0 replicas: the database is down, and nothing can be written", "run: pulumi config set replicas 1 && pulumi up")
		return nil
	}
	if desired == 0 {
		return c.checkDown(ctx, observed)
	}
	observed, err = c.waitReady(ctx, observed, desired)
	if err != nil {
		c.cannotSee(ctx, err)
		return nil
	}
	c.checkRunning(ctx, observed, desired)
	c.checkClaims(observed, false)
	if ctx.Err() != nil {
		return nil
	}
	return c.checkServer(ctx, observed)
}

// desired is how many replicas there should be.
func (c *Checker) desired(observed *kubernetes.Observation) (int, bool) {
	if c.Subject.Desired != nil {
		return *c.Subject.Desired, true
	}
	if observed == nil || observed.StatefulSet == nil {
		return 0, false
	}
	return specReplicas(observed), true
}

func specReplicas(observed *kubernetes.Observation) int {
	if observed.StatefulSet.Spec.Replicas == nil {
		return 1
	}
	return int(*observed.StatefulSet.Spec.Replicas)
}

func (c *Checker) cannotSee(ctx context.Context, err error) {
	c.cutShort(ctx)
	c.add(report.Kubernetes, "objects", report.Unknown, "could not be seen: "+err.Error(), "is the cluster up, and this the right one (--context)?")
}

// changedBehind reports replicas that are not what Pulumi deployed.
func (c *Checker) changedBehind(ctx context.Context, observed *kubernetes.Observation, desired, actual int) error {
	detail := fmt.Sprintf("replicas were changed behind Pulumi's back: the stack says %d, the cluster %d", desired, actual)
	if desired == 0 {
		// Down is what was to be proven, and it is not.
		c.add(report.Kubernetes, "StatefulSet", report.Violated, detail, "run: pulumi up --refresh")
	} else {
		c.add(report.Kubernetes, "StatefulSet", report.Unknown, detail+": there is nothing to look at the rows with", "run: pulumi up --refresh")
	}
	c.checkClaims(observed, desired == 0)
	if actual == 0 {
		return nil
	}
	return c.checkServer(ctx, observed)
}

// waitReady waits until as many pods as desired are ready and the Service leads to one. Of several
// servers the primary has all rows: where it is ready, the others are not waited for beyond the time
// to agree. When the wait ends from outside, what was seen last is returned.
func (c *Checker) waitReady(ctx context.Context, observed *kubernetes.Observation, desired int) (*kubernetes.Observation, error) {
	var serves time.Time
	return c.observeUntil(ctx, observed, func(o *kubernetes.Observation) string {
		waiting := notReady(o, desired)
		if waiting == "" || !c.several() || o.PrimaryPod() == nil {
			serves = time.Time{}
			return waiting
		}
		if serves.IsZero() {
			serves = time.Now()
		}
		if time.Since(serves) > c.settleTime() {
			return ""
		}
		return waiting
	})
}

// observeUntil looks again and again until pending finds nothing to wait for. Pending says what is
// waited for; empty when there is nothing.
func (c *Checker) observeUntil(ctx context.Context, observed *kubernetes.Observation, pending func(*kubernetes.Observation) string) (*kubernetes.Observation, error) {
	for {
		waiting := pending(observed)
		if waiting == "" {
			return observed, nil
		}
		c.Sink.Progress.Say("waiting: %s", waiting)
		select {
		case <-ctx.Done():
			return observed, nil
		case <-time.After(observeInterval):
		}
		next, err := c.Subject.Cluster.Observe(ctx, c.Subject.Objects)
		if err != nil && ctx.Err() == nil {
			return nil, err
		}
		if err == nil && next.StatefulSet != nil {
			observed = next
		}
	}
}

// notReady says what is missing until all servers can be reached; empty when nothing is.
func notReady(observed *kubernetes.Observation, desired int) string {
	if missing := missingTrusted(observed); missing != "" {
		return missing
	}
	ready := 0
	for i := range observed.Pods {
		if kubernetes.IsReady(&observed.Pods[i]) {
			ready++
		}
	}
	if ready < desired {
		for i := range observed.Pods {
			if !kubernetes.IsReady(&observed.Pods[i]) {
				return kubernetes.DescribePod(&observed.Pods[i])
			}
		}
		return fmt.Sprintf("StatefulSet %s has made %d of %d pods", observed.Objects.StatefulSet, len(observed.Pods), desired)
	}
	if observed.PrimaryPod() == nil && observed.Objects.HighAvailability {
		return "no pod has the role " + contract.RolePrimary
	}
	if service := observed.Objects.Service; service != "" && observed.Services[service] != nil && observed.ReadyEndpoints(service) == 0 {
		return fmt.Sprintf("Service %s has no ready endpoint", service)
	}
	return ""
}

// missingTrusted says for which servers all others wait: none that lacks an acknowledged write takes
// the place of the primary. It is empty when one of those that have all is there.
func missingTrusted(observed *kubernetes.Observation) string {
	if observed.Agreement == nil || observed.PrimaryPod() != nil {
		return ""
	}
	trusted := observed.Agreement.Trusted()
	for _, name := range trusted {
		if observed.Pod(name) != nil {
			return ""
		}
	}
	if len(trusted) == 0 {
		return ""
	}
	return fmt.Sprintf("no server takes the writes: only %s has every acknowledged one (ConfigMap %s), and there is no such pod",
		strings.Join(trusted, " or "), contract.MembersSync)
}

// checkRunning reports StatefulSet, pods and Service of a server that should run.
func (c *Checker) checkRunning(ctx context.Context, observed *kubernetes.Observation, desired int) {
	waiting := notReady(observed, desired)
	status := observed.StatefulSet.Status
	c.add(report.Kubernetes, "StatefulSet", passedIf(waiting == ""), fmt.Sprintf("%s: %d of %d replicas ready", observed.Objects.StatefulSet, status.ReadyReplicas, desired), "")
	if waiting != "" {
		c.cutShort(ctx)
		c.add(report.Kubernetes, "pod", report.Unknown, "waited in vain: "+waiting,
			fmt.Sprintf("see: kubectl -n %s describe pod, kubectl -n %s logs statefulset/%s", observed.Objects.Namespace, observed.Objects.Namespace, observed.Objects.StatefulSet))
	}
	for i := range observed.Pods {
		pod := &observed.Pods[i]
		if !kubernetes.IsReady(pod) {
			continue
		}
		detail := fmt.Sprintf("%s runs on %s", pod.Name, pod.Spec.NodeName)
		if pod.Status.StartTime != nil {
			detail += ", for " + age(pod.Status.StartTime.Time)
		}
		restarts := int32(0)
		for _, container := range pod.Status.ContainerStatuses {
			restarts += container.RestartCount
		}
		if restarts > 0 {
			c.add(report.Kubernetes, "pod", report.Warning, fmt.Sprintf("%s, restarted %s", detail, report.Plural(int64(restarts), "time")),
				fmt.Sprintf("see why: kubectl -n %s logs %s --previous", pod.Namespace, pod.Name))
			continue
		}
		c.add(report.Kubernetes, "pod", report.Passed, detail, "")
	}
	if observed.Objects.HighAvailability || waiting != "" {
		// Where the Services of several have to lead is for the servers to say.
		return
	}
	if service := observed.Services[observed.Objects.Service]; service != nil {
		detail := fmt.Sprintf("%s (%s) leads to %s", service.Name, service.Spec.Type, report.Plural(int64(observed.ReadyEndpoints(service.Name)), "ready endpoint"))
		c.add(report.Kubernetes, "Service", report.Passed, detail, "")
	}
}

func passedIf(condition bool) report.Status {
	if condition {
		return report.Passed
	}
	return report.Unknown
}
