package check

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"stateful-postgres/verify/internal/kubernetes"
	"stateful-postgres/verify/internal/report"
)

// Whatever has a deletion timestamp goes as soon as nothing holds it any more, and no one can take
// that back. What holds a claim is the pod that uses it.

// checkDeletion reports objects around the claim that are being deleted.
func (c *Checker) checkDeletion(observed *kubernetes.Observation) {
	if namespace := observed.Namespace; namespace != nil && namespace.DeletionTimestamp != nil {
		c.add(report.Kubernetes, "namespace", report.Violated, fmt.Sprintf("%s is being deleted, since %s: everything in it goes, the server and the claim of its data with it",
			namespace.Name, since(namespace.DeletionTimestamp)), c.saveVolume(observed, observed.Claims[0]))
	}
	if set := observed.StatefulSet; set != nil && set.DeletionTimestamp != nil {
		c.add(report.Kubernetes, "StatefulSet", report.Unknown, fmt.Sprintf("%s is being deleted, since %s: the server goes with it", set.Name, since(set.DeletionTimestamp)),
			"run: pulumi up --refresh, once it is gone")
	}
	if service := observed.Services[observed.Objects.Service]; service != nil && service.DeletionTimestamp != nil {
		c.add(report.Kubernetes, "Service", report.Warning, fmt.Sprintf("%s is being deleted, since %s: clients will not find the server", service.Name, since(service.DeletionTimestamp)),
			"run: pulumi up --refresh, once it is gone")
	}
}

// claimBeingDeleted reports a claim that goes with the next stop of the pod.
func (c *Checker) claimBeingDeleted(observed *kubernetes.Observation, found kubernetes.Claim) {
	claim := found.Object
	var what string
	switch {
	case claim.Spec.VolumeName == "":
		what = "there is no volume yet, and it gets none"
	case isRetained(found.Volume):
		what = fmt.Sprintf("volume %s with the data stays, and the server does not start again without it", claim.Spec.VolumeName)
	case found.Volume == nil:
		what = fmt.Sprintf("volume %s with the data may be deleted with it", claim.Spec.VolumeName)
	default:
		what = fmt.Sprintf("volume %s with the data is deleted with it", claim.Spec.VolumeName)
	}
	c.add(report.Kubernetes, "claim", report.Violated, fmt.Sprintf("%s is being deleted, since %s: it goes with the next stop of the pod; %s",
		claim.Name, since(claim.DeletionTimestamp), what), c.saveVolume(observed, found))
}

// volumeBeingDeleted reports a volume that goes as soon as its claim does.
func (c *Checker) volumeBeingDeleted(observed *kubernetes.Observation, found kubernetes.Claim) {
	volume := found.Volume
	what := "and the data with it"
	if isRetained(volume) {
		what = "and the data stays where the volume had it, for whoever makes a new one of it"
	}
	c.add(report.Kubernetes, "volume", report.Violated, fmt.Sprintf("%s is being deleted, since %s: it goes once its claim does, %s", volume.Name, since(volume.DeletionTimestamp), what),
		c.saveVolume(observed, found))
}

// saveVolume is what to type so that the data outlives its claim, and how to get back from there.
func (c *Checker) saveVolume(observed *kubernetes.Observation, found kubernetes.Claim) string {
	claim := found.Object
	if claim == nil || claim.Spec.VolumeName == "" {
		return "a backup made now is the only way to keep the data"
	}
	name, namespace := claim.Spec.VolumeName, observed.Objects.Namespace
	volumeGoes := found.Volume != nil && found.Volume.DeletionTimestamp != nil
	var steps []string
	if !isRetained(found.Volume) {
		steps = append(steps, fmt.Sprintf("before anything else: kubectl patch pv %s -p '{\"spec\":{\"persistentVolumeReclaimPolicy\":\"Retain\"}}'", name))
	}
	if found.Ordinal > 0 {
		return strings.Join(append(steps, fmt.Sprintf("section Members says whether the other servers have every row; then the server of %s may copy their files to a new volume", claim.Name)), "; ")
	}
	if volumeGoes {
		steps = append(steps, fmt.Sprintf("keep its definition: kubectl get pv %s -o yaml >volume.yaml", name))
	}
	if observed.Namespace != nil && observed.Namespace.DeletionTimestamp != nil {
		steps = append(steps, fmt.Sprintf("let the namespace go: kubectl wait namespace %s --for=delete --timeout=5m", namespace))
	} else {
		steps = append(steps, fmt.Sprintf("stop the server: kubectl -n %s scale statefulset %s --replicas=0", namespace, observed.Objects.StatefulSet))
	}
	if volumeGoes {
		steps = append(steps, "once claim and volume are gone, declare the volume again from its definition")
	} else {
		steps = append(steps, fmt.Sprintf("once the claim is gone, reserve the volume for a new one: "+
			"kubectl patch pv %s -p '{\"spec\":{\"claimRef\":{\"name\":\"%s\",\"namespace\":\"%s\",\"uid\":null,\"resourceVersion\":null}}}'", name, claim.Name, namespace))
	}
	steps = append(steps, fmt.Sprintf("have a claim made: pulumi config set volumeName %s && pulumi up --refresh", name))
	return strings.Join(steps, "; ") + ` (README.md, "When the volume is being deleted")`
}

func isRetained(volume *corev1.PersistentVolume) bool {
	return volume != nil && volume.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimRetain
}

func since(at *metav1.Time) string { return report.Time(at.Time) }
