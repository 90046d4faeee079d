package objects

import (
	"fmt"
	"maps"
	"slices"
	"strconv"

	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	apicorev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"stateful-postgres/internal/contract"
)

// Claim is the claim of a pod under the name that the StatefulSet's claim template
// gives it. The StatefulSet finds it there and uses it, so that the claim is
// Pulumi's to grow and to keep.
//
// It is not waited for. On a storage class that binds with the first consumer
// it stays Pending until the pod comes, and one that is taken back is Bound
// already, which the provider does not expect of a new claim; a pod that is
// ready proves that its claim is bound.
func Claim(d Description, ordinal int) Object[corev1.PersistentVolumeClaimArgs] {
	if ordinal > 0 {
		return standbyClaim(d, ordinal)
	}
	class, volume := chosen(d)
	annotations := map[string]string{
		contract.AnnotationDatabase:  d.Settings.Database,
		contract.AnnotationUser:      d.Settings.User,
		contract.AnnotationRunAsUser: strconv.Itoa(*d.Settings.RunAsUser),
	}
	maps.Copy(annotations, skipAwait())
	modes, size := d.Settings.AccessModes, d.Settings.Storage
	options := chosenOnce()
	switch {
	case ReplacesClaim(d) && d.Preview:
		// A preview asks the API server whether it would take the claim. It would
		// not as long as the other one is there, so it is asked about that one.
		asked := d.Observed.Claim.Spec
		quantity := asked.Resources.Requests[apicorev1.ResourceStorage]
		modes, size = modesOf(asked), quantity.String()
	case ReplacesClaim(d):
		options = []pulumi.ResourceOption{pulumi.ReplaceOnChanges([]string{"spec"}), pulumi.DeleteBeforeReplace(true)}
	}
	return claim(d, 0, "", annotations, modes, size, class, volume, options)
}

// standbyClaim is the claim of another pod than the first: its volume is always
// one that the storage class makes.
func standbyClaim(d Description, ordinal int) Object[corev1.PersistentVolumeClaimArgs] {
	class := nonEmpty(d.Settings.StorageClass)
	var volume *string
	if claim := d.Observed.Standbys[ordinal]; claim != nil {
		class, volume = claim.Spec.StorageClassName, nonEmpty(claim.Spec.VolumeName)
	}
	return claim(d, ordinal, fmt.Sprintf("-%d", ordinal), skipAwait(), d.Settings.AccessModes, d.Settings.Storage, class, volume, chosenOnce())
}

// chosenOnce keeps a setting that is taken away from replacing the claim.
func chosenOnce() []pulumi.ResourceOption {
	return []pulumi.ResourceOption{pulumi.IgnoreChanges([]string{"spec.storageClassName", "spec.volumeName"})}
}

func claim(
	d Description, ordinal int, suffix string, annotations map[string]string,
	modes []string, size string, class, volume *string, options []pulumi.ResourceOption,
) Object[corev1.PersistentVolumeClaimArgs] {
	return Object[corev1.PersistentVolumeClaimArgs]{
		Title: "claim " + contract.ClaimName(ordinal), Suffix: suffix,
		Args: &corev1.PersistentVolumeClaimArgs{
			Metadata: d.metadata(contract.ClaimName(ordinal), annotations),
			Spec: corev1.PersistentVolumeClaimSpecArgs{
				AccessModes:      pulumi.ToStringArray(modes),
				StorageClassName: pulumi.StringPtrFromPtr(class),
				VolumeName:       pulumi.StringPtrFromPtr(volume),
				Resources: corev1.VolumeResourceRequirementsArgs{
					// As the API server returns it: "1024Mi" comes back as "1Gi".
					Requests: pulumi.StringMap{"storage": pulumi.String(canonicalQuantity(size))},
				},
			},
		},
		Data:    true,
		Options: options,
	}
}

// WantedClaim is the claim as the API server gets it from Claim, without what only
// the provider needs.
func WantedClaim(d Description) *apicorev1.PersistentVolumeClaim {
	class, volume := chosen(d)
	claim := &apicorev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: contract.ClaimName(0), Labels: contract.ObjectLabels()},
		Spec: apicorev1.PersistentVolumeClaimSpec{
			StorageClassName: class,
			Resources: apicorev1.VolumeResourceRequirements{Requests: apicorev1.ResourceList{
				apicorev1.ResourceStorage: resource.MustParse(d.Settings.Storage),
			}},
		},
	}
	for _, mode := range d.Settings.AccessModes {
		claim.Spec.AccessModes = append(claim.Spec.AccessModes, apicorev1.PersistentVolumeAccessMode(mode))
	}
	if volume != nil {
		claim.Spec.VolumeName = *volume
	}
	return claim
}

// ReplacesClaim says whether the claim that was seen gives way to another one:
// nothing is on it, and it asks for something else than the settings do.
func ReplacesClaim(d Description) bool {
	if !d.Observed.ClaimNeverBound() {
		return false
	}
	a, asked := d.Settings, d.Observed.Claim.Spec
	class := ""
	if asked.StorageClassName != nil {
		class = *asked.StorageClassName
	}
	size := asked.Resources.Requests[apicorev1.ResourceStorage]
	switch {
	case a.VolumeName != "":
		return true
	case a.StorageClass != "" && a.StorageClass != class:
		return true
	case a.StorageClass == "" && class != "" && d.Observed.StorageClass == nil && !d.Observed.StorageClassHidden:
		// The class that was set is not there, and it is not set any more.
		return true
	case size.Cmp(resource.MustParse(a.Storage)) != 0:
		return true
	}
	return !slices.Equal(slices.Sorted(slices.Values(modesOf(asked))), slices.Sorted(slices.Values(a.AccessModes)))
}

// modesOf are the access modes of a claim, as the settings write them.
func modesOf(claim apicorev1.PersistentVolumeClaimSpec) []string {
	modes := make([]string, 0, len(claim.AccessModes))
	for _, mode := range claim.AccessModes {
		modes = append(modes, string(mode))
	}
	return modes
}

// chosen are the storage class and the volume that the claim asks for, nil for
// none. A claim that is there has both, and is declared as it is: the API server
// would refuse anything else. A volume that exists has a class as well, or none,
// which a claim for it has to spell out.
func chosen(d Description) (class, volume *string) {
	if claim := d.Observed.Claim; claim != nil && (d.Preview || !ReplacesClaim(d)) {
		return claim.Spec.StorageClassName, nonEmpty(claim.Spec.VolumeName)
	}
	class, volume = nonEmpty(d.Settings.StorageClass), nonEmpty(d.Settings.VolumeName)
	if d.Observed.Volume != nil {
		class = &d.Observed.Volume.Spec.StorageClassName
	}
	return class, volume
}

// nonEmpty is nil for "".
func nonEmpty(value string) *string {
	if value == "" {
		return nil
	}
	return &value
}
