package conflict

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"stateful-postgres/components/internal/observe"
	"stateful-postgres/components/problem"
	"stateful-postgres/components/settings"
	"stateful-postgres/internal/contract"
)

// lostVolume refuses to make a new volume where one with data was, be it that its
// namespace went with it. A volume that is there and empty only the server itself
// can see.
func lostVolume(a settings.Args, seen observe.Observation) *problem.Problem {
	if seen.NoCluster || !seen.DataExpected(a.Namespace) || a.InitializeEmptyVolume || a.VolumeName != "" || seen.Claim != nil && !isNew(seen.Claim) {
		return nil
	}
	if a.HighAvailability && slices.ContainsFunc(seen.Trusted(), func(pod string) bool { return pod != contract.PodName(0) }) {
		// It takes the rows of the others, and begins no database.
		return nil
	}
	gone := fmt.Sprintf("the volume of claim %s is gone", contract.ClaimName(0))
	if !seen.NamespaceExists && !seen.NamespaceHidden {
		gone = fmt.Sprintf("namespace %s is gone with the volume of claim %s", a.Namespace, contract.ClaimName(0))
	}
	restore := problem.Choosing("volumeName", "name a volume that has it")
	if !a.HighAvailability {
		return problem.New("initializeEmptyVolume", "false", "true, because this server had data and "+gone,
			restore, problem.Setting("initializeEmptyVolume", "true", "begin again without the old rows:"))
	}
	remedies := []problem.Remedy{restore, settings.BeginAlone()}
	if seen.Sync != nil {
		remedies = append(remedies, settings.GoOnWith(a.Namespace))
	}
	return problem.NewFound("claim "+contract.ClaimName(0), "none", "one with every acknowledged write, because this server had data and "+gone, remedies...)
}

// lostClaim refuses to go on with a claim whose volume is gone for good: no server
// starts on it, and Kubernetes gives it no other.
func lostClaim(seen observe.Observation) *problem.Problem {
	claim := seen.Claim
	if claim.Status.Phase != corev1.ClaimLost {
		return nil
	}
	remove := problem.Run("give the claim up", fmt.Sprintf("kubectl delete -n %s pvc %s", claim.Namespace, claim.Name))
	remove.Then = ", and then run pulumi up again"
	return problem.NewFound("claim "+claim.Name, fmt.Sprintf("one whose volume %s is gone", claim.Spec.VolumeName),
		"one that is bound", problem.Do("restore the volume under its name"), remove)
}

// isNew says whether a claim will be given a new, empty volume: it has none yet,
// and asks for none that exists.
func isNew(claim *corev1.PersistentVolumeClaim) bool {
	return claim.Status.Phase != corev1.ClaimBound && claim.Spec.VolumeName == "" &&
		claim.Spec.DataSource == nil && claim.Spec.DataSourceRef == nil
}

func accessModes(a settings.Args, claim *corev1.PersistentVolumeClaim) *problem.Problem {
	modes := texts(claim.Spec.AccessModes)
	if slices.Equal(slices.Sorted(slices.Values(modes)), slices.Sorted(slices.Values(a.AccessModes))) {
		return nil
	}
	had := strings.Join(modes, ",")
	return problem.New("accessModes", strings.Join(a.AccessModes, ","),
		fmt.Sprintf("%s, because the access modes of the volume that holds the data cannot change", had),
		problem.SetTo("accessModes", had)).WithNote(newStack)
}

// texts are access modes as the settings write them.
func texts(modes []corev1.PersistentVolumeAccessMode) []string {
	var all []string
	for _, mode := range modes {
		all = append(all, string(mode))
	}
	return all
}

func storageClass(a settings.Args, claim *corev1.PersistentVolumeClaim) *problem.Problem {
	had := claim.Spec.StorageClassName
	if a.StorageClass == "" || had == nil || *had == a.StorageClass {
		return nil
	}
	return problem.New("storageClass", a.StorageClass,
		fmt.Sprintf("%s, because the storage class of the volume that holds the data cannot change", *had),
		problem.SetTo("storageClass", *had)).WithNote(newStack)
}

func storage(a settings.Args, seen observe.Observation) *problem.Problem {
	wanted := resource.MustParse(a.Storage)
	had := seen.Claim.Spec.Resources.Requests[corev1.ResourceStorage]
	keep := problem.SetTo("storage", had.String())
	switch {
	case wanted.Cmp(had) < 0:
		return problem.New("storage", a.Storage, fmt.Sprintf("at least %s, because a volume cannot shrink", had.String()), keep)
	case wanted.Cmp(had) == 0:
		return nil
	case seen.Claim.Status.Phase != corev1.ClaimBound:
		keep.Then = ", start the server, and then let it grow"
		return problem.New("storage", a.Storage, fmt.Sprintf("%s, because the volume can grow only once it is bound", had.String()), keep)
	case !canGrow(seen):
		reason := "it has no storage class that lets it grow"
		if class := seen.Claim.Spec.StorageClassName; class != nil && *class != "" {
			reason = fmt.Sprintf("storage class %s does not let a volume grow", *class)
		}
		return problem.New("storage", a.Storage, fmt.Sprintf("%s, because %s", had.String(), reason),
			keep, problem.Do("set allowVolumeExpansion on the class if its volumes support it"))
	}
	return nil
}

// canGrow says whether the claim's storage class lets it grow. Of a class that
// may not be read only the API server can tell, and it does, at preview.
func canGrow(seen observe.Observation) bool {
	if seen.StorageClassHidden {
		return true
	}
	class := seen.StorageClass
	return class != nil && class.AllowVolumeExpansion != nil && *class.AllowVolumeExpansion
}

// initialized refuses another name than the one that the volume was initialized
// with.
func initialized(a settings.Args, seen observe.Observation, setting, value string) *problem.Problem {
	annotation := map[string]string{"database": contract.AnnotationDatabase, "user": contract.AnnotationUser}[setting]
	had := seen.Claim.Annotations[annotation]
	if had == "" || had == value || !isInitialized(a, seen) {
		return nil
	}
	return problem.New(setting, value, fmt.Sprintf("%s, because the volume was initialized with it", had),
		problem.SetTo(setting, had)).WithNote(newStack)
}

// isInitialized says whether what the claim says about its volume is true. A claim
// that was never bound was never initialized either, and of a volume that was
// taken over only a server that was ready on it shows that the settings were the
// right ones.
func isInitialized(a settings.Args, seen observe.Observation) bool {
	return seen.Claim.Status.Phase == corev1.ClaimBound && (a.VolumeName == "" || seen.Marker != nil)
}

// formerUser is whom a volume belongs to whose claim does not say it: there was no
// setting for it.
const formerUser = "999"

// runAsUser refuses another user than the one whose the volume is: a server starts
// on nobody else's files.
func runAsUser(a settings.Args, seen observe.Observation) *problem.Problem {
	annotations := seen.Claim.Annotations
	had, value := cmp.Or(annotations[contract.AnnotationRunAsUser], formerUser), strconv.Itoa(*a.RunAsUser)
	if annotations[contract.AnnotationDatabase] == "" || had == value || a.FixVolumeOwner || !isInitialized(a, seen) {
		return nil
	}
	give := problem.Setting("fixVolumeOwner", "true", "give the volume to the other one")
	return problem.New("runAsUser", value, fmt.Sprintf("%s, because the volume belongs to that user", had), problem.SetTo("runAsUser", had), give)
}
