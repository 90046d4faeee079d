package kubernetes_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"

	"stateful-postgres/internal/contract"
	"stateful-postgres/verify/internal/kubernetes"
)

var severalObjects = kubernetes.Objects{Namespace: namespace, StatefulSet: "db", Service: "db", Claim: "data-db-0", HighAvailability: true, Replicas: "db-replicas"}

func agreement(name string, annotations map[string]string) *corev1.ConfigMap {
	object := &corev1.ConfigMap{ObjectMeta: meta(name)}
	object.Annotations = annotations
	return object
}

func TestObserveSeesTheClaimsOfAllOrdinalsThatThereAre(t *testing.T) {
	t.Parallel()
	claim := func(name, volume string) *corev1.PersistentVolumeClaim {
		return &corev1.PersistentVolumeClaim{ObjectMeta: meta(name), Spec: corev1.PersistentVolumeClaimSpec{VolumeName: volume}}
	}
	client, clients := setup(append(objects(), claim("data-db-10", ""), claim("data-db-2", "pv-gone"), claim("data-db-x", ""), claim("data-db2-1", ""), claim("other-db-1", ""))...)
	observed, err := client.Observe(t.Context(), severalObjects)
	require.NoError(t, err)
	require.Len(t, observed.Claims, 3)
	for i, ordinal := range []int{0, 2, 10} {
		require.Equal(t, ordinal, observed.Claims[i].Ordinal)
		require.Equal(t, severalObjects.ClaimName(ordinal), observed.Claims[i].Object.Name)
	}
	require.Equal(t, "pv-1", observed.Claims[0].Volume.Name)
	require.Nil(t, observed.Claims[1].Volume)

	require.NoError(t, clients.CoreV1().PersistentVolumeClaims(namespace).Delete(t.Context(), "data-db-0", metav1.DeleteOptions{}))
	observed, err = client.Observe(t.Context(), severalObjects)
	require.NoError(t, err)
	require.Equal(t, kubernetes.Claim{Name: "data-db-0"}, observed.Claims[0])
}

func TestObserveReadsWhatTheServersAgreeOn(t *testing.T) {
	t.Parallel()
	config := `{"synchronous_mode": true, "synchronous_mode_strict": true, "synchronous_node_count": 2, "ttl": 20}`
	client, clients := setup(append(objects(),
		agreement(contract.MembersLeader, map[string]string{"leader": "db-1"}),
		agreement(contract.MembersSync, map[string]string{"leader": "db-1", "sync_standby": "db-0, db-2"}),
		agreement(contract.MembersConfig, map[string]string{"config": config}))...)
	observed, err := client.Observe(t.Context(), severalObjects)
	require.NoError(t, err)
	require.Equal(t, &kubernetes.Agreement{Leader: "db-1", SyncLeader: "db-1", Standbys: []string{"db-0", "db-2"}, Synchronous: true, Strict: true, Count: 2}, observed.Agreement)
	require.Equal(t, []string{"db-1", "db-0", "db-2"}, observed.Agreement.Trusted())

	// What may not be read is no error.
	clients.PrependReactor("get", "configmaps", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(corev1.Resource("configmaps"), "", errors.New("no"))
	})
	observed, err = client.Observe(t.Context(), severalObjects)
	require.NoError(t, err)
	require.Len(t, observed.Agreement.Unseen, 3)
	require.False(t, observed.Agreement.Knows(contract.MembersSync))

	client, _ = setup(append(objects(), agreement(contract.MembersConfig, map[string]string{"config": "{"}))...)
	observed, err = client.Observe(t.Context(), severalObjects)
	require.NoError(t, err)
	require.Equal(t, []string{contract.MembersLeader, contract.MembersSync}, observed.Agreement.Missing)
	require.Contains(t, observed.Agreement.Wrong, contract.MembersConfig)
	require.Nil(t, observed.Agreement.Trusted())

	alone := severalObjects
	alone.HighAvailability = false
	observed, err = client.Observe(t.Context(), alone)
	require.NoError(t, err)
	require.Nil(t, observed.Agreement)
}

func TestPrimaryPodIsTheOneThatPatroniSays(t *testing.T) {
	t.Parallel()
	pod := func(name, role string, ready corev1.ConditionStatus) corev1.Pod {
		made := corev1.Pod{ObjectMeta: meta(name), Status: corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: ready}}}}
		made.Labels = map[string]string{contract.LabelRole: role}
		return made
	}
	observed := &kubernetes.Observation{Objects: severalObjects, Pods: []corev1.Pod{
		pod("db-0", contract.RoleReplica, corev1.ConditionTrue), pod("db-1", contract.RolePrimary, corev1.ConditionFalse), pod("db-2", contract.RolePrimary, corev1.ConditionTrue),
	}}
	require.Equal(t, "db-2", observed.PrimaryPod().Name)
	observed.Pods = observed.Pods[:2]
	require.Nil(t, observed.PrimaryPod(), "a standby is not taken for the primary")
	observed.Objects.HighAvailability = false
	require.Equal(t, "db-0", observed.PrimaryPod().Name)
}

func TestEndpointsAreNamedByTheirPods(t *testing.T) {
	t.Parallel()
	not := false
	observed := &kubernetes.Observation{Pods: []corev1.Pod{{ObjectMeta: meta("db-1"), Status: corev1.PodStatus{PodIP: "10.1.0.1"}}}, Slices: map[string][]discoveryv1.EndpointSlice{"db": {
		{Endpoints: []discoveryv1.Endpoint{
			{Addresses: []string{"10.1.0.9"}, TargetRef: &corev1.ObjectReference{Kind: "Pod", Name: "db-9"}},
			{Addresses: []string{"10.1.0.1"}}, {Addresses: []string{"10.1.0.7"}},
			{Addresses: []string{"10.1.0.3"}, Conditions: discoveryv1.EndpointConditions{Ready: &not}},
		}},
		{Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"fd00::9"}, TargetRef: &corev1.ObjectReference{Kind: "Pod", Name: "db-9"}}}},
	}}}
	require.Equal(t, []string{"10.1.0.7", "db-1", "db-9"}, observed.EndpointPods("db"))
}

// The Services of several servers select by a label that the template does not have.
func TestDiscoverFindsSeveralServers(t *testing.T) {
	t.Parallel()
	list := objects()
	list[0].(*appsv1.StatefulSet).Spec.Template.Labels = map[string]string{"app": "db", contract.LabelMembers: contract.MembersScope}
	for _, object := range list {
		if service, is := object.(*corev1.Service); is && service.Name == "db" {
			service.Spec.Selector = map[string]string{"app": "db", contract.LabelRole: contract.RolePrimary}
		}
	}
	client, _ := setup(append(list, &corev1.Service{ObjectMeta: meta("db-replicas"), Spec: corev1.ServiceSpec{ClusterIP: "10.0.0.3",
		Selector: map[string]string{"app": "db", contract.LabelRole: contract.RoleReplica}}})...)
	found, err := client.Discover(t.Context(), namespace, "")
	require.NoError(t, err)
	expected := severalObjects
	expected.Headless = "db-headless"
	require.Equal(t, expected, found.Objects)
}
