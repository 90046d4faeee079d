package giveway

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

func unbound() *corev1.PersistentVolumeClaim {
	return &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: "postgredb-postgres-0", Namespace: "shop", UID: "1", ResourceVersion: "7"},
		Status:     corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimPending},
	}
}

// wanted is a claim that asks for something else than the one that is there.
func wanted() *corev1.PersistentVolumeClaim {
	return &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: "postgredb-postgres-0", Namespace: "shop"},
		Spec:       specOf("2Gi", "fast"),
	}
}

func specOf(size, class string) corev1.PersistentVolumeClaimSpec {
	return corev1.PersistentVolumeClaimSpec{
		AccessModes:      []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
		StorageClassName: &class,
		Resources:        corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(size)}},
	}
}

func TestClaimWithoutAVolumeGivesWay(t *testing.T) {
	t.Parallel()
	client := fake.NewClientset(unbound())
	claims := client.CoreV1().PersistentVolumeClaims("shop")
	require.NoError(t, Claim(context.Background(), claims, wanted()))
	var deletions []clienttesting.DeleteActionImpl
	for _, action := range client.Actions() {
		if deletion, is := action.(clienttesting.DeleteActionImpl); is {
			deletions = append(deletions, deletion)
		}
	}
	require.Len(t, deletions, 1)
	condition := deletions[0].DeleteOptions.Preconditions
	require.Equal(t, types.UID("1"), *condition.UID)
	require.Equal(t, "7", *condition.ResourceVersion, "one that has changed is not deleted")
	made, err := claims.Get(context.Background(), "postgredb-postgres-0", metav1.GetOptions{})
	require.NoError(t, err)
	require.Equal(t, wanted().Spec, made.Spec)

	client = fake.NewClientset()
	require.NoError(t, Claim(context.Background(), client.CoreV1().PersistentVolumeClaims("shop"), wanted()), "one that is not there")
}

// The StatefulSet's controller is faster, and its claim may have a volume at once.
func TestClaimThatTheStatefulSetMakesAnew(t *testing.T) {
	t.Parallel()
	const never, bound = "", "pv-2"
	for name, test := range map[string]struct {
		spec      corev1.PersistentVolumeClaimSpec
		volume    string
		deletions int
		expect    string
	}{
		"fits, waits":      {spec: specOf("2Gi", "fast"), volume: never, deletions: 1},
		"fits, bound":      {spec: specOf("2Gi", "fast"), volume: bound, deletions: 1},
		"misfits, waits":   {spec: specOf("1Gi", "fast"), volume: never, deletions: 2},
		"misfits, bound":   {spec: specOf("2Gi", "slow"), volume: bound, deletions: 1, expect: `claim postgredb-postgres-0 has got volume "pv-2" meanwhile, and was left as it is; run pulumi up again`},
		"of another class": {spec: specOf("2Gi", "slow"), volume: never, deletions: 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := fake.NewClientset(unbound())
			deletions := 0
			client.PrependReactor("delete", "persistentvolumeclaims", func(clienttesting.Action) (bool, runtime.Object, error) {
				deletions++
				if deletions > 1 {
					return false, nil, nil
				}
				made := unbound()
				made.UID, made.Spec = "2", test.spec
				if made.Spec.VolumeName = test.volume; test.volume != never {
					made.Status.Phase = corev1.ClaimBound
				}
				return true, nil, client.Tracker().Update(corev1.SchemeGroupVersion.WithResource("persistentvolumeclaims"), made, "shop")
			})
			claims := client.CoreV1().PersistentVolumeClaims("shop")
			err := Claim(context.Background(), claims, wanted())
			require.Equal(t, test.deletions, deletions)
			if test.expect != "" {
				require.EqualError(t, err, test.expect)
				return
			}
			require.NoError(t, err)
			made, err := claims.Get(context.Background(), "postgredb-postgres-0", metav1.GetOptions{})
			require.NoError(t, err)
			require.True(t, fits(made.Spec, wanted().Spec))
		})
	}
}

func TestClaimWithAVolumeStays(t *testing.T) {
	t.Parallel()
	bound := unbound()
	bound.Spec.VolumeName, bound.Status.Phase = "pv-1", corev1.ClaimBound
	chosen := unbound()
	chosen.Spec.VolumeName = "pv-1"
	for _, claim := range []runtime.Object{bound, chosen} {
		client := fake.NewClientset(claim)
		err := Claim(context.Background(), client.CoreV1().PersistentVolumeClaims("shop"), wanted())
		require.EqualError(t, err, `claim postgredb-postgres-0 has got volume "pv-1" meanwhile, and was left as it is; run pulumi up again`)
		require.Len(t, client.Actions(), 1, "looked at, and nothing else")
	}
}

func TestClaimThatDoesNotGoIsNamed(t *testing.T) {
	t.Parallel()
	held := unbound()
	held.DeletionTimestamp, held.Finalizers = &metav1.Time{}, []string{"kubernetes.io/pvc-protection"}
	client := fake.NewClientset(held)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	require.ErrorContains(t, Claim(ctx, client.CoreV1().PersistentVolumeClaims("shop"), wanted()), "was not gone within 30s")
}
