package components

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
)

func TestWhatAnUpdateWaitsForIsNamed(t *testing.T) {
	t.Parallel()
	now := time.Now()
	pod := func(name, label string, status corev1.PodStatus) *corev1.Pod {
		return &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "shop", Labels: map[string]string{"app.kubernetes.io/name": label}},
			Status:     status,
		}
	}
	unscheduled := corev1.PodStatus{Conditions: []corev1.PodCondition{
		{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Message: "0/3 nodes are available"},
	}}
	container := func(waiting corev1.ContainerStateWaiting, ended *corev1.ContainerStateTerminated) corev1.PodStatus {
		return corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{
			State: corev1.ContainerState{Waiting: &waiting}, LastTerminationState: corev1.ContainerState{Terminated: ended},
		}}}
	}
	refused := func(age time.Duration) *corev1.Event {
		return &corev1.Event{
			ObjectMeta: metav1.ObjectMeta{Name: "refused", Namespace: "shop"}, Reason: "FailedCreate", Message: "no PriorityClass with name high was found",
			InvolvedObject: corev1.ObjectReference{Kind: "StatefulSet", Name: "postgres"}, LastTimestamp: metav1.NewTime(now.Add(-age)),
		}
	}
	service := func(kind corev1.ServiceType, address ...corev1.LoadBalancerIngress) *corev1.Service {
		return &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Name: "postgres", Namespace: "shop"}, Spec: corev1.ServiceSpec{Type: kind},
			Status: corev1.ServiceStatus{LoadBalancer: corev1.LoadBalancerStatus{Ingress: address}},
		}
	}
	running := pod("postgres-0", "postgres", corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{}}})
	for _, test := range []struct {
		name    string
		objects []runtime.Object
		expect  []string
	}{
		{name: "nothing"},
		{name: "running", objects: []runtime.Object{running, service(corev1.ServiceTypeNodePort)}},
		{
			name: "no node fits the server", objects: []runtime.Object{pod("postgres-0", "postgres", unscheduled)},
			expect: []string{"pod postgres-0 does not start: 0/3 nodes are available"},
		},
		{
			name: "no node fits the check", objects: []runtime.Object{running, pod("postgres-check-x", "postgres-check", unscheduled)},
			expect: []string{"pod postgres-check-x does not start: 0/3 nodes are available"},
		},
		{name: "somebody else's pod", objects: []runtime.Object{pod("shop-0", "shop", unscheduled)}},
		{
			name:    "starting",
			objects: []runtime.Object{pod("postgres-0", "postgres", container(corev1.ContainerStateWaiting{Reason: "ContainerCreating"}, nil))},
		},
		{
			name: "no image",
			objects: []runtime.Object{pod("postgres-0", "postgres",
				container(corev1.ContainerStateWaiting{Reason: "ErrImagePull", Message: "not found"}, nil))},
			expect: []string{"pod postgres-0 does not start: ErrImagePull: not found"},
		},
		{
			name: "ends again and again, and says why",
			objects: []runtime.Object{pod("postgres-0", "postgres", container(corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"},
				&corev1.ContainerStateTerminated{Reason: "Error", ExitCode: 1, Message: "first\nstart: the volume is empty\n"}))},
			expect: []string{"pod postgres-0 does not start: start: the volume is empty"},
		},
		{
			name: "ends again and again, and says nothing",
			objects: []runtime.Object{pod("postgres-0", "postgres", container(corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"},
				&corev1.ContainerStateTerminated{Reason: "OOMKilled", ExitCode: 137}))},
			expect: []string{"pod postgres-0 does not start: OOMKilled with exit code 137"},
		},
		{
			name: "pod refused", objects: []runtime.Object{refused(time.Second)},
			expect: []string{"StatefulSet postgres: no PriorityClass with name high was found"},
		},
		{name: "pod refused by an earlier update", objects: []runtime.Object{refused(time.Hour)}},
		{name: "pod refused, and then not", objects: []runtime.Object{refused(time.Second), running}},
		{
			name: "no address", objects: []runtime.Object{running, service(corev1.ServiceTypeLoadBalancer)},
			expect: []string{"service postgres has no address: no load balancer of the cluster has given it one yet; " +
				"where there is none, use another Service with: pulumi config set serviceType NodePort"},
		},
		{name: "an address", objects: []runtime.Object{running, service(corev1.ServiceTypeLoadBalancer, corev1.LoadBalancerIngress{IP: "192.0.2.7"})}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			reasons, err := waitingFor(context.Background(), fake.NewClientset(test.objects...).CoreV1(), "shop", now)
			require.NoError(t, err)
			require.Equal(t, test.expect, reasons)
		})
	}
}

func TestReasonIsToldOnceAndWhenItLasts(t *testing.T) {
	t.Parallel()
	var told []string
	teller := newTeller(func(reason string) { told = append(told, reason) })
	start := time.Now()
	for i, reasons := range [][]string{
		{"volume"}, {"node"}, {"volume"}, {"volume", "node"}, {"volume", "node"}, {"node"}, {"node"}, {}, {"volume"}, {"volume"}, {"volume"},
	} {
		teller.look(start.Add(time.Duration(i)*waitingInterval), reasons)
	}
	require.Equal(t, []string{"volume", "node"}, told)
}
