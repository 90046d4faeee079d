package observe

import (
	"context"

	"stateful-postgres/internal/contract"
)

// lookAtClaim reads the claim, and then what it names: class and volume.
func (o *Observation) lookAtClaim(ctx context.Context, clients Clients, namespace string) (err error) {
	o.Claim, err = get(ctx, clients.Core.PersistentVolumeClaims(namespace).Get, "claim", namespace, contract.ClaimName(0))
	if err != nil || o.Claim == nil {
		return err
	}
	return first(together([]func() error{
		func() (err error) {
			name := o.Claim.Spec.StorageClassName
			if name == nil {
				return nil
			}
			o.StorageClass, o.StorageClassHidden, err = getUnlessHidden(ctx, clients.Storage.StorageClasses().Get, "storage class", *name)
			return err
		},
		func() (err error) {
			o.ClaimVolume, o.ClaimVolumeHidden, err = getUnlessHidden(ctx, clients.Core.PersistentVolumes().Get, "persistent volume", o.Claim.Spec.VolumeName)
			return err
		},
	}))
}
