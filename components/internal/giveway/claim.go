// Package giveway puts what the settings ask for now in the place of what never
// held anything.
package giveway

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"

	"stateful-postgres/components/internal/budget"
	"stateful-postgres/components/internal/observe"
)

// interval is between two looks at a claim that goes. It is short: the
// StatefulSet makes the claim anew as well, and not as the settings ask for it.
const interval = 20 * time.Millisecond

// Claim puts a claim in the place of the one of its name, and returns when it is
// there. The other one never had a volume: one that has got one by now stays, and
// is an error, because the API server itself compares it with what was looked at.
// The StatefulSet makes a claim anew as soon as it is gone, from its template; that
// one is good enough if it asks for the same, and else gives way, too.
func Claim(ctx context.Context, claims corev1client.PersistentVolumeClaimInterface, wanted *corev1.PersistentVolumeClaim) error {
	ctx, cancel := context.WithTimeout(ctx, budget.Replace)
	defer cancel()
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	seen, deleted := "nothing yet", types.UID("")
	for {
		claim, err := claims.Get(ctx, wanted.Name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			_, err := claims.Create(ctx, wanted, metav1.CreateOptions{})
			if !apierrors.IsAlreadyExists(err) {
				return err
			}
			continue
		case ctx.Err() != nil:
			return fmt.Errorf("claim %s, on which nothing is, was not gone within %s; last seen: %s", wanted.Name, budget.Replace, seen)
		case err != nil:
			return fmt.Errorf("claim %s: %w", wanted.Name, err)
		case claim.DeletionTimestamp != nil:
			deleted = claim.UID
			seen = "it is being deleted, held by " + strings.Join(claim.Finalizers, ", ")
		case deleted != "" && claim.UID != deleted && fits(claim.Spec, wanted.Spec):
			return nil
		case !observe.NeverBound(claim):
			return boundMeanwhile(claim)
		default:
			err := claims.Delete(ctx, wanted.Name, metav1.DeleteOptions{
				Preconditions: &metav1.Preconditions{UID: &claim.UID, ResourceVersion: &claim.ResourceVersion},
			})
			switch {
			case err == nil || apierrors.IsNotFound(err):
				deleted = claim.UID
			case !apierrors.IsConflict(err): // One that has changed is looked at again.
				return fmt.Errorf("claim %s, on which nothing is: %w", wanted.Name, err)
			}
			seen = "it waits for a volume"
			continue
		}
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
	}
}

// fits says whether a claim asks for what is wanted. What is not wanted in
// particular, the cluster chooses.
func fits(made, wanted corev1.PersistentVolumeClaimSpec) bool {
	size, want := made.Resources.Requests[corev1.ResourceStorage], wanted.Resources.Requests[corev1.ResourceStorage]
	return slices.Equal(made.AccessModes, wanted.AccessModes) && size.Cmp(want) == 0 &&
		(wanted.StorageClassName == nil || made.StorageClassName != nil && *made.StorageClassName == *wanted.StorageClassName) &&
		(wanted.VolumeName == "" || made.VolumeName == wanted.VolumeName)
}

func boundMeanwhile(claim *corev1.PersistentVolumeClaim) error {
	return fmt.Errorf("claim %s has got volume %q meanwhile, and was left as it is; run pulumi up again", claim.Name, claim.Spec.VolumeName)
}
