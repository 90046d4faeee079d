package observe

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

func lookIn(client kubernetes.Interface, query Query) (Observation, error) {
	return Cluster(context.Background(), Clients{client.CoreV1(), client.AppsV1(), client.StorageV1()}, query)
}

func ptr[T any](value T) *T { return &value }

// boundClaim is a claim that holds data.
func boundClaim() *corev1.PersistentVolumeClaim {
	return &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: "postgredb-postgres-0", Namespace: "codewizard"},
		Spec:       corev1.PersistentVolumeClaimSpec{StorageClassName: ptr("fast")},
		Status:     corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimBound},
	}
}

func TestLookUp(t *testing.T) {
	t.Parallel()
	class := func(expand *bool) *storagev1.StorageClass {
		return &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "fast"}, AllowVolumeExpansion: expand}
	}
	elsewhere := boundClaim()
	elsewhere.Namespace = "other"
	for _, test := range []struct {
		name       string
		objects    []runtime.Object
		claim      bool
		expandable bool
	}{
		{"nothing there", nil, false, false},
		{"claim in another namespace", []runtime.Object{elsewhere, class(ptr(true))}, false, false},
		{"claim that can grow", []runtime.Object{boundClaim(), class(ptr(true))}, true, true},
		{"claim that cannot grow", []runtime.Object{boundClaim(), class(ptr(false))}, true, false},
		{"class that does not say", []runtime.Object{boundClaim(), class(nil)}, true, false},
		{"class that is gone", []runtime.Object{boundClaim()}, true, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			live, err := lookIn(fake.NewClientset(test.objects...), Query{Namespace: "codewizard"})
			require.NoError(t, err)
			require.Equal(t, test.claim, live.Claim != nil)
			require.Equal(t, test.expandable, live.StorageClass != nil && live.StorageClass.AllowVolumeExpansion != nil && *live.StorageClass.AllowVolumeExpansion)
		})
	}
}

func TestLookUpFindsTheMarker(t *testing.T) {
	t.Parallel()
	marker := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "postgres-data-expected", Namespace: "codewizard"}}
	live, err := lookIn(fake.NewClientset(marker), Query{Namespace: "codewizard"})
	require.NoError(t, err)
	require.NotNil(t, live.Marker, "also when the claim is gone")
	live, err = lookIn(fake.NewClientset(marker, boundClaim()), Query{Namespace: "other"})
	require.NoError(t, err)
	require.Nil(t, live.Marker)
}

func TestLookUpThatFailsIsNotAnEmptyNamespace(t *testing.T) {
	t.Parallel()
	client := fake.NewClientset(boundClaim())
	client.PrependReactor("get", "persistentvolumeclaims", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, errors.New("connection refused")
	})
	_, err := lookIn(client, Query{Namespace: "codewizard"})
	require.EqualError(t, err, "claim postgredb-postgres-0 in namespace codewizard: connection refused")
}

func TestStorageClassesThatMayNotBeReadAreLeftToTheAPIServer(t *testing.T) {
	t.Parallel()
	client := fake.NewClientset(boundClaim())
	forbid(client, "storageclasses")
	live, err := lookIn(client, Query{Namespace: "codewizard"})
	require.NoError(t, err)
	require.True(t, live.StorageClassHidden)
}

func TestLookUpFindsTheVolume(t *testing.T) {
	t.Parallel()
	client := fake.NewClientset(&corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pv-1"}})
	look := func(name string) Observation {
		seen, err := lookIn(client, Query{Namespace: "codewizard", Volume: name})
		require.NoError(t, err)
		return seen
	}
	require.Equal(t, Observation{}, look(""))
	require.Equal(t, Observation{}, look("pv-2"))
	require.Equal(t, "pv-1", look("pv-1").Volume.Name)
	forbid(client, "persistentvolumes")
	require.Equal(t, Observation{VolumeHidden: true}, look("pv-1"), "not everybody may read volumes")
}

func TestLookThatFailsIsNotAnEmptyNamespace(t *testing.T) {
	t.Parallel()
	for resource, message := range map[string]string{
		"statefulsets": "stateful set postgres in namespace codewizard: connection refused",
		"services":     "service postgres in namespace codewizard: connection refused",
		"configmaps":   "config map postgres-config in namespace codewizard: connection refused",
		"secrets":      "secret postgres-credentials in namespace codewizard: connection refused",
		"namespaces":   "namespace kube-system: connection refused",
	} {
		client := fake.NewClientset()
		client.PrependReactor("get", resource, func(clienttesting.Action) (bool, runtime.Object, error) {
			return true, nil, errors.New("connection refused")
		})
		_, err := lookIn(client, Query{Namespace: "codewizard"})
		require.EqualError(t, err, message)
	}
}

func TestLookUpFindsTheCertificate(t *testing.T) {
	t.Parallel()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "mine", Namespace: "shop"}, Data: map[string][]byte{"tls.crt": []byte("x")}}
	client := fake.NewClientset(secret)
	find := func(namespace, name string) (*corev1.Secret, error) {
		seen, err := lookIn(client, Query{Namespace: namespace, CertificateSecret: name})
		return seen.CertificateSecret, err
	}
	found, err := find("shop", "mine")
	require.NoError(t, err)
	require.Equal(t, secret.Data, found.Data)
	for _, place := range [][2]string{{"other", "mine"}, {"shop", "other"}, {"shop", ""}} {
		found, err := find(place[0], place[1])
		require.NoError(t, err)
		require.Nil(t, found)
	}
	client.PrependReactor("get", "secrets", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, errors.New("connection refused")
	})
	_, err = find("shop", "mine")
	require.ErrorContains(t, err, "in namespace shop: connection refused", "not taken for a Secret that is not there")
}

func TestNamespaceThatMayNotBeReadIsKnownByWhatIsInIt(t *testing.T) {
	t.Parallel()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "codewizard"}}
	authority := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "kube-root-ca.crt", Namespace: "codewizard"}}
	for _, test := range []struct {
		name    string
		objects []runtime.Object
		hidden  bool
		exists  bool
	}{
		{"not there", nil, false, false},
		{"read", []runtime.Object{namespace}, false, true},
		{"hidden", []runtime.Object{namespace, authority}, true, true},
		{"hidden, with a claim", []runtime.Object{namespace, boundClaim()}, true, true},
		{"hidden, nothing in it", []runtime.Object{namespace}, true, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			client := fake.NewClientset(test.objects...)
			if test.hidden {
				forbid(client, "namespaces")
			}
			seen, err := lookIn(client, Query{Namespace: "codewizard"})
			require.NoError(t, err)
			require.Equal(t, test.hidden, seen.NamespaceHidden)
			require.Equal(t, test.exists, seen.NamespaceExists)
			require.Equal(t, test.exists && !test.hidden, seen.Namespace != nil)
		})
	}
}

// forbid lets the API server refuse to show any object of a kind.
func forbid(client *fake.Clientset, resource string) {
	client.PrependReactor("get", resource, func(action clienttesting.Action) (bool, runtime.Object, error) {
		name := action.(clienttesting.GetAction).GetName()
		return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: resource}, name, errors.New("no right to get it"))
	})
}

func TestLookUpFindsTheVolumeOfTheClaim(t *testing.T) {
	t.Parallel()
	claim := boundClaim()
	claim.Spec.VolumeName = "pv-1"
	client := fake.NewClientset(claim, &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pv-1"}})
	seen, err := lookIn(client, Query{Namespace: "codewizard"})
	require.NoError(t, err)
	require.Equal(t, "pv-1", seen.ClaimVolume.Name)
	require.Nil(t, seen.Volume, "no setting names it")
	forbid(client, "persistentvolumes")
	seen, err = lookIn(client, Query{Namespace: "codewizard"})
	require.NoError(t, err)
	require.True(t, seen.ClaimVolumeHidden)
	require.False(t, seen.VolumeHidden)
}

func TestClusterIsKnownByItsSystemNamespace(t *testing.T) {
	t.Parallel()
	client := fake.NewClientset(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "kube-system", UID: "1-2-3"}})
	seen, err := lookIn(client, Query{Namespace: "codewizard"})
	require.NoError(t, err)
	require.Equal(t, "1-2-3", seen.ClusterUID)
	require.False(t, seen.ClusterHidden)
	require.False(t, seen.NamespaceExists)
	forbid(client, "namespaces")
	seen, err = lookIn(client, Query{Namespace: "codewizard"})
	require.NoError(t, err)
	require.Empty(t, seen.ClusterUID)
	require.True(t, seen.ClusterHidden)
}

func TestLookUpShowsWhatIsBeingDeleted(t *testing.T) {
	t.Parallel()
	meta := metav1.ObjectMeta{Namespace: "codewizard", DeletionTimestamp: &metav1.Time{Time: time.Now()}}
	named := func(name string) metav1.ObjectMeta { meta := meta; meta.Name = name; return meta }
	claim := boundClaim()
	claim.Spec.VolumeName, claim.DeletionTimestamp = "pv-1", meta.DeletionTimestamp
	volume, namespace := named("pv-1"), named("codewizard")
	volume.Namespace, namespace.Namespace = "", ""
	seen, err := lookIn(fake.NewClientset(
		claim, &corev1.PersistentVolume{ObjectMeta: volume}, &corev1.Namespace{ObjectMeta: namespace},
		&appsv1.StatefulSet{ObjectMeta: named("postgres")}, &corev1.Service{ObjectMeta: named("postgres")},
		&corev1.ConfigMap{ObjectMeta: named("postgres-config")}, &corev1.ConfigMap{ObjectMeta: named("postgres-data-expected")},
		&corev1.Secret{ObjectMeta: named("postgres-credentials")}, &corev1.Secret{ObjectMeta: named("postgres-tls")},
	), Query{Namespace: "codewizard", CertificateSecret: "postgres-tls"})
	require.NoError(t, err)
	for name, object := range map[string]metav1.Object{
		"claim": seen.Claim, "volume": seen.ClaimVolume, "namespace": seen.Namespace, "StatefulSet": seen.StatefulSet, "Service": seen.Services[0],
		"ConfigMap": seen.ConfigMap, "marker": seen.Marker, "credentials": seen.Credentials, "certificate": seen.CertificateSecret,
	} {
		require.NotNil(t, object.GetDeletionTimestamp(), name)
	}
}
