package components

import (
	"fmt"

	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"k8s.io/apimachinery/pkg/api/resource"
)

// newClaim declares the claim of pod 0 under the name that the StatefulSet's
// claim template gives it. The StatefulSet finds it there and uses it, so that
// the claim is Pulumi's to grow and to keep.
//
// It is not waited for. On a storage class that binds with the first consumer
// it stays Pending until the pod comes, and one that is taken back is Bound
// already, which the provider does not expect of a new claim; a pod that is
// ready proves that its claim is bound.
func (p *Postgres) newClaim(ctx *pulumi.Context, name string, opts ...pulumi.ResourceOption) error {
	claim := claimName(0)
	class, volume := p.args.chosen(p.existing)
	declared, err := corev1.NewPersistentVolumeClaim(ctx, name, &corev1.PersistentVolumeClaimArgs{
		Metadata: p.objectMeta(ctx, claim, pulumi.StringMap{
			annotationSkipAwait: pulumi.String("true"),
			annotationDatabase:  pulumi.String(p.args.Database),
			annotationUser:      pulumi.String(p.args.User),
		}),
		Spec: corev1.PersistentVolumeClaimSpecArgs{
			AccessModes:      pulumi.ToStringArray(p.args.AccessModes),
			StorageClassName: pulumi.StringPtrFromPtr(class),
			VolumeName:       pulumi.StringPtrFromPtr(volume),
			Resources: corev1.VolumeResourceRequirementsArgs{
				// As the API server returns it: "1024Mi" comes back as "1Gi".
				Requests: pulumi.StringMap{"storage": pulumi.String(canonicalQuantity(p.args.Storage))},
			},
		},
	}, append(opts, pulumi.RetainOnDelete(!p.args.DeleteData),
		// Chosen once. Else a setting that is taken away would replace the claim.
		pulumi.IgnoreChanges([]string{"spec.storageClassName", "spec.volumeName"}),
	)...)
	if err != nil {
		return fmt.Errorf("claim %s: %w", claim, err)
	}
	p.claim = declared
	return nil
}

// chosen are the storage class and the volume that the claim asks for, nil for
// none. A claim that is there has both, and is declared as it is: the API server
// would refuse anything else. A volume that exists has a class as well, or none,
// which a claim for it has to spell out.
func (a PostgresArgs) chosen(live existing) (class, volume *string) {
	if live.claim != nil {
		return live.claim.Spec.StorageClassName, nonEmpty(live.claim.Spec.VolumeName)
	}
	class, volume = nonEmpty(a.StorageClass), nonEmpty(a.VolumeName)
	if live.volume != nil {
		class = &live.volume.Spec.StorageClassName
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

// claimTemplate is what the StatefulSet would give a pod whose claim does not
// exist. A StatefulSet's templates are immutable, so this one says nothing that
// a setting could change; the claim of pod 0 exists before its pod does.
func claimTemplate() corev1.PersistentVolumeClaimTypeArgs {
	return corev1.PersistentVolumeClaimTypeArgs{
		Metadata: metav1.ObjectMetaArgs{Name: pulumi.String(claimTemplateName), Labels: objectLabels()},
		Spec: corev1.PersistentVolumeClaimSpecArgs{
			AccessModes: pulumi.ToStringArray([]string{AccessModeReadWriteOnce}),
			Resources: corev1.VolumeResourceRequirementsArgs{
				Requests: pulumi.StringMap{"storage": pulumi.String(DefaultStorage)},
			},
		},
	}
}

// optionalString is nil for "", which leaves the choice to the cluster.
func optionalString(value string) pulumi.StringPtrInput {
	if value == "" {
		return nil
	}
	return pulumi.StringPtr(value)
}

// optionalStringMap is nil for an empty map.
func optionalStringMap(values map[string]string) pulumi.StringMapInput {
	if len(values) == 0 {
		return nil
	}
	return pulumi.ToStringMap(values)
}

// canonicalQuantity is a valid quantity in the form that the API server gives
// it.
func canonicalQuantity(value string) string {
	quantity := resource.MustParse(value)
	return quantity.String()
}
