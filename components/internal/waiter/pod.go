package waiter

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"stateful-postgres/internal/contract"
)

// whyPodWaits is empty for a pod that runs, or that will without anybody's help.
func whyPodWaits(pod corev1.Pod, events []corev1.Event, now time.Time) string {
	if end := pod.DeletionTimestamp; end != nil {
		if now.After(end.Time) {
			return fmt.Sprintf("does not end: it should have by %s, and node %s has not said that it has", end.UTC().Format(time.TimeOnly), pod.Spec.NodeName)
		}
		return ""
	}
	isCheck := pod.Labels[contract.LabelName] == contract.CheckJob
	switch pod.Status.Phase {
	case corev1.PodSucceeded:
		return ""
	case corev1.PodFailed:
		if isCheck {
			// The update ends with what it said.
			return ""
		}
		return "has ended: " + oneLine(joined(pod.Status.Reason, pod.Status.Message))
	}
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodScheduled && condition.Status == corev1.ConditionFalse {
			return "does not start: " + oneLine(condition.Message)
		}
	}
	for _, container := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		if why := whyContainerWaits(pod, container, events); why != "" {
			return why
		}
	}
	if isCheck {
		return whyCheckGoesOn(pod)
	}
	return ""
}

func whyContainerWaits(pod corev1.Pod, container corev1.ContainerStatus, events []corev1.Event) string {
	state, last := container.State, container.LastTerminationState.Terminated
	switch {
	case state.Terminated != nil && pod.Spec.RestartPolicy == corev1.RestartPolicyNever:
	case state.Terminated != nil && state.Terminated.ExitCode != 0:
		return "does not start: " + lastWords(state.Terminated)
	case state.Waiting != nil && last != nil && last.ExitCode != 0:
		return "does not start: " + lastWords(last)
	case state.Waiting != nil && (state.Waiting.Reason == "ContainerCreating" || state.Waiting.Reason == "PodInitializing"):
		said := latest(events, pod.UID, func(event corev1.Event) bool {
			return event.Type == corev1.EventTypeWarning && slices.Contains([]string{"FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox"}, event.Reason)
		})
		if said != nil {
			return "does not start: " + oneLine(said.Message)
		}
	case state.Waiting != nil:
		return "does not start: " + oneLine(joined(state.Waiting.Reason, state.Waiting.Message))
	case state.Running != nil && !container.Ready:
		return whyNotReady(pod, container, events)
	}
	return ""
}

// probeFailed begins the kubelet's event about a probe; what follows is what the
// probe said.
var probeFailed = regexp.MustCompile(`^(Startup|Readiness|Liveness) probe failed: *`)

// whyNotReady is what the probe of a running container said last.
func whyNotReady(pod corev1.Pod, container corev1.ContainerStatus, events []corev1.Event) string {
	said := latest(events, pod.UID, func(event corev1.Event) bool {
		return event.Reason == "Unhealthy" && strings.Contains(event.InvolvedObject.FieldPath, "{"+container.Name+"}") &&
			!when(event).Before(container.State.Running.StartedAt.Time)
	})
	if said == nil {
		return ""
	}
	probe := probeFailed.FindStringSubmatch(said.Message)
	if probe == nil {
		return "runs, but is not ready: " + oneLine(said.Message)
	}
	if words := oneLine(strings.TrimPrefix(said.Message, probe[0])); words != "" {
		return "runs, but is not ready: " + words
	}
	return fmt.Sprintf("runs, but is not ready: its %s probe fails and does not say why", strings.ToLower(probe[1]))
}

// whyCheckGoesOn is what keeps a Job from its end when the check itself has ended:
// a container that somebody has put beside it.
func whyCheckGoesOn(pod corev1.Pod) string {
	ended, others := false, []string(nil)
	for _, container := range pod.Status.ContainerStatuses {
		if container.State.Terminated != nil {
			ended = ended || container.Name == contract.CheckContainer
		} else {
			others = append(others, container.Name)
		}
	}
	if !ended || len(others) == 0 {
		return ""
	}
	return fmt.Sprintf("does not end: the check has, and container %s, which something put beside it, runs on; "+
		`podAnnotations can keep it away, as sidecar.istio.io/inject: "false" does with Istio's`, strings.Join(others, ", "))
}

var (
	// severe are the lines of PostgreSQL that say why it ended.
	severe = regexp.MustCompile(`\b(FATAL|PANIC): +(.*)`)
	// incidental are what clients are told meanwhile.
	incidental = regexp.MustCompile(`the database system is (starting up|shutting down|not yet accepting connections|in recovery mode)|terminating .* due to administrator command|` +
		`terminating connection|sorry, too many clients|remaining connection slots|password authentication failed|no pg_hba\.conf entry|` +
		`pg_hba\.conf rejects|(role|database) ".*" does not exist|unsupported frontend protocol|canceling authentication|connection to client lost`)
	// farewell is the server's last line, whatever it ended for.
	farewell = regexp.MustCompile(`database system is shut down|: *$`)
)

// lastWords is why a program ended: of PostgreSQL's log the last line that tells,
// of any other the last one.
func lastWords(ended *corev1.ContainerStateTerminated) string {
	var tells, last string
	for line := range strings.Lines(ended.Message) {
		line = strings.TrimSpace(line)
		if found := severe.FindStringSubmatch(line); found != nil && !incidental.MatchString(line) {
			tells = found[1] + ": " + found[2]
		}
		if line != "" && !farewell.MatchString(line) {
			last = line
		}
	}
	// What a script of the component says comes after all else.
	switch {
	case ownWords.MatchString(last):
		return oneLine(last)
	case tells != "":
		return oneLine(tells)
	case last != "":
		return oneLine(last)
	}
	return fmt.Sprintf("%s with exit code %d", ended.Reason, ended.ExitCode)
}

// ownWords are those of the component's scripts.
var ownWords = regexp.MustCompile(`^(start|owner|check): `)

// joined is a reason and its message.
func joined(reason, message string) string { return strings.TrimSuffix(reason+": "+message, ": ") }
