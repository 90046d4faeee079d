package check_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"

	"stateful-postgres/verify/internal/check"
	"stateful-postgres/verify/internal/kubernetes"
	"stateful-postgres/verify/internal/pgtest"
	"stateful-postgres/verify/internal/report"
	"stateful-postgres/verify/internal/server"
)

// world is a fake cluster whose node is this machine and whose node port is a real server's.
type world struct {
	set    *appsv1.StatefulSet
	pod    *corev1.Pod
	slice  *discoveryv1.EndpointSlice
	claim  *corev1.PersistentVolumeClaim
	volume *corev1.PersistentVolume
	// namespace and system are nil where the user may not see them.
	namespace, system *corev1.Namespace
	// serviceDeleted is since when the Service is being deleted.
	serviceDeleted *metav1.Time
	// nodes are the addresses of the nodes.
	nodes []string
	port  int32
	dsn   string
	// forward forwards the server's port; nil is not possible.
	forward func(ctx context.Context, pod *corev1.Pod, port int) (string, error)
}

func newWorld(t *testing.T) *world {
	t.Helper()
	shared := pgtest.Shared(t)
	one := int32(1)
	named := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Name: name, Namespace: "ns"} }
	w := &world{port: int32(shared.Port), dsn: shared.CreateDatabase(t), nodes: []string{"127.0.0.1"}}
	w.namespace = &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "ns", UID: "namespace-uid"}}
	w.system = &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "kube-system", UID: "cluster-uid"}}
	w.set = &appsv1.StatefulSet{ObjectMeta: named("postgres"), Spec: appsv1.StatefulSetSpec{Replicas: &one}, Status: appsv1.StatefulSetStatus{Replicas: 1, ReadyReplicas: 1}}
	w.pod = &corev1.Pod{ObjectMeta: named("postgres-0"), Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "postgres"}}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}}}
	w.pod.OwnerReferences = []metav1.OwnerReference{{Kind: "StatefulSet", Name: "postgres"}}
	w.slice = &discoveryv1.EndpointSlice{ObjectMeta: named("postgres-abc"), Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"10.1.0.1"}}}}
	w.slice.Labels = map[string]string{discoveryv1.LabelServiceName: "postgres"}
	w.claim = &corev1.PersistentVolumeClaim{ObjectMeta: named("postgredb-postgres-0"), Spec: corev1.PersistentVolumeClaimSpec{VolumeName: "pv-1"},
		Status: corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimBound}}
	w.claim.UID = "claim-uid"
	w.volume = &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pv-1"}, Status: corev1.PersistentVolumeStatus{Phase: corev1.VolumeBound},
		Spec: corev1.PersistentVolumeSpec{ClaimRef: &corev1.ObjectReference{Name: "postgredb-postgres-0", UID: "claim-uid"}}}
	return w
}

// scaleToZero leaves what a scale to 0 leaves. Nobody listens on the node port it moves to.
func (w *world) scaleToZero() {
	zero := int32(0)
	w.set.Spec.Replicas, w.set.Status = &zero, appsv1.StatefulSetStatus{}
	w.pod, w.slice, w.port = nil, nil, 1
}

func (w *world) look(t *testing.T, witness *witness, desired int, deadline time.Duration) *report.Report {
	t.Helper()
	list := []runtime.Object{
		&corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "postgres", Namespace: "ns", DeletionTimestamp: w.serviceDeleted, Finalizers: []string{"x"}}, Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeNodePort, Ports: []corev1.ServicePort{{Port: 5432, NodePort: w.port}}}},
	}
	for i, address := range w.nodes {
		list = append(list, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("node-%d", i)}, Status: corev1.NodeStatus{
			Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: address}}}})
	}
	if w.namespace != nil {
		list = append(list, w.namespace)
	}
	if w.system != nil {
		list = append(list, w.system)
	}
	if w.set != nil {
		list = append(list, w.set)
	}
	if w.pod != nil {
		list = append(list, w.pod)
	}
	if w.slice != nil {
		list = append(list, w.slice)
	}
	if w.claim != nil {
		list = append(list, w.claim)
	}
	if w.volume != nil {
		list = append(list, w.volume)
	}
	clients := fake.NewClientset(list...)
	parsed, err := pgx.ParseConfig(w.dsn)
	require.NoError(t, err)
	witness.subject = check.Subject{
		Cluster: &kubernetes.Cluster{Core: clients.CoreV1(), Apps: clients.AppsV1(), Discovery: clients.DiscoveryV1(), ForwardPort: w.forward},
		Objects: kubernetes.Objects{Namespace: "ns", StatefulSet: "postgres", Service: "postgres", Headless: "postgres-headless", Claim: "postgredb-postgres-0"},
		Desired: &desired,
		Via:     kubernetes.ViaAuto,
		Port:    5432,
		Config: func(addresses []string) (*pgx.ConnConfig, error) {
			return server.Config(addresses, parsed.Database, parsed.User, "unused", nil)
		},
	}
	return witness.lookWithin(deadline)
}

func TestScaleToZeroAndBackIsProven(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	witness := newWitness(t, w.dsn)
	up := w.look(t, witness, 1, 30*time.Second)
	require.Equal(t, report.ExitProven, up.ExitCode, up.Summary)
	requireCheck(t, up, "StatefulSet", report.Passed, "1 of 1 replicas ready")
	requireCheck(t, up, "claim", report.Passed, "recorded from now on")
	requireCheck(t, up, "connection", report.Passed, "nodeport 127.0.0.1")
	require.Equal(t, "nodeport", up.Target.Via)

	before := *w
	w.scaleToZero()
	down := w.look(t, witness, 0, 30*time.Second)
	require.Equal(t, report.ExitProven, down.ExitCode, down.Summary)
	for name, detail := range map[string]string{
		"StatefulSet": "0 replicas asked for, 0 there", "pods": "none", "endpoints": "none of postgres and postgres-headless",
		"claim": "UID and volume as recorded", "unreachable": "connection refused",
	} {
		requireCheck(t, down, name, report.Passed, detail)
	}
	require.Contains(t, down.Summary, "10 acknowledged rows is kept")

	one := int32(1)
	*w = before
	w.set.Spec.Replicas = &one
	w.set.Status = appsv1.StatefulSetStatus{Replicas: 1, ReadyReplicas: 1}
	again := w.look(t, witness, 1, 30*time.Second)
	require.Equal(t, report.ExitProven, again.ExitCode, again.Summary)
	requireCheck(t, again, "earlier rows", report.Passed, "10 acknowledged rows")
}

func TestDownWithoutAnyRowSaysSo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.scaleToZero()
	r := w.look(t, newWitness(t, w.dsn), 0, 30*time.Second)
	require.Equal(t, report.ExitProven, r.ExitCode)
	require.Contains(t, r.Summary, "nothing is proven about rows")
	requireCheck(t, r, "claim", report.Warning, "nothing was recorded of it before")
}

func TestWhatIsNotDownIsFoundOut(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change   func(*world)
		check    string
		status   report.Status
		detail   string
		exitCode int
	}{
		"a server answers":                    {func(w *world) { w.port = int32(pgPort(w)) }, "unreachable", report.Violated, "answered with", report.ExitViolated},
		"a pod is left":                       {func(w *world) { w.pod = newPod() }, "pods", report.Unknown, "pod postgres-0", report.ExitDeadline},
		"an endpoint is left":                 {func(w *world) { w.slice = newSlice() }, "endpoints", report.Unknown, "1 ready endpoint", report.ExitDeadline},
		"the claim is gone":                   {func(w *world) { w.claim = nil }, "claim", report.Violated, "is gone", report.ExitViolated},
		"another claim":                       {func(w *world) { w.claim.UID = "other"; w.volume.Spec.ClaimRef.UID = "other" }, "claim", report.Violated, "another one than before", report.ExitViolated},
		"another volume":                      {func(w *world) { w.claim.Spec.VolumeName = "pv-2"; w.volume.Name = "pv-2" }, "claim", report.Violated, `has the volume "pv-2"`, report.ExitViolated},
		"the claim is lost":                   {func(w *world) { w.claim.Status.Phase = corev1.ClaimLost }, "claim", report.Violated, "is Lost, expected Bound", report.ExitViolated},
		"the claim is pending":                {func(w *world) { w.claim.Status.Phase = corev1.ClaimPending }, "claim", report.Violated, "is Pending, expected Bound", report.ExitViolated},
		"the volume is gone":                  {func(w *world) { w.volume = nil }, "volume", report.Violated, "does not exist", report.ExitViolated},
		"the volume is free":                  {func(w *world) { w.volume.Status.Phase = corev1.VolumeReleased }, "volume", report.Violated, "is Released", report.ExitViolated},
		"the volume belongs to another claim": {func(w *world) { w.volume.Spec.ClaimRef.UID = types.UID("stranger") }, "volume", report.Violated, "stranger", report.ExitViolated},
		"scaled up behind Pulumi's back": {func(w *world) {
			one := int32(1)
			w.set.Spec.Replicas, w.set.Status.Replicas, w.port = &one, 1, int32(pgPort(w))
		}, "StatefulSet", report.Violated, "behind Pulumi's back: the stack says 0, the cluster 1", report.ExitViolated},
		"the StatefulSet is gone": {func(w *world) { w.set = nil }, "StatefulSet", report.Unknown, "does not exist", report.ExitUnknown},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			witness := newWitness(t, w.dsn)
			require.Equal(t, report.ExitProven, w.look(t, witness, 1, 30*time.Second).ExitCode)
			w.scaleToZero()
			test.change(w)
			deadline := 30 * time.Second
			if test.exitCode == report.ExitDeadline {
				deadline = 500 * time.Millisecond
			}
			r := w.look(t, witness, 0, deadline)
			requireCheck(t, r, test.check, test.status, test.detail)
			require.Equal(t, test.exitCode, r.ExitCode)
		})
	}
}

func pgPort(w *world) uint16 {
	config, err := pgx.ParseConfig(w.dsn)
	if err != nil {
		panic(err)
	}
	return config.Port
}

func newPod() *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "postgres-0", Namespace: "ns", OwnerReferences: []metav1.OwnerReference{{Kind: "StatefulSet", Name: "postgres"}}}}
}

func newSlice() *discoveryv1.EndpointSlice {
	return &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Name: "x", Namespace: "ns", Labels: map[string]string{discoveryv1.LabelServiceName: "postgres"}},
		Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"10.1.0.9"}}}}
}

func TestScaledDownBehindPulumisBackIsNoLoss(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.scaleToZero()
	r := w.look(t, newWitness(t, w.dsn), 1, 30*time.Second)
	require.Equal(t, report.ExitUnknown, r.ExitCode)
	c := requireCheck(t, r, "StatefulSet", report.Unknown, "the stack says 1, the cluster 0")
	require.Contains(t, c.Hint, "pulumi up --refresh")
}

func TestPodThatDoesNotStartIsNamedAtTheDeadline(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.pod.Status = corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{Name: "postgres", State: corev1.ContainerState{
		Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff"}}}}}
	r := w.look(t, newWitness(t, w.dsn), 1, 500*time.Millisecond)
	require.Equal(t, report.ExitDeadline, r.ExitCode)
	requireCheck(t, r, "pod", report.Unknown, "ImagePullBackOff")
}
