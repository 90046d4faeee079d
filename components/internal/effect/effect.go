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

// Wait returns when the pods say that they have what is wanted.
func Wait(ctx context.Context, pods corev1client.PodInterface, wanted Wanted) error {
	ctx, cancel := context.WithTimeout(ctx, budget.Effect)
	defer cancel()
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	seen := "nothing yet"
	var asked time.Time
	for {
		list, err := pods.List(ctx, metav1.ListOptions{LabelSelector: labels.FormatLabels(contract.MembersLabels())})
		if err == nil {
			missing := wanted.missing(list.Items)
			if len(missing) == 0 {
				return nil
			}
			seen = strings.Join(missing, "; ")
			if time.Since(asked) > repeat {
				look(ctx, pods, list.Items)
				asked = time.Now()
			}
		} else if ctx.Err() == nil {
			seen = err.Error()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not all settings are in effect after %s, and the servers still try: %s", budget.Effect, seen)
		case <-ticker.C:
		}
	}
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
	for _, pod := range list {
		_, _ = pods.Patch(ctx, pod.Name, types.MergePatchType, patch, metav1.PatchOptions{})
	}
}
