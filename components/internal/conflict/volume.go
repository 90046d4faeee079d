package conflict

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"stateful-postgres/components/internal/observe"
	"stateful-postgres/components/problem"
	"stateful-postgres/components/settings"
	"stateful-postgres/internal/contract"
)

// volume refuses a volume that the claim could not be bound to, for Kubernetes
// would let the claim wait for it without an end.
func volume(a settings.Args, seen observe.Observation) []problem.Problem {
	if a.VolumeName == "" {
		return nil
	}
	if seen.Claim != nil {
		if refused := claimedVolume(a, seen.Claim); refused != nil {
			return []problem.Problem{*refused}
		}
		if seen.Claim.Status.Phase == corev1.ClaimBound {
			return nil
		}
	}
	if seen.VolumeHidden || seen.NoCluster {
		return nil
	}
	if refused := unavailableVolume(a, seen); refused != nil {
		return []problem.Problem{*refused}
	}
	if seen.Claim != nil {
		// It has been decided what the claim asks for.
		return nil
	}
	var found []problem.Problem
	for _, check := range []func(settings.Args, *corev1.PersistentVolume) *problem.Problem{
		volumeAccessModes, volumeStorage, volumeStorageClass,
	} {
		if wrong := check(a, seen.Volume); wrong != nil {
			found = append(found, *wrong)
		}
	}
	return found
}

// claimedVolume refuses a volume for a claim that has, or waits for, another.
func claimedVolume(a settings.Args, claim *corev1.PersistentVolumeClaim) *problem.Problem {
	switch claim.Spec.VolumeName {
	case a.VolumeName:
		return nil
	case "":
		return problem.New("volumeName", a.VolumeName,
			fmt.Sprintf("none, because claim %s is there already, and waits for a volume of its own", claim.Name),
			problem.Run("nothing is on it yet; delete it", fmt.Sprintf("kubectl delete -n %s pvc %s", claim.Namespace, claim.Name)),
			problem.Removing("volumeName", ""))
	}
	return problem.New("volumeName", a.VolumeName,
		fmt.Sprintf("%s or none, because claim %s has that one, and a claim's volume cannot change", claim.Spec.VolumeName, claim.Name),
		problem.Remove("volumeName")).WithNote(newStack)
}

// unavailableVolume refuses a volume that is not there, or not to be had.
func unavailableVolume(a settings.Args, seen observe.Observation) *problem.Problem {
	refuse := func(expected string, remedies ...problem.Remedy) *problem.Problem {
		return problem.New("volumeName", a.VolumeName, expected, remedies...)
	}
	another := problem.Do("choose another; list them with: kubectl get pv")
	volume := seen.Volume
	switch {
	case volume == nil:
		return refuse("a PersistentVolume that exists", problem.Run("list them", "kubectl get pv"))
	case volume.DeletionTimestamp != nil:
		return refuse("a volume that is not being deleted", another)
	case volume.Spec.VolumeMode != nil && *volume.Spec.VolumeMode != corev1.PersistentVolumeFilesystem:
		return refuse(fmt.Sprintf("a volume with a file system, not of volume mode %s", *volume.Spec.VolumeMode), another)
	}
	user := volume.Spec.ClaimRef
	switch {
	case user == nil:
		return nil
	case user.Namespace != a.Namespace || user.Name != contract.ClaimName(0):
		expected := fmt.Sprintf("a volume that is free, and this one belongs to claim %s in namespace %s", user.Name, user.Namespace)
		if volume.Status.Phase == corev1.VolumeReleased {
			return refuse(expected+", which is gone", reserve(a, volume))
		}
		return refuse(expected, problem.Do("release it as "+takeoverSection), problem.Do("choose another"))
	case user.UID != "" && (seen.Claim == nil || user.UID != seen.Claim.UID):
		return refuse(fmt.Sprintf("a volume that is free, and this one belongs to an earlier claim %s", user.Name), reserve(a, volume))
	}
	return nil
}

// reserve is how to give a released volume to the component's claim, and to no
// other.
func reserve(a settings.Args, volume *corev1.PersistentVolume) problem.Remedy {
	return problem.Run("reserve it", fmt.Sprintf(
		`kubectl patch pv %s --type=merge -p '{"spec":{"claimRef":{"namespace":"%s","name":"%s","uid":null,"resourceVersion":null}}}'`,
		volume.Name, a.Namespace, contract.ClaimName(0)))
}

func volumeAccessModes(a settings.Args, volume *corev1.PersistentVolume) *problem.Problem {
	offered := texts(volume.Spec.AccessModes)
	for _, mode := range a.AccessModes {
		if !slices.Contains(offered, mode) {
			return problem.New("accessModes", strings.Join(a.AccessModes, ","),
				fmt.Sprintf("what volume %s offers: %s", volume.Name, strings.Join(offered, ",")),
				problem.SetTo("accessModes", offered[0]))
		}
	}
	return nil
}

func volumeStorage(a settings.Args, volume *corev1.PersistentVolume) *problem.Problem {
	wanted, size := resource.MustParse(a.Storage), volume.Spec.Capacity[corev1.ResourceStorage]
	if wanted.Cmp(size) <= 0 {
		return nil
	}
	return problem.New("storage", a.Storage, fmt.Sprintf("at most %s, the size of volume %s", size.String(), volume.Name),
		problem.SetTo("storage", size.String()))
}

func volumeStorageClass(a settings.Args, volume *corev1.PersistentVolume) *problem.Problem {
	class := volume.Spec.StorageClassName
	if a.StorageClass == "" || a.StorageClass == class {
		return nil
	}
	if class == "" {
		return problem.New("storageClass", a.StorageClass, fmt.Sprintf("none, as volume %s has none", volume.Name), problem.Remove("storageClass"))
	}
	return problem.New("storageClass", a.StorageClass, fmt.Sprintf("%s, the class of volume %s", class, volume.Name), problem.SetTo("storageClass", class))
}
