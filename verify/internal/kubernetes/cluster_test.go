package kubernetes_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"stateful-postgres/internal/kubeconfig"
	"stateful-postgres/verify/internal/kubernetes"
)

const namespace = "shop"

func meta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, Namespace: namespace}
}

// objects are those of one running server, as somebody else might have deployed it.
func objects() []runtime.Object {
	replicas, ready, notReady := int32(1), true, false
	labels := map[string]string{"app": "db"}
	set := &appsv1.StatefulSet{ObjectMeta: meta("db"), Spec: appsv1.StatefulSetSpec{
		Replicas: &replicas, ServiceName: "db-headless",
		Selector: &metav1.LabelSelector{MatchLabels: labels},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{
			Containers: []corev1.Container{{Name: "exporter", Image: "metrics:1"}, {
				Name: "postgres", Image: "postgres:17",
				Ports:   []corev1.ContainerPort{{ContainerPort: 5433}},
				EnvFrom: []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "conf"}}}},
				Env: []corev1.EnvVar{
					{Name: "POSTGRES_USER", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "creds"}, Key: "user"}}},
					{Name: "POSTGRES_PASSWORD_FILE", Value: "/run/secrets/pg/pw"},
				},
				VolumeMounts: []corev1.VolumeMount{{Name: "creds", MountPath: "/run/secrets/pg"}},
			}},
			Volumes: []corev1.Volume{{Name: "creds", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{
				SecretName: "creds", Items: []corev1.KeyToPath{{Key: "password", Path: "pw"}}}}}},
		}},
		VolumeClaimTemplates: []corev1.PersistentVolumeClaim{{ObjectMeta: metav1.ObjectMeta{Name: "data"}}},
	}}
	pod := &corev1.Pod{ObjectMeta: meta("db-0"), Status: corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}}}
	pod.OwnerReferences = []metav1.OwnerReference{{Kind: "StatefulSet", Name: "db"}}
	stranger := &corev1.Pod{ObjectMeta: meta("db-client")}
	stranger.Labels = labels
	slice := &discoveryv1.EndpointSlice{ObjectMeta: meta("db-abc"), Endpoints: []discoveryv1.Endpoint{
		{Addresses: []string{"10.1.0.1"}}, {Addresses: []string{"10.1.0.2"}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}},
		{Addresses: []string{"10.1.0.3"}, Conditions: discoveryv1.EndpointConditions{Ready: &notReady}},
	}}
	slice.Labels = map[string]string{discoveryv1.LabelServiceName: "db"}
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: meta("data-db-0"), Spec: corev1.PersistentVolumeClaimSpec{VolumeName: "pv-1"}}
	volume := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pv-1"}, Spec: corev1.PersistentVolumeSpec{
		Capacity: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}}}
	node := func(name, address string, status corev1.ConditionStatus) *corev1.Node {
		return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: corev1.NodeStatus{
			Addresses:  []corev1.NodeAddress{{Type: corev1.NodeHostName, Address: name}, {Type: corev1.NodeInternalIP, Address: address}},
			Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: status}},
		}}
	}
	return []runtime.Object{
		set, pod, stranger, slice, claim, volume,
		&corev1.Service{ObjectMeta: meta("db"), Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, ClusterIP: "10.0.0.1", Selector: labels, Ports: []corev1.ServicePort{{Port: 5432, NodePort: 30432}}}},
		&corev1.Service{ObjectMeta: meta("db-headless"), Spec: corev1.ServiceSpec{ClusterIP: corev1.ClusterIPNone, Selector: labels}},
		&corev1.Service{ObjectMeta: meta("web"), Spec: corev1.ServiceSpec{ClusterIP: "10.0.0.2", Selector: map[string]string{"app": "web"}}},
		&corev1.ConfigMap{ObjectMeta: meta("conf"), Data: map[string]string{"POSTGRES_DB": "orders"}},
		&corev1.Secret{ObjectMeta: meta("creds"), Data: map[string][]byte{"user": []byte("shop"), "password": []byte("not-a-real-one")}},
		node("node-1", "10.9.0.1", corev1.ConditionFalse), node("node-2", "10.9.0.2", corev1.ConditionTrue),
	}
}

func setup(objects ...runtime.Object) (*kubernetes.Cluster, *fake.Clientset) {
	clients := fake.NewClientset(objects...)
	return &kubernetes.Cluster{Core: clients.CoreV1(), Apps: clients.AppsV1(), Discovery: clients.DiscoveryV1()}, clients
}

func TestDiscoverFindsAServerSomebodyElseDeployed(t *testing.T) {
	t.Parallel()
	client, _ := setup(objects()...)
	found, err := client.Discover(t.Context(), namespace, "")
	require.NoError(t, err)
	require.Equal(t, &kubernetes.Found{
		Objects: kubernetes.Objects{Namespace: namespace, StatefulSet: "db", Service: "db", Headless: "db-headless", Claim: "data-db-0"},
		Port:    5433, Database: "orders", User: "shop", Password: "not-a-real-one",
	}, found)
}

func TestDiscoverSaysWhatItLacks(t *testing.T) {
	t.Parallel()
	client, _ := setup()
	_, err := client.Discover(t.Context(), namespace, "")
	require.ErrorContains(t, err, "no StatefulSet with a postgres image")
	_, err = client.Discover(t.Context(), namespace, "other")
	require.ErrorContains(t, err, "StatefulSet other")

	second := objects()[0].(*appsv1.StatefulSet).DeepCopy()
	second.Name = "db2"
	client, _ = setup(append(objects(), second)...)
	_, err = client.Discover(t.Context(), namespace, "")
	require.ErrorContains(t, err, "--stateful-set db|db2")
	found, err := client.Discover(t.Context(), namespace, "db2")
	require.NoError(t, err)
	require.Equal(t, "data-db2-0", found.Objects.Claim)
}

func TestObserveSeesAllObjectsOfTheServer(t *testing.T) {
	t.Parallel()
	client, _ := setup(objects()...)
	observed, err := client.Observe(t.Context(), kubernetes.Objects{Namespace: namespace, StatefulSet: "db", Service: "db", Headless: "db-headless", Claim: "data-db-0"})
	require.NoError(t, err)
	require.Equal(t, "db", observed.StatefulSet.Name)
	require.Len(t, observed.Pods, 1, "a pod with the same labels that the StatefulSet does not own is a stranger")
	require.Equal(t, 2, observed.ReadyEndpoints("db"))
	require.Equal(t, 0, observed.ReadyEndpoints("db-headless"))
	require.Equal(t, "pv-1", observed.Claims[0].Volume.Name)
	require.Equal(t, "db-0", observed.PrimaryPod().Name)
}

func TestObserveTellsMissingFromUnseen(t *testing.T) {
	t.Parallel()
	client, _ := setup()
	observed, err := client.Observe(t.Context(), kubernetes.Objects{Namespace: namespace, StatefulSet: "db", Service: "db", Claim: "c"})
	require.NoError(t, err)
	require.Nil(t, observed.StatefulSet)
	require.Nil(t, observed.Claims[0].Object)

	forbidden := apierrors.NewForbidden(corev1.Resource("x"), "", errors.New("no"))
	client, clients := setup(objects()...)
	clients.PrependReactor("get", "persistentvolumes", func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, forbidden })
	observed, err = client.Observe(t.Context(), kubernetes.Objects{Namespace: namespace, StatefulSet: "db", Claim: "data-db-0"})
	require.NoError(t, err, "volumes belong to no namespace: many users may not see them")
	require.NotEmpty(t, observed.Claims[0].VolumeUnseen)

	clients.PrependReactor("list", "pods", func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, forbidden })
	_, err = client.Observe(t.Context(), kubernetes.Objects{Namespace: namespace, StatefulSet: "db", Claim: "data-db-0"})
	require.ErrorContains(t, err, "pods: ")
}

func TestAccessIsByTheAddressesOutside(t *testing.T) {
	t.Parallel()
	service := func(kind corev1.ServiceType, addresses ...corev1.LoadBalancerIngress) *corev1.Service {
		return &corev1.Service{ObjectMeta: meta("db"), Spec: corev1.ServiceSpec{Type: kind, Ports: []corev1.ServicePort{{Port: 5432, NodePort: 30432}}},
			Status: corev1.ServiceStatus{LoadBalancer: corev1.LoadBalancerStatus{Ingress: addresses}}}
	}
	forward := kubernetes.Access{Via: kubernetes.ViaPortForward}
	for name, test := range map[string]struct {
		service  *corev1.Service
		via      string
		expected kubernetes.Access
		problem  string
	}{
		"node port, ready nodes first": {service(corev1.ServiceTypeNodePort), kubernetes.ViaAuto, kubernetes.Access{Via: kubernetes.ViaNodePort, Addresses: []string{"10.9.0.2:30432", "10.9.0.1:30432"}}, ""},
		"cluster IP":                   {service(corev1.ServiceTypeClusterIP), kubernetes.ViaAuto, forward, ""},
		"no service":                   {nil, kubernetes.ViaAuto, forward, ""},
		"forwarding asked for":         {service(corev1.ServiceTypeNodePort), kubernetes.ViaPortForward, forward, ""},
		"load balancer":                {service(corev1.ServiceTypeLoadBalancer, corev1.LoadBalancerIngress{IP: "192.0.2.1"}, corev1.LoadBalancerIngress{Hostname: "db.example.org"}), kubernetes.ViaAuto, kubernetes.Access{Via: kubernetes.ViaLoadBalancer, Addresses: []string{"192.0.2.1:5432", "db.example.org:5432"}}, ""},
		"load balancer pending":        {service(corev1.ServiceTypeLoadBalancer), kubernetes.ViaAuto, forward, ""},
		"load balancer asked for":      {service(corev1.ServiceTypeNodePort), kubernetes.ViaLoadBalancer, kubernetes.Access{}, "no load balancer address"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, _ := setup(objects()...)
			access, err := client.Access(t.Context(), test.service, test.via)
			if test.problem != "" {
				require.ErrorContains(t, err, test.problem)
				return
			}
			require.NoError(t, err)
			require.Equal(t, test.expected, access)
		})
	}
}

func TestDescribePodNamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	now := metav1.Now()
	waiting := func(reason, message string) corev1.PodStatus {
		return corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{Name: "postgres", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}}}}
	}
	crashing := waiting("CrashLoopBackOff", "back-off 40s")
	crashing.ContainerStatuses[0].LastTerminationState.Terminated = &corev1.ContainerStateTerminated{ExitCode: 1}
	for expected, pod := range map[string]*corev1.Pod{
		"pod db-0 is terminating": {ObjectMeta: metav1.ObjectMeta{Name: "db-0", DeletionTimestamp: &now}},
		"pod db-0: container postgres is waiting: ErrImagePull: no such image":                 {ObjectMeta: meta("db-0"), Status: waiting("ErrImagePull", "no such image")},
		"pod db-0: container postgres is waiting: CrashLoopBackOff, it ended with exit code 1": {ObjectMeta: meta("db-0"), Status: crashing},
		"pod db-0 cannot be scheduled: 0/1 nodes": {ObjectMeta: meta("db-0"), Status: corev1.PodStatus{Conditions: []corev1.PodCondition{
			{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Message: "0/1 nodes"}}}},
		"pod db-0 is running and not ready": {ObjectMeta: meta("db-0"), Status: corev1.PodStatus{Phase: corev1.PodRunning}},
	} {
		require.Equal(t, expected, kubernetes.DescribePod(pod))
	}
}

const twoContexts = `apiVersion: v1
kind: Config
current-context: one
clusters: [{name: c1, cluster: {server: "https://127.0.0.1:1"}}, {name: c2, cluster: {server: "https://127.0.0.1:2"}}]
users: [{name: u, user: {token: not-a-real-one}}]
contexts: [{name: one, context: {cluster: c1, user: u}}, {name: two, context: {cluster: c2, user: u, namespace: shop}}]
`

func TestConnectTakesAPathOrAWholeKubeconfig(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "kubeconfig")
	require.NoError(t, os.WriteFile(file, []byte(twoContexts), 0o600))
	for _, given := range []string{file, twoContexts} {
		current, err := kubernetes.Connect(kubeconfig.Source{Kubeconfig: given})
		require.NoError(t, err)
		require.Equal(t, "https://127.0.0.1:1", current.Config.Host)
		other, err := kubernetes.Connect(kubeconfig.Source{Kubeconfig: given, Context: "two"})
		require.NoError(t, err)
		require.Equal(t, "https://127.0.0.1:2", other.Config.Host)
		_, err = kubernetes.Connect(kubeconfig.Source{Kubeconfig: given, Context: "three"})
		require.ErrorContains(t, err, "three")
	}
	_, err := kubernetes.Connect(kubeconfig.Source{Kubeconfig: file + "x"})
	require.ErrorContains(t, err, "kubeconfigx")
	_, err = kubernetes.Connect(kubeconfig.Source{Kubeconfig: "{not yaml\n"})
	require.Error(t, err)
}
