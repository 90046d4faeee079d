// Package effect waits until members have taken over what restarts none of their
// pods.
package effect

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"

	"stateful-postgres/components/internal/budget"
	"stateful-postgres/internal/contract"
)

const (
	// interval is between two looks at the pods.
	interval = time.Second
	// repeat is between two changes of the pods that make a kubelet look at them.
	repeat = 15 * time.Second
	// patience is how long the wait takes before it says what it waits for.
	patience = 15 * time.Second
	// requestTimeout is for one request.
	requestTimeout = 15 * time.Second
)

// Wanted is what the members shall have.
type Wanted struct {
	// Members is how many there are.
	Members int
	// Password is the digest of the primary's.
	Password string
	// Parameters are those of all members.
	Parameters string
}

// Wait returns when the pods say that they have what is wanted. What it waits for is
// reported, each text once.
func Wait(ctx context.Context, pods corev1client.PodInterface, wanted Wanted, report func(text string)) error {
	// Requests have a deadline of their own: at the end of this one a client would not
	// even send them, and say so instead of what is missing.
	requests := ctx
	ctx, cancel := context.WithTimeout(ctx, budget.Effect)
	defer cancel()
	started := time.Now()
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	seen, reported := "nothing yet", ""
	var asked time.Time
	for {
		list, err := members(requests, pods)
		if err == nil {
			missing := wanted.missing(list.Items)
			if len(missing) == 0 {
				return nil
			}
			seen = strings.Join(missing, "; ")
			if time.Since(asked) > repeat {
				look(requests, pods, list.Items)
				asked = time.Now()
			}
		} else {
			seen = err.Error()
		}
		if seen != reported && time.Since(started) > patience {
			report("not in effect yet: " + seen)
			reported = seen
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not all settings are in effect after %s, and the servers still try: %s", budget.Effect, seen)
		case <-ticker.C:
		}
	}
}

func members(ctx context.Context, pods corev1client.PodInterface) (*corev1.PodList, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	return pods.List(ctx, metav1.ListOptions{LabelSelector: labels.FormatLabels(contract.MembersLabels())})
}

// missing says what is not in effect yet.
func (w Wanted) missing(pods []corev1.Pod) (missing []string) {
	primary := slices.IndexFunc(pods, func(pod corev1.Pod) bool {
		return pod.Labels[contract.LabelRole] == contract.RolePrimary && pod.DeletionTimestamp == nil
	})
	switch {
	case primary < 0:
		missing = append(missing, "no server takes the writes")
	case pods[primary].Annotations[contract.AnnotationPassword] != w.Password:
		missing = append(missing, pods[primary].Name+" does not have the password of secret "+contract.CredentialsSecret)
	}
	for ordinal := range w.Members {
		name := contract.PodName(ordinal)
		found := slices.IndexFunc(pods, func(pod corev1.Pod) bool { return pod.Name == name })
		switch {
		case found < 0:
			missing = append(missing, name+" is not there")
		case pods[found].Annotations[contract.AnnotationParameters] != w.Parameters:
			missing = append(missing, name+" runs with other parameters than "+w.Parameters)
		}
	}
	return missing
}

// look makes the kubelets look at the Secret now: they do when a pod changes, and
// else once in a minute or two. Without the right to it, the update takes as long.
func look(ctx context.Context, pods corev1client.PodInterface, list []corev1.Pod) {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]string{
		contract.AnnotationLooked: time.Now().UTC().Format(time.RFC3339),
	}}})
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	for _, pod := range list {
		_, _ = pods.Patch(ctx, pod.Name, types.MergePatchType, patch, metav1.PatchOptions{})
	}
}
