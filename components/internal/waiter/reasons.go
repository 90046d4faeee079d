package waiter

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"stateful-postgres/components/problem"
	"stateful-postgres/components/settings"
	"stateful-postgres/internal/contract"
)

// Reason is why one thing is not what the settings ask for.
type Reason struct {
	// Subject is the thing, like "pod postgres-0".
	Subject string
	// Text is the whole sentence.
	Text string
}

// reason is one whose text begins with its subject.
func reason(subject, text string) Reason { return Reason{Subject: subject, Text: subject + " " + text} }

// Reasons are why what was seen is not what the settings ask for: that which keeps
// the most others from coming first. replicas is how many servers they ask for.
func Reasons(seen Seen, replicas int, now time.Time, reader problem.Reader) []Reason {
	var reasons []Reason
	if namespace := seen.Namespace; namespace != nil && namespace.DeletionTimestamp != nil {
		reasons = append(reasons, reason("namespace "+namespace.Name, "is being deleted: "+whatNamespaceWaitsFor(namespace)))
	}
	for _, claim := range seen.Claims {
		if claim.Name == contract.ClaimName(0) && claim.Status.Phase != corev1.ClaimBound {
			if why := whyClaimWaits(claim, seen.Events, reader); why != "" {
				reasons = append(reasons, reason("claim "+claim.Name, why))
			}
		}
	}
	servers, checks := 0, 0
	for _, pod := range seen.Pods {
		switch pod.Labels[contract.LabelName] {
		case contract.NameValue:
			servers++
		case contract.CheckJob:
			if seen.Check != nil && metav1.IsControlledBy(&pod, seen.Check) {
				checks++
			}
		default:
			continue
		}
		if why := whyPodWaits(pod, seen.Events, now); why != "" {
			reasons = append(reasons, reason("pod "+pod.Name, why))
		}
	}
	// The API server refuses a pod itself, and only an event says so.
	if servers < replicas {
		reasons = append(reasons, refusedPods("StatefulSet", contract.StatefulSet, "", seen.Events, now)...)
	}
	if checks == 0 && seen.Check != nil && len(seen.Check.Status.Conditions) == 0 {
		reasons = append(reasons, refusedPods("Job", seen.Check.Name, seen.Check.UID, seen.Events, now)...)
	}
	for _, service := range seen.Services {
		if service.Name == contract.Service && service.Spec.Type == corev1.ServiceTypeLoadBalancer && len(service.Status.LoadBalancer.Ingress) == 0 {
			other := problem.Setting("serviceType", settings.ServiceTypeNodePort, "where there is none, use another Service")
			reasons = append(reasons, reason("service "+service.Name,
				"has no address: no load balancer of the cluster has given it one yet; "+other.Text(reader)))
		}
	}
	return reasons
}

// whatNamespaceWaitsFor is what the deletion of a namespace waits for.
func whatNamespaceWaitsFor(namespace *corev1.Namespace) string {
	var waits []string
	for _, condition := range namespace.Status.Conditions {
		if condition.Status == corev1.ConditionTrue {
			waits = append(waits, oneLine(condition.Message))
		}
	}
	if len(waits) == 0 {
		return "nothing new can be made in it"
	}
	return strings.Join(waits, "; ")
}

// whyClaimWaits is empty for a claim that waits for its first pod, or for a
// volume that is being made.
func whyClaimWaits(claim corev1.PersistentVolumeClaim, events []corev1.Event, reader problem.Reader) string {
	if claim.DeletionTimestamp != nil {
		return "is being deleted"
	}
	said := latest(events, claim.UID, func(event corev1.Event) bool {
		return event.Type == corev1.EventTypeWarning || event.Reason == "FailedBinding" || event.Reason == "ExternalProvisioning"
	})
	if said == nil {
		return ""
	}
	text := "has no volume: " + oneLine(said.Message)
	if class := claim.Spec.StorageClassName; class != nil && strings.Contains(said.Message, fmt.Sprintf("%q not found", *class)) {
		another := problem.Choosing("storageClass", "choose another")
		text += "; list the classes with: kubectl get storageclass, and " + another.Text(reader)
	}
	return text
}

const (
	// refusalsLast is how long the controller of the StatefulSet waits at most
	// before it tries again to make a pod.
	refusalsLast = 20 * time.Minute
	// refusalIsNew is how old a refusal is that needs no time to be understood.
	refusalIsNew = time.Minute
)

// generatedName is what Kubernetes adds to the name of a Job's pod, at every try
// anew.
var generatedName = regexp.MustCompile(`"` + contract.CheckJob + `-[a-z0-9]{5}"`)

// refusedPods is why an object cannot make a pod. uid tells it from an earlier one
// of the same name, unless it is "".
func refusedPods(kind, name string, uid types.UID, events []corev1.Event, now time.Time) []Reason {
	var last *corev1.Event
	for i, event := range events {
		object := event.InvolvedObject
		if event.Reason == "FailedCreate" && object.Kind == kind && object.Name == name && (uid == "" || object.UID == uid) &&
			(last == nil || when(event).After(when(*last))) {
			last = &events[i]
		}
	}
	if last == nil || now.Sub(when(*last)) > refusalsLast {
		return nil
	}
	subject := kind + " " + name
	text := subject + ": " + generatedName.ReplaceAllString(oneLine(last.Message), `"`+contract.CheckJob+`"`)
	if at := when(*last); now.Sub(at) > refusalIsNew {
		text += fmt.Sprintf(" (it tried at %s UTC)", at.UTC().Format(time.TimeOnly))
	}
	return []Reason{{Subject: subject, Text: text}}
}

// latest is the last event about an object that is wanted, nil for none.
func latest(events []corev1.Event, uid types.UID, wanted func(corev1.Event) bool) *corev1.Event {
	var last *corev1.Event
	for i, event := range events {
		if event.InvolvedObject.UID == uid && wanted(event) && (last == nil || when(event).After(when(*last))) {
			last = &events[i]
		}
	}
	return last
}

// when an event was last the case. Which field says it depends on who wrote it.
func when(event corev1.Event) time.Time {
	at := event.LastTimestamp.Time
	for _, other := range []time.Time{event.EventTime.Time, seriesTime(event)} {
		if other.After(at) {
			at = other
		}
	}
	return at
}

func seriesTime(event corev1.Event) time.Time {
	if event.Series == nil {
		return time.Time{}
	}
	return event.Series.LastObservedTime.Time
}

// maxLength keeps a line a line.
const maxLength = 400

// oneLine is a text without line breaks, and not too long.
func oneLine(text string) string {
	line := strings.Join(strings.Fields(text), " ")
	if len(line) > maxLength {
		line = strings.ToValidUTF8(line[:maxLength], "") + "…"
	}
	return line
}
