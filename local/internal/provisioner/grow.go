package provisioner

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// growClaims answers claims that ask for more than they have, as a resizer of
// a cloud's disks does: first the volume's capacity, then the claim's. That a
// claim may grow at all is the apiserver's decision, from its StorageClass.
func growClaims(ctx context.Context, client kubernetes.Interface, claims cache.SharedIndexInformer, factory informers.SharedInformerFactory) error {
	volumes := factory.Core().V1().PersistentVolumes().Lister()
	grow := func(object any) {
		claim, ok := object.(*corev1.PersistentVolumeClaim)
		if !ok || claim.Status.Phase != corev1.ClaimBound {
			return
		}
		asked := claim.Spec.Resources.Requests[corev1.ResourceStorage]
		has := claim.Status.Capacity[corev1.ResourceStorage]
		if asked.Cmp(has) <= 0 {
			return
		}
		volume, err := volumes.Get(claim.Spec.VolumeName)
		if err != nil || volume.Annotations["pv.kubernetes.io/provisioned-by"] != Name {
			return
		}
		if err := growTo(ctx, client, volume, claim, asked); err != nil {
			klog.FromContext(ctx).Error(err, "grow", "claim", klog.KObj(claim), "to", asked.String())
		}
	}
	_, err := claims.AddEventHandlerWithResyncPeriod(cache.ResourceEventHandlerFuncs{
		AddFunc:    grow,
		UpdateFunc: func(_, object any) { grow(object) },
	}, resync)
	return err
}

// resync repeats what failed.
const resync = 30 * time.Second

func growTo(ctx context.Context, client kubernetes.Interface, volume *corev1.PersistentVolume, claim *corev1.PersistentVolumeClaim, size resource.Quantity) error {
	capacity := map[string]any{"capacity": corev1.ResourceList{corev1.ResourceStorage: size}}
	for _, patch := range []struct {
		what  string
		body  map[string]any
		apply func([]byte) error
	}{
		{"volume " + volume.Name, map[string]any{"spec": capacity}, func(body []byte) error {
			_, err := client.CoreV1().PersistentVolumes().Patch(ctx, volume.Name, types.StrategicMergePatchType, body, metav1.PatchOptions{})
			return err
		}},
		{"claim " + claim.Name, map[string]any{"status": capacity}, func(body []byte) error {
			_, err := client.CoreV1().PersistentVolumeClaims(claim.Namespace).Patch(ctx, claim.Name, types.StrategicMergePatchType, body, metav1.PatchOptions{}, "status")
			return err
		}},
	} {
		body, err := json.Marshal(patch.body)
		if err != nil {
			return err
		}
		if err := patch.apply(body); err != nil {
			return fmt.Errorf("%s: %w", patch.what, err)
		}
	}
	return nil
}
