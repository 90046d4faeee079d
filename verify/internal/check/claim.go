package check

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"stateful-postgres/verify/internal/kubernetes"
	"stateful-postgres/verify/internal/ledger"
	"stateful-postgres/verify/internal/report"
)

// checkClaims compares the claims of all ordinals, and their volumes, with what was recorded when the
// servers were last seen up.
func (c *Checker) checkClaims(observed *kubernetes.Observation, down bool) {
	if observed.Objects.Claim == "" {
		c.add(report.Kubernetes, "claim", report.Warning, "the StatefulSet has no claim template: where the data lies is not known", "")
		return
	}
	for _, claim := range c.claims(observed) {
		c.checkClaim(observed, claim, down)
	}
}

// claims are those that are there, that were recorded, and that the StatefulSet needs.
func (c *Checker) claims(observed *kubernetes.Observation) []kubernetes.Claim {
	claims := slices.Clone(observed.Claims)
	expect := func(ordinal int) {
		known := slices.ContainsFunc(claims, func(claim kubernetes.Claim) bool { return claim.Ordinal == ordinal })
		if !known && observed.Objects.HighAvailability {
			claims = append(claims, kubernetes.Claim{Ordinal: ordinal, Name: observed.Objects.ClaimName(ordinal)})
		}
	}
	for _, recorded := range c.State().Sighting.Claims {
		expect(recorded.Ordinal)
	}
	if observed.StatefulSet != nil {
		for ordinal := range specReplicas(observed) {
			expect(ordinal)
		}
	}
	slices.SortFunc(claims, func(a, b kubernetes.Claim) int { return a.Ordinal - b.Ordinal })
	return claims
}

// others says whether other servers of several run that have the rows as well, so that the volume of
// one can be exchanged. Whether they do have them, the rows on them show.
func others(observed *kubernetes.Observation) bool {
	return observed.Objects.HighAvailability && observed.StatefulSet != nil && specReplicas(observed) > 1
}

// checkClaim compares a claim and its volume with what was recorded. At zero replicas they are all
// that is left of the database, so the claim must be Bound.
func (c *Checker) checkClaim(observed *kubernetes.Observation, found kubernetes.Claim, down bool) {
	recordedAt, before := report.Time(c.State().Sighting.At), c.State().Sighting.Claim(found.Ordinal)
	name, claim := found.Name, found.Object
	bound := claim != nil && claim.Status.Phase == corev1.ClaimBound
	exchanged := claim != nil && before.UID != "" && string(claim.UID) != before.UID
	spare := !down && others(observed)
	switch {
	case c.elsewhere != "" && (claim == nil || exchanged):
		c.claimElsewhere(found, before, down)
		if claim == nil {
			return
		}
	case claim == nil && before.UID != "" && !down && found.Ordinal > 0 && !isUsed(observed, found.Ordinal):
		// The servers that run have the rows, or else that shows in the rows.
		c.add(report.Kubernetes, "claim", report.Warning, fmt.Sprintf("%s is gone, recorded on %s with the volume %s; no server uses it now", name, recordedAt, before.Volume), "")
		c.sighting.ForgetClaim(found.Ordinal)
		return
	case claim == nil && before.UID != "":
		c.add(report.Kubernetes, "claim", report.Violated, fmt.Sprintf("%s is gone: it had the UID %s and the volume %s", name, before.UID, before.Volume),
			fmt.Sprintf("look for the volume: kubectl get pv %s", before.Volume))
		return
	case claim == nil && down && found.Ordinal > 0:
		return // It was never seen, and no server needs it.
	case claim == nil:
		c.add(report.Kubernetes, "claim", report.Unknown, name+" does not exist", "run: pulumi up")
		return
	case claim.DeletionTimestamp != nil:
		c.claimBeingDeleted(observed, found)
	case exchanged && bound && isVolume(found.Volume, before.VolumeUID):
		c.add(report.Kubernetes, "claim", report.Warning, fmt.Sprintf("%s was made anew for the same volume: UID %s, recorded on %s was %s", name, claim.UID, recordedAt, before.UID), "")
	case exchanged && bound && spare:
		c.add(report.Kubernetes, "claim", report.Warning, fmt.Sprintf("%s is another one than before, with the volume %s: UID %s, recorded on %s was %s with the volume %s; "+
			"its server has copied the files of another one", name, claim.Spec.VolumeName, claim.UID, recordedAt, before.UID, before.Volume), "")
	case exchanged:
		c.add(report.Kubernetes, "claim", report.Violated, fmt.Sprintf("%s is another one than before: UID %s, recorded on %s was %s", name, claim.UID, recordedAt, before.UID),
			fmt.Sprintf("the data was on volume %s: kubectl get pv %s", before.Volume, before.Volume))
	case before.Volume != "" && claim.Spec.VolumeName != before.Volume:
		c.add(report.Kubernetes, "claim", report.Violated, fmt.Sprintf("%s has the volume %q, recorded on %s was %s", name, claim.Spec.VolumeName, recordedAt, before.Volume), "")
	case !bound && (down && before.UID != "" || claim.Status.Phase == corev1.ClaimLost):
		c.add(report.Kubernetes, "claim", report.Violated, fmt.Sprintf("%s is %s, expected Bound", name, claim.Status.Phase), "")
	case !bound && found.Ordinal > 0 && !isUsed(observed, found.Ordinal):
		c.add(report.Kubernetes, "claim", report.Warning, fmt.Sprintf("%s is %s; no server has used it yet", name, claim.Status.Phase), "")
		return
	case !bound:
		c.add(report.Kubernetes, "claim", report.Unknown, fmt.Sprintf("%s is %s, expected Bound", name, claim.Status.Phase), "")
	case before.UID == "" && down:
		c.add(report.Kubernetes, "claim", report.Warning, fmt.Sprintf("%s is Bound (UID %s); nothing was recorded of it before, so it cannot be compared", name, claim.UID),
			"run verify while the server is up, so that the next look at zero proves more")
	case before.UID == "":
		c.add(report.Kubernetes, "claim", report.Passed, fmt.Sprintf("%s is Bound, recorded from now on", name), "")
	default:
		c.add(report.Kubernetes, "claim", report.Passed, fmt.Sprintf("%s is Bound, UID and volume as recorded", name), "")
	}
	seen := ledger.Claim{Ordinal: found.Ordinal, UID: string(claim.UID), Volume: claim.Spec.VolumeName}
	if found.Volume != nil {
		seen.VolumeUID = string(found.Volume.UID)
	}
	c.sighting.SetClaim(seen)
	c.checkVolume(observed, found)
}

// isUsed says whether a pod with an ordinal is there, or should be.
func isUsed(observed *kubernetes.Observation, ordinal int) bool {
	return observed.StatefulSet == nil || ordinal < specReplicas(observed) || observed.Pod(observed.Objects.PodName(ordinal)) != nil
}

// isVolume says whether a volume is known to be the one with a UID.
func isVolume(volume *corev1.PersistentVolume, uid string) bool {
	return volume != nil && uid != "" && string(volume.UID) == uid
}

// claimElsewhere reports the claim of a server at another place than the ledger's. Which server it
// is only the server can tell.
func (c *Checker) claimElsewhere(claim kubernetes.Claim, before ledger.Claim, down bool) {
	status, found := report.Warning, "does not exist"
	if claim.Object != nil {
		found = "has the UID " + string(claim.Object.UID)
	}
	if claim.Object == nil || down {
		status = report.Unknown
	}
	c.add(report.Kubernetes, "claim", status, fmt.Sprintf("%s %s; that of the ledger has the UID %s and was in %s", claim.Name, found, before.UID, c.elsewhere), c.ledgerOfItsOwn())
}

func (c *Checker) checkVolume(observed *kubernetes.Observation, found kubernetes.Claim) {
	claim, volume := found.Object, found.Volume
	switch {
	case claim.Spec.VolumeName == "":
		return
	case found.VolumeUnseen != "":
		c.add(report.Kubernetes, "volume", report.Warning, fmt.Sprintf("%s could not be seen: %s", claim.Spec.VolumeName, found.VolumeUnseen), "")
		return
	case volume == nil:
		c.add(report.Kubernetes, "volume", report.Violated, claim.Spec.VolumeName+" does not exist, and the claim is bound to it", "")
		return
	}
	if volume.DeletionTimestamp != nil {
		c.volumeBeingDeleted(observed, found)
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
