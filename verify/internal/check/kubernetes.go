package check

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"stateful-postgres/verify/internal/cluster"
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
	if err != nil {
		c.cannotSee(ctx, err)
		return nil
	}
	if observed.StatefulSet == nil {
		c.add(report.Kubernetes, "StatefulSet", report.Unknown, fmt.Sprintf("%s does not exist in namespace %s", c.Subject.Objects.StatefulSet, c.Subject.Objects.Namespace),
			"is this the right cluster (--context)? run: pulumi up")
		c.checkClaim(observed, false)
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
	c.checkClaim(observed, false)
	if ctx.Err() != nil {
		return nil
	}
	return c.checkServer(ctx, observed)
}

// desired is how many replicas there should be.
func (c *Checker) desired(observed *cluster.Observation) (int, bool) {
	if c.Subject.Desired != nil {
		return *c.Subject.Desired, true
	}
	if observed == nil || observed.StatefulSet == nil {
		return 0, false
	}
	return specReplicas(observed), true
}

func specReplicas(observed *cluster.Observation) int {
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
func (c *Checker) changedBehind(ctx context.Context, observed *cluster.Observation, desired, actual int) error {
	detail := fmt.Sprintf("replicas were changed behind Pulumi's back: the stack says %d, the cluster %d", desired, actual)
	if desired == 0 {
		// Down is what was to be proven, and it is not.
		c.add(report.Kubernetes, "StatefulSet", report.Violated, detail, "run: pulumi up --refresh")
	} else {
		c.add(report.Kubernetes, "StatefulSet", report.Unknown, detail+": there is nothing to look at the rows with", "run: pulumi up --refresh")
	}
	c.checkClaim(observed, desired == 0)
	if actual == 0 {
		return nil
	}
	return c.checkServer(ctx, observed)
}

// waitReady waits until as many pods as desired are ready and the Service leads to one. When the
// wait ends from outside, what was seen last is returned.
func (c *Checker) waitReady(ctx context.Context, observed *cluster.Observation, desired int) (*cluster.Observation, error) {
	return c.observeUntil(ctx, observed, func(o *cluster.Observation) string { return notReady(o, desired) })
}

// observeUntil looks again and again until pending finds nothing to wait for. Pending says what is
// waited for; empty when there is nothing.
func (c *Checker) observeUntil(ctx context.Context, observed *cluster.Observation, pending func(*cluster.Observation) string) (*cluster.Observation, error) {
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

// notReady says what is missing until the server can be reached; empty when nothing is.
func notReady(observed *cluster.Observation, desired int) string {
	ready := 0
	for i := range observed.Pods {
		if cluster.IsReady(&observed.Pods[i]) {
			ready++
		}
	}
	if ready < desired {
		for i := range observed.Pods {
			if !cluster.IsReady(&observed.Pods[i]) {
				return cluster.DescribePod(&observed.Pods[i])
			}
		}
		return fmt.Sprintf("StatefulSet %s has made %d of %d pods", observed.Objects.StatefulSet, len(observed.Pods), desired)
	}
	if service := observed.Objects.Service; service != "" && observed.Services[service] != nil && observed.ReadyEndpoints(service) == 0 {
		return fmt.Sprintf("Service %s has no ready endpoint", service)
	}
	return ""
}

// checkRunning reports StatefulSet, pods and Service of a server that should run.
func (c *Checker) checkRunning(ctx context.Context, observed *cluster.Observation, desired int) {
	waiting := notReady(observed, desired)
	status := observed.StatefulSet.Status
	c.add(report.Kubernetes, "StatefulSet", passedIf(waiting == ""), fmt.Sprintf("%s: %d of %d replicas ready", observed.Objects.StatefulSet, status.ReadyReplicas, desired), "")
	if waiting != "" {
		c.cutShort(ctx)
		c.add(report.Kubernetes, "pod", report.Unknown, "waited in vain: "+waiting,
			fmt.Sprintf("see: kubectl -n %s describe pod, kubectl -n %s logs statefulset/%s", observed.Objects.Namespace, observed.Objects.Namespace, observed.Objects.StatefulSet))
		return
	}
	for i := range observed.Pods {
		pod := &observed.Pods[i]
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

// checkClaim compares claim and volume with what was recorded when the server was last seen up.
// At zero replicas they are all that is left of the database, so the claim must be Bound.
func (c *Checker) checkClaim(observed *cluster.Observation, down bool) {
	before := c.State().Sighting
	name := observed.Objects.Claim
	if name == "" {
		c.add(report.Kubernetes, "claim", report.Warning, "the StatefulSet has no claim template: where the data lies is not known", "")
		return
	}
	claim := observed.Claim
	bound := claim != nil && claim.Status.Phase == corev1.ClaimBound
	switch {
	case claim == nil && before.ClaimUID != "":
		c.add(report.Kubernetes, "claim", report.Violated, fmt.Sprintf("%s is gone: it had the UID %s and the volume %s", name, before.ClaimUID, before.Volume),
			fmt.Sprintf("look for the volume: kubectl get pv %s", before.Volume))
		return
	case claim == nil:
		c.add(report.Kubernetes, "claim", report.Unknown, name+" does not exist", "run: pulumi up")
		return
	case before.ClaimUID != "" && string(claim.UID) != before.ClaimUID:
		c.add(report.Kubernetes, "claim", report.Violated, fmt.Sprintf("%s is another one than before: UID %s, recorded on %s was %s", name, claim.UID, report.Time(before.At), before.ClaimUID),
			fmt.Sprintf("the data was on volume %s: kubectl get pv %s", before.Volume, before.Volume))
	case before.Volume != "" && claim.Spec.VolumeName != before.Volume:
		c.add(report.Kubernetes, "claim", report.Violated, fmt.Sprintf("%s has the volume %q, recorded on %s was %s", name, claim.Spec.VolumeName, report.Time(before.At), before.Volume), "")
	case !bound && (down && before.ClaimUID != "" || claim.Status.Phase == corev1.ClaimLost):
		c.add(report.Kubernetes, "claim", report.Violated, fmt.Sprintf("%s is %s, expected Bound", name, claim.Status.Phase), "")
	case !bound:
		c.add(report.Kubernetes, "claim", report.Unknown, fmt.Sprintf("%s is %s, expected Bound", name, claim.Status.Phase), "")
	case before.ClaimUID == "" && down:
		c.add(report.Kubernetes, "claim", report.Warning, fmt.Sprintf("%s is Bound (UID %s); nothing was recorded of it before, so it cannot be compared", name, claim.UID),
			"run verify while the server is up, so that the next look at zero proves more")
	case before.ClaimUID == "":
		c.add(report.Kubernetes, "claim", report.Passed, fmt.Sprintf("%s is Bound, recorded from now on", name), "")
	default:
		c.add(report.Kubernetes, "claim", report.Passed, fmt.Sprintf("%s is Bound, UID and volume as recorded", name), "")
	}
	c.sighting.ClaimUID, c.sighting.Volume = string(claim.UID), claim.Spec.VolumeName
	c.checkVolume(observed)
}

func (c *Checker) checkVolume(observed *cluster.Observation) {
	claim, volume := observed.Claim, observed.Volume
	switch {
	case claim.Spec.VolumeName == "":
		return
	case observed.VolumeUnseen != "":
		c.add(report.Kubernetes, "volume", report.Warning, fmt.Sprintf("%s could not be seen: %s", claim.Spec.VolumeName, observed.VolumeUnseen), "")
		return
	case volume == nil:
		c.add(report.Kubernetes, "volume", report.Violated, claim.Spec.VolumeName+" does not exist, and the claim is bound to it", "")
		return
	}
	size := volume.Spec.Capacity[corev1.ResourceStorage]
	policy := volume.Spec.PersistentVolumeReclaimPolicy
	detail := fmt.Sprintf("%s, %s, %s", volume.Name, size.String(), policy)
	if policy == corev1.PersistentVolumeReclaimDelete {
		detail += ": deleting the claim deletes the data"
	}
	ref := volume.Spec.ClaimRef
	if volume.Status.Phase != corev1.VolumeBound || ref == nil || ref.UID != claim.UID {
		owner := "no claim"
		if ref != nil {
			owner = fmt.Sprintf("claim %s with UID %s", ref.Name, ref.UID)
		}
		c.add(report.Kubernetes, "volume", report.Violated, fmt.Sprintf("%s is %s and belongs to %s, expected Bound to claim %s with UID %s",
			volume.Name, volume.Status.Phase, owner, claim.Name, claim.UID), "")
		return
	}
	c.add(report.Kubernetes, "volume", report.Passed, detail, "")
}
