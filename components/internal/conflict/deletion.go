package conflict

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"stateful-postgres/components/internal/observe"
	"stateful-postgres/components/problem"
	"stateful-postgres/components/settings"
	"stateful-postgres/internal/contract"
)

// deletionSection is the part of README.md that shows how to keep the rows of a
// claim that is being deleted.
const deletionSection = `README.md shows under "When the volume is being deleted"`

const isBeingDeleted = "one that is being deleted"

// beingDeleted refuses every update of objects that somebody is deleting. A
// deletion that has begun cannot be undone, and it ends as soon as nothing holds
// the object any more: a claim goes, and with it the volume and the data, as soon
// as its pod has stopped, however short.
//
// Updates that would let the pod run are refused, too: what restarts it (a new
// password, another version of this program) is known only when the objects are
// compared, and by then some are changed. Stopping the server is allowed once the
// volume outlives its claim, because the way back begins with that.
func beingDeleted(a settings.Args, seen observe.Observation) []problem.Problem {
	if isDeleted(seen.Namespace) {
		return []problem.Problem{*deletedNamespace(a, seen)}
	}
	var found []problem.Problem
	if seen.Claim != nil && !(*a.Replicas == 0 && isKept(seen)) {
		claim, volume := seen.Claim, seen.ClaimVolume
		if isDeleted(claim) {
			found = append(found, *deletedClaim(seen))
		}
		if isDeleted(volume) {
			found = append(found, *problem.NewFound("volume "+volume.Name, isBeingDeleted,
				"one that stays, because it goes when its claim goes, which nobody could undo", keepOrStop(seen)))
		}
	}
	return append(found, otherDeleted(seen)...)
}

// object is any object of the API, which may be a nil pointer.
type object interface {
	comparable
	metav1.Object
}

func isDeleted[O object](o O) bool {
	var none O
	return o != none && o.GetDeletionTimestamp() != nil
}

// isKept says whether the claim's volume is known to outlive the claim.
func isKept(seen observe.Observation) bool {
	return seen.ClaimVolume != nil && seen.ClaimVolume.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimRetain
}

func deletedNamespace(a settings.Args, seen observe.Observation) *problem.Problem {
	expected := "one that stays, because everything in it goes with it"
	if claim := seen.Claim; claim != nil && claim.Spec.VolumeName != "" && !isKept(seen) {
		return problem.NewFound("namespace "+a.Namespace, isBeingDeleted, expected+", the volume with the data, too", keep(seen))
	}
	wait := problem.Run("wait until it is gone", fmt.Sprintf("kubectl wait namespace %s --for=delete --timeout=5m", a.Namespace))
	wait.Then = ", and then run pulumi up again"
	if isKept(seen) {
		wait.Then = fmt.Sprintf(", and then bring volume %s back as %s", seen.ClaimVolume.Name, deletionSection)
	}
	found := problem.NewFound("namespace "+a.Namespace, isBeingDeleted, expected, wait)
	var held []string
	for _, condition := range seen.Namespace.Status.Conditions {
		if condition.Status == corev1.ConditionTrue {
			held = append(held, condition.Message)
		}
	}
	if len(held) > 0 {
		found.Note = "what it waits for: " + strings.Join(held, "; ")
	}
	return found
}

func deletedClaim(seen observe.Observation) *problem.Problem {
	claim := seen.Claim
	if claim.Spec.VolumeName == "" {
		return waitUntilGone("claim", "pvc", claim)
	}
	expected := "one that stays, because it goes when the server stops or restarts"
	if isKept(seen) {
		expected += ", which would come back on another volume"
	} else {
		expected += ", and the volume with the data goes with it"
	}
	return problem.NewFound("claim "+claim.Name, isBeingDeleted, expected, keepOrStop(seen))
}

func keepOrStop(seen observe.Observation) problem.Remedy {
	if !isKept(seen) {
		return keep(seen)
	}
	stop := problem.SetTo("replicas", "0")
	stop.Do, stop.Then = "stop the server", ", and bring the data back as "+deletionSection
	return stop
}

// keep is what makes a volume outlive its claim.
func keep(seen observe.Observation) problem.Remedy {
	remedy := problem.Run("first keep the volume", fmt.Sprintf(
		`kubectl patch pv %s -p '{"spec":{"persistentVolumeReclaimPolicy":"Retain"}}'`, seen.Claim.Spec.VolumeName))
	remedy.Then = ", and then bring the data back as " + deletionSection
	return remedy
}

// otherDeleted are the objects that hold no data. An update would write to them
// and say success, and then they would be gone.
func otherDeleted(seen observe.Observation) []problem.Problem {
	var found []problem.Problem
	add := func(deleted bool, kind, resource string, o metav1.Object) {
		if deleted {
			found = append(found, *waitUntilGone(kind, resource, o))
		}
	}
	add(isDeleted(seen.StatefulSet), "StatefulSet", "statefulset", seen.StatefulSet)
	for _, service := range seen.Services {
		add(isDeleted(service), "Service", "service", service)
	}
	add(isDeleted(seen.ConfigMap), "ConfigMap", "configmap", seen.ConfigMap)
	add(isDeleted(seen.Marker), "ConfigMap", "configmap", seen.Marker)
	add(isDeleted(seen.Credentials), "Secret", "secret", seen.Credentials)
	add(isDeleted(seen.CertificateSecret), "Secret", "secret", seen.CertificateSecret)
	return found
}

func waitUntilGone(kind, resource string, o metav1.Object) *problem.Problem {
	wait := problem.Run("wait until it is gone", fmt.Sprintf("kubectl wait -n %s %s %s --for=delete --timeout=5m", o.GetNamespace(), resource, o.GetName()))
	wait.Then = ", and then run pulumi up again"
	found := problem.NewFound(kind+" "+o.GetName(), isBeingDeleted, "one that stays, or none, because what is written to this one goes with it", wait)
	if finalizers := o.GetFinalizers(); len(finalizers) > 0 {
		found.Note = "it waits for whoever has to take away its finalizers: " + strings.Join(finalizers, ", ")
	}
	return found
}

// stoppedForGood says what comes after a stop that was allowed although the claim
// goes with it.
func stoppedForGood(seen observe.Observation) string {
	if !isDeleted(seen.Claim) && !isDeleted(seen.ClaimVolume) || !isKept(seen) {
		return ""
	}
	return fmt.Sprintf("claim %s or its volume is being deleted; the data stays on volume %s; bring it back as %s",
		contract.ClaimName(0), seen.ClaimVolume.Name, deletionSection)
}
