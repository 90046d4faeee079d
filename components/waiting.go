package components

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
)

const (
	// waitingInterval is between two looks at what an update waits for.
	waitingInterval = 5 * time.Second
	// waitingPatience is how long a reason has to last before it is told. A
	// pod's volume and image need a moment.
	waitingPatience = 10 * time.Second
	// recentEvent is how old an event may be that has to do with this update.
	recentEvent = time.Minute
)

// tellWaiting says, while an update runs, why what it waits for does not come.
// The provider waits for the Job, the Service and the StatefulSet in silence,
// and when its time is up it does not say that no node fits or that an image
// cannot be pulled.
func (p *Postgres) tellWaiting(ctx *pulumi.Context) error {
	if ctx.DryRun() || p.existing.unseen {
		return nil
	}
	config, err := restConfig(ctx)
	if err != nil {
		return err
	}
	core, err := corev1client.NewForConfig(config)
	if err != nil {
		return err
	}
	// An update that has ended has ended this program, or waits no longer.
	until, cancel := context.WithTimeout(ctx.Context(), checkTimeout+budget{p.args.ShutdownTimeout}.update())
	pulumi.All(p.statefulSet.ID(), p.service.ID()).ApplyT(func([]any) int { cancel(); return 0 })
	go func() {
		defer cancel()
		newTeller(func(reason string) {
			_ = ctx.Log.Warn(reason, &pulumi.LogArgs{Resource: p})
		}).run(until, core, p.args.Namespace)
	}()
	return nil
}

// teller tells every reason once, when it has lasted.
type teller struct {
	tell  func(reason string)
	since map[string]time.Time
	told  map[string]bool
}

func newTeller(tell func(reason string)) *teller {
	return &teller{tell: tell, since: map[string]time.Time{}, told: map[string]bool{}}
}

func (t *teller) run(ctx context.Context, core corev1client.CoreV1Interface, namespace string) {
	ticker := time.NewTicker(waitingInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			// A look that fails says nothing; the update itself will.
			if reasons, err := waitingFor(ctx, core, namespace, now); err == nil {
				t.look(now, reasons)
			}
		}
	}
}

func (t *teller) look(now time.Time, reasons []string) {
	for reason := range t.since {
		if !slices.Contains(reasons, reason) {
			delete(t.since, reason)
		}
	}
	for _, reason := range reasons {
		if _, seen := t.since[reason]; !seen {
			t.since[reason] = now
		}
		if !t.told[reason] && now.Sub(t.since[reason]) >= waitingPatience {
			t.told[reason] = true
			t.tell(reason)
		}
	}
}

// waitingFor are the reasons why pods, or the clients' Service, are not what
// the settings ask for.
func waitingFor(ctx context.Context, core corev1client.CoreV1Interface, namespace string, now time.Time) ([]string, error) {
	var reasons []string
	pods, err := core.Pods(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	servers := 0
	for _, pod := range pods.Items {
		switch pod.Labels["app.kubernetes.io/name"] {
		case serverLabel:
			servers++
		case checkName:
		default:
			continue
		}
		if reason := whyPodWaits(pod); reason != "" {
			reasons = append(reasons, fmt.Sprintf("pod %s does not start: %s", pod.Name, reason))
		}
	}
	if servers == 0 {
		// The API server refuses the pod itself, and only an event says so.
		events, err := core.Events(namespace).List(ctx, metav1.ListOptions{FieldSelector: "reason=FailedCreate"})
		if err != nil {
			return nil, err
		}
		for _, event := range events.Items {
			if now.Sub(event.LastTimestamp.Time) < recentEvent {
				reasons = append(reasons, fmt.Sprintf("%s %s: %s", event.InvolvedObject.Kind, event.InvolvedObject.Name, event.Message))
			}
		}
	}
	services, err := core.Services(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	for _, service := range services.Items {
		if service.Name == serviceName && service.Spec.Type == corev1.ServiceTypeLoadBalancer && len(service.Status.LoadBalancer.Ingress) == 0 {
			reasons = append(reasons, fmt.Sprintf("service %s has no address: no load balancer of the cluster has given it one yet; "+
				"where there is none, use another Service with: pulumi config set serviceType %s", serviceName, DefaultServiceType))
		}
	}
	return reasons, nil
}

// whyPodWaits is empty for a pod that runs, or that will without anybody's help.
func whyPodWaits(pod corev1.Pod) string {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodScheduled && condition.Status == corev1.ConditionFalse {
			return condition.Message
		}
	}
	for _, container := range pod.Status.ContainerStatuses {
		waiting := container.State.Waiting
		if waiting == nil || waiting.Reason == "ContainerCreating" || waiting.Reason == "PodInitializing" {
			continue
		}
		if ended := container.LastTerminationState.Terminated; ended != nil {
			return cmp.Or(lastLine(ended.Message), fmt.Sprintf("%s with exit code %d", ended.Reason, ended.ExitCode))
		}
		return strings.TrimSuffix(waiting.Reason+": "+waiting.Message, ": ")
	}
	return ""
}

// lastLine is the line of a log that says why a program ended.
func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}
