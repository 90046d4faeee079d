package components

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
)

func (a PostgresArgs) checkVolumeName() *InvalidSetting {
	if a.VolumeName == "" || len(validation.IsDNS1123Subdomain(a.VolumeName)) == 0 {
		return nil
	}
	return invalid("volumeName", a.VolumeName, "the name of a PersistentVolume",
		"list them with: kubectl get pv, or let the storage class make a new one with: pulumi config rm volumeName")
}

// checkVolume refuses a volume that the claim could not be bound to, for
// Kubernetes would let the claim wait for it without an end.
func (a PostgresArgs) checkVolume(live existing) InvalidSettings {
	if a.VolumeName == "" {
		return nil
	}
	if live.claim != nil {
		if refused := a.checkClaimed(live.claim); refused != nil {
			return InvalidSettings{*refused}
		}
		if live.claim.Status.Phase == corev1.ClaimBound {
			return nil
		}
	}
	if !live.volumeSeen {
		return nil
	}
	if refused := a.checkFree(live); refused != nil {
		return InvalidSettings{*refused}
	}
	if live.claim != nil {
		// It has been decided what the claim asks for.
		return nil
	}
	var conflicts InvalidSettings
	for _, check := range []func(*corev1.PersistentVolume) *InvalidSetting{
		a.checkVolumeAccessModes, a.checkVolumeStorage, a.checkVolumeStorageClass,
	} {
		if conflict := check(live.volume); conflict != nil {
			conflicts = append(conflicts, *conflict)
		}
	}
	return conflicts
}

// unseenVolume warns of a volume that could not be looked at before a claim is
// made for it, "" when there is nothing to say.
func (a PostgresArgs) unseenVolume(live existing) string {
	if a.VolumeName == "" || live.unseen || live.volumeSeen || live.claim != nil {
		return ""
	}
	return fmt.Sprintf("volume %s may not be read with these credentials, so that nothing can be said about it beforehand; "+
		"a claim that it does not fit stays Pending, and kubectl describe -n %s pvc %s says why", a.VolumeName, a.Namespace, claimName(0))
}

// checkClaimed refuses a volume for a claim that has, or waits for, another.
func (a PostgresArgs) checkClaimed(claim *corev1.PersistentVolumeClaim) *InvalidSetting {
	switch claim.Spec.VolumeName {
	case a.VolumeName:
		return nil
	case "":
		return invalid("volumeName", a.VolumeName,
			fmt.Sprintf("none, because claim %s is there already, and waits for a volume of its own", claim.Name),
			fmt.Sprintf("nothing is on it yet; delete it with: kubectl delete -n %s pvc %s, or: pulumi config rm volumeName", claim.Namespace, claim.Name))
	}
	return invalid("volumeName", a.VolumeName,
		fmt.Sprintf("%s or none, because claim %s has that one, and a claim's volume cannot change", claim.Spec.VolumeName, claim.Name),
		unset("volumeName")+newStack)
}

// checkFree refuses a volume that is not there, or not to be had.
func (a PostgresArgs) checkFree(live existing) *InvalidSetting {
	volume := live.volume
	switch {
	case volume == nil:
		return invalid("volumeName", a.VolumeName, "a PersistentVolume that exists", "list them with: kubectl get pv")
	case volume.DeletionTimestamp != nil:
		return invalid("volumeName", a.VolumeName, "a volume that is not being deleted", "choose another; list them with: kubectl get pv")
	case volume.Spec.VolumeMode != nil && *volume.Spec.VolumeMode != corev1.PersistentVolumeFilesystem:
		return invalid("volumeName", a.VolumeName, fmt.Sprintf("a volume with a file system, not of volume mode %s", *volume.Spec.VolumeMode),
			"choose another; list them with: kubectl get pv")
	}
	user := volume.Spec.ClaimRef
	switch {
	case user == nil:
		return nil
	case user.Namespace != a.Namespace || user.Name != claimName(0):
		expected := fmt.Sprintf("a volume that is free, and this one belongs to claim %s in namespace %s", user.Name, user.Namespace)
		if volume.Status.Phase == corev1.VolumeReleased {
			return invalid("volumeName", a.VolumeName, expected+", which is gone", a.reserve(volume))
		}
		return invalid("volumeName", a.VolumeName, expected, "release it as "+takeoverSection+", or choose another")
	case user.UID != "" && (live.claim == nil || user.UID != live.claim.UID):
		return invalid("volumeName", a.VolumeName, fmt.Sprintf("a volume that is free, and this one belongs to an earlier claim %s", user.Name),
			a.reserve(volume))
	}
	return nil
}

// reserve is how to give a released volume to the component's claim, and to no
// other.
func (a PostgresArgs) reserve(volume *corev1.PersistentVolume) string {
	return fmt.Sprintf(`reserve it with: kubectl patch pv %s --type=merge -p '{"spec":{"claimRef":{"namespace":"%s","name":"%s","uid":null,"resourceVersion":null}}}'`,
		volume.Name, a.Namespace, claimName(0))
}

func (a PostgresArgs) checkVolumeAccessModes(volume *corev1.PersistentVolume) *InvalidSetting {
	var offered []string
	for _, mode := range volume.Spec.AccessModes {
		offered = append(offered, string(mode))
	}
	for _, mode := range a.AccessModes {
		if !slices.Contains(offered, mode) {
			return invalid("accessModes", strings.Join(a.AccessModes, ","),
				fmt.Sprintf("what volume %s offers: %s", volume.Name, strings.Join(offered, ",")),
				set("accessModes", offered[0]))
		}
	}
	return nil
}

func (a PostgresArgs) checkVolumeStorage(volume *corev1.PersistentVolume) *InvalidSetting {
	wanted, size := resource.MustParse(a.Storage), volume.Spec.Capacity[corev1.ResourceStorage]
	if wanted.Cmp(size) <= 0 {
		return nil
	}
	return invalid("storage", a.Storage, fmt.Sprintf("at most %s, the size of volume %s", size.String(), volume.Name), set("storage", size.String()))
}

func (a PostgresArgs) checkVolumeStorageClass(volume *corev1.PersistentVolume) *InvalidSetting {
	class := volume.Spec.StorageClassName
	if a.StorageClass == "" || a.StorageClass == class {
		return nil
	}
	if class == "" {
		return invalid("storageClass", a.StorageClass, fmt.Sprintf("none, as volume %s has none", volume.Name), unset("storageClass"))
	}
	return invalid("storageClass", a.StorageClass, fmt.Sprintf("%s, the class of volume %s", class, volume.Name), set("storageClass", class))
}
