package kubernetes

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Claim is the claim of the pod with an ordinal, and the volume that it is bound to.
type Claim struct {
	Ordinal int
	Name    string
	// Object is nil where there is no such claim.
	Object *corev1.PersistentVolumeClaim
	// Volume is nil as well when this user may not see it; VolumeUnseen says why then. It is no
	// object of the namespace, and many roles may not.
	Volume       *corev1.PersistentVolume
	VolumeUnseen string
}

// ClaimName is the name of the claim of the pod with an ordinal.
func (o Objects) ClaimName(ordinal int) string {
	if ordinal == 0 {
		return o.Claim
	}
	return strings.TrimSuffix(o.Claim, "0") + strconv.Itoa(ordinal)
}

// PodName is the name of the pod with an ordinal.
func (o Objects) PodName(ordinal int) string { return fmt.Sprintf("%s-%d", o.StatefulSet, ordinal) }

// Ordinal is the number at the end of a pod's or claim's name; -1 where there is none.
func Ordinal(name string) int {
	number, err := strconv.Atoi(name[strings.LastIndex(name, "-")+1:])
	if err != nil {
		return -1
	}
	return number
}

// observeClaims looks at the claim of ordinal 0 and, with several servers, at those of all ordinals
// that there are, whether or not a pod uses them now.
func (c *Cluster) observeClaims(ctx context.Context, objects Objects) ([]Claim, error) {
	claims := []Claim{{Name: objects.Claim}}
	if objects.Claim == "" {
		// Nobody knows where the data lies.
		return claims, nil
	}
	if !objects.HighAvailability {
		found, err := c.Core.PersistentVolumeClaims(objects.Namespace).Get(ctx, objects.Claim, metav1.GetOptions{})
		if err != nil {
			return claims, err
		}
		claims[0].Object = found
		return claims, c.observeVolume(ctx, &claims[0])
	}
	found, err := c.Core.PersistentVolumeClaims(objects.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return claims, err
	}
	for i := range found.Items {
		claim := &found.Items[i]
		ordinal := Ordinal(claim.Name)
		switch {
		case ordinal < 0 || claim.Name != objects.ClaimName(ordinal):
		case ordinal == 0:
			claims[0].Object = claim
		default:
			claims = append(claims, Claim{Ordinal: ordinal, Name: claim.Name, Object: claim})
		}
	}
	slices.SortFunc(claims, func(a, b Claim) int { return a.Ordinal - b.Ordinal })
	for i := range claims {
		if err := c.observeVolume(ctx, &claims[i]); err != nil && !apierrors.IsNotFound(err) {
			return claims, err
		}
	}
	return claims, nil
}

// observeVolume looks at the volume of a claim that has one.
func (c *Cluster) observeVolume(ctx context.Context, claim *Claim) error {
	if claim.Object == nil || claim.Object.Spec.VolumeName == "" {
		return nil
	}
	volume, err := c.Core.PersistentVolumes().Get(ctx, claim.Object.Spec.VolumeName, metav1.GetOptions{})
	switch {
	case apierrors.IsForbidden(err):
		claim.VolumeUnseen = "this user may not see volumes"
		return nil
	case err == nil:
		claim.Volume = volume
	}
	return err
}
