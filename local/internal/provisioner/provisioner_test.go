package provisioner

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"
)

func claim(size string) *corev1.PersistentVolumeClaim {
	return &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: "data", Namespace: "default"},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources: corev1.VolumeResourceRequirements{
				Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(size)},
			},
		},
	}
}

func provision(t *testing.T, f *folders, c *corev1.PersistentVolumeClaim) (*corev1.PersistentVolume, error) {
	t.Helper()
	policy := corev1.PersistentVolumeReclaimDelete
	volume, _, err := f.Provision(t.Context(), controller.ProvisionOptions{
		PVName: "pvc-1", PVC: c, StorageClass: &storagev1.StorageClass{ReclaimPolicy: &policy},
	})
	return volume, err
}

func TestVolumeIsAFolderInTheZone(t *testing.T) {
	t.Parallel()
	f := &folders{t.TempDir()}
	volume, err := provision(t, f, claim("1Gi"))
	require.NoError(t, err)
	require.DirExists(t, volume.Spec.Local.Path)
	require.Equal(t, []string{Zone}, volume.Spec.NodeAffinity.Required.NodeSelectorTerms[0].MatchExpressions[0].Values)

	// A provisioner that was killed in between provisions the same again.
	require.NoError(t, os.WriteFile(volume.Spec.Local.Path+"/kept", nil, 0o600))
	_, err = provision(t, f, claim("1Gi"))
	require.NoError(t, err)
	require.FileExists(t, volume.Spec.Local.Path+"/kept")

	require.NoError(t, f.Delete(t.Context(), volume))
	require.NoDirExists(t, volume.Spec.Local.Path)
}

func TestOnlyItsOwnFoldersAreDeleted(t *testing.T) {
	t.Parallel()
	f := &folders{t.TempDir()}
	elsewhere := t.TempDir()
	for name, source := range map[string]corev1.PersistentVolumeSource{
		"elsewhere": {Local: &corev1.LocalVolumeSource{Path: elsewhere}},
		"above":     {Local: &corev1.LocalVolumeSource{Path: f.parent}},
		"no folder": {},
	} {
		volume := &corev1.PersistentVolume{Spec: corev1.PersistentVolumeSpec{PersistentVolumeSource: source}}
		require.Error(t, f.Delete(t.Context(), volume), name)
	}
	require.DirExists(t, elsewhere)
	require.DirExists(t, f.parent)
}

func TestClaimsThatCannotBeServedAreRefused(t *testing.T) {
	t.Parallel()
	f := &folders{t.TempDir()}
	block := corev1.PersistentVolumeBlock
	device := claim("1Gi")
	device.Spec.VolumeMode = &block
	_, err := provision(t, f, device)
	require.ErrorContains(t, err, "volume mode Block")
	selecting := claim("1Gi")
	selecting.Spec.Selector = &metav1.LabelSelector{}
	_, err = provision(t, f, selecting)
	require.ErrorContains(t, err, "selector")
	entries, err := os.ReadDir(f.parent)
	require.NoError(t, err)
	require.Empty(t, entries)
}

func TestBoundClaimGrowsWithItsVolume(t *testing.T) {
	t.Parallel()
	small := corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}
	volume := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: "pvc-1", Annotations: map[string]string{"pv.kubernetes.io/provisioned-by": Name}},
		Spec:       corev1.PersistentVolumeSpec{Capacity: small},
	}
	bound := claim("1Gi")
	bound.Spec.VolumeName = volume.Name
	bound.Status = corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimBound, Capacity: small}
	client := fake.NewClientset(volume, bound)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	factory := informers.NewSharedInformerFactory(client, 0)
	require.NoError(t, growClaims(ctx, client, factory.Core().V1().PersistentVolumeClaims().Informer(), factory))
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())

	wider := bound.DeepCopy()
	wider.Spec.Resources.Requests[corev1.ResourceStorage] = resource.MustParse("2Gi")
	_, err := client.CoreV1().PersistentVolumeClaims("default").Update(ctx, wider, metav1.UpdateOptions{})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		pv, err := client.CoreV1().PersistentVolumes().Get(ctx, volume.Name, metav1.GetOptions{})
		require.NoError(t, err)
		pvc, err := client.CoreV1().PersistentVolumeClaims("default").Get(ctx, bound.Name, metav1.GetOptions{})
		require.NoError(t, err)
		return pv.Spec.Capacity.Storage().String() == "2Gi" && pvc.Status.Capacity.Storage().String() == "2Gi"
	}, 10*time.Second, 10*time.Millisecond)
}
