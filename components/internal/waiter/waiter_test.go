package waiter

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"stateful-postgres/components/problem"
)

// now is when everything is looked at.
var now = time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)

func ago(age time.Duration) metav1.Time { return metav1.NewTime(now.Add(-age)) }

func ptr[T any](value T) *T { return &value }

// pod has its name for a UID.
func pod(name, label string, status corev1.PodStatus) corev1.Pod {
	return corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: "shop", UID: types.UID(name), Labels: map[string]string{"app.kubernetes.io/name": label},
			OwnerReferences: []metav1.OwnerReference{{Kind: "Job", UID: "job", Controller: ptr(true)}},
		},
		Status: status,
	}
}

func server(status corev1.PodStatus) corev1.Pod { return pod("postgres-0", "postgres", status) }

// check is the pod of a Job, which starts its containers once.
func check(status corev1.PodStatus) corev1.Pod {
	made := pod("postgres-check-x7k2p", "postgres-check", status)
	made.Spec.RestartPolicy = corev1.RestartPolicyNever
	return made
}

func containers(states ...corev1.ContainerStatus) corev1.PodStatus {
	return corev1.PodStatus{Phase: corev1.PodPending, ContainerStatuses: states}
}

func waiting(reason, message string) corev1.ContainerStatus {
	return corev1.ContainerStatus{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}}
}

// crashing is a container that has ended again and again.
func crashing(ended corev1.ContainerStateTerminated) corev1.ContainerStatus {
	status := waiting("CrashLoopBackOff", "back-off 10s restarting failed container")
	status.LastTerminationState.Terminated = &ended
	return status
}

func said(message string) corev1.ContainerStatus {
	return crashing(corev1.ContainerStateTerminated{Reason: "Error", ExitCode: 1, Message: message})
}

// running is the server's container since a minute ago.
func running(ready bool) corev1.ContainerStatus {
	return corev1.ContainerStatus{
		Name: "postgres", Ready: ready, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: ago(time.Minute)}},
	}
}

func event(kind, name, uid, reason string, age time.Duration, message string) corev1.Event {
	return corev1.Event{
		Type: corev1.EventTypeWarning, Reason: reason, Message: message, LastTimestamp: ago(age),
		InvolvedObject: corev1.ObjectReference{Kind: kind, Name: name, UID: types.UID(uid)},
	}
}

func unhealthy(age time.Duration, message string) corev1.Event {
	made := event("Pod", "postgres-0", "postgres-0", "Unhealthy", age, message)
	made.InvolvedObject.FieldPath = "spec.containers{postgres}"
	return made
}

func refused(age time.Duration) corev1.Event {
	return event("StatefulSet", "postgres", "", "FailedCreate", age, "no PriorityClass with name high was found")
}

func claim(class string) corev1.PersistentVolumeClaim {
	return corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: "postgredb-postgres-0", UID: "claim"},
		Spec:       corev1.PersistentVolumeClaimSpec{StorageClassName: &class},
		Status:     corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimPending},
	}
}

func service(kind corev1.ServiceType, address ...corev1.LoadBalancerIngress) corev1.Service {
	return corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "postgres", Namespace: "shop"}, Spec: corev1.ServiceSpec{Type: kind},
		Status: corev1.ServiceStatus{LoadBalancer: corev1.LoadBalancerStatus{Ingress: address}},
	}
}

func TestWhatAnUpdateWaitsForIsNamed(t *testing.T) {
	t.Parallel()
	unscheduled := corev1.PodStatus{Phase: corev1.PodPending, Conditions: []corev1.PodCondition{
		{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Message: "0/3 nodes are available"},
	}}
	ready := server(corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{running(true)}})
	notReady := server(corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{running(false)}})
	stopping := ready
	stopping.DeletionTimestamp = &metav1.Time{Time: now.Add(time.Minute)}
	overdue := ready
	overdue.DeletionTimestamp, overdue.Spec.NodeName = ptr(ago(time.Minute)), "node-1"
	job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "postgres-check", UID: "job"}}
	quota := func(uid string, age time.Duration) corev1.Event {
		return event("Job", "postgres-check", uid, "FailedCreate", age,
			`Error creating: pods "postgres-check-x7k2p" is forbidden: exceeded quota: small`)
	}
	for _, test := range []struct {
		name     string
		seen     Seen
		replicas int
		expect   []string
	}{
		{name: "nothing"},
		{name: "running", seen: Seen{Pods: []corev1.Pod{ready}, Services: []corev1.Service{service(corev1.ServiceTypeNodePort)}}},
		{
			name: "no node fits the server", seen: Seen{Pods: []corev1.Pod{server(unscheduled)}},
			expect: []string{"pod postgres-0 does not start: 0/3 nodes are available"},
		},
		{
			name: "no node fits the check", seen: Seen{Pods: []corev1.Pod{ready, check(unscheduled)}},
			expect: []string{"pod postgres-check-x7k2p does not start: 0/3 nodes are available"},
		},
		{name: "somebody else's pod", seen: Seen{Pods: []corev1.Pod{pod("shop-0", "shop", unscheduled)}}},
		{name: "starting", seen: Seen{Pods: []corev1.Pod{server(containers(waiting("ContainerCreating", "")))}}},
		{
			name: "no volume on its node", seen: Seen{
				Pods: []corev1.Pod{server(containers(waiting("ContainerCreating", "")))},
				Events: []corev1.Event{
					event("Pod", "postgres-0", "postgres-0", "FailedMount", 3*time.Second, "MountVolume.SetUp failed"),
					event("Pod", "postgres-0", "postgres-0", "FailedAttachVolume", time.Second, "Multi-Attach error for volume \"pv-1\"\nVolume is used by pod(s) other-0"),
					event("Pod", "postgres-0", "an earlier one", "FailedMount", 0, "no such Secret"),
				},
			},
			expect: []string{`pod postgres-0 does not start: Multi-Attach error for volume "pv-1" Volume is used by pod(s) other-0`},
		},
		{
			name: "no image", seen: Seen{Pods: []corev1.Pod{server(containers(waiting("ErrImagePull", "not found")))}},
			expect: []string{"pod postgres-0 does not start: ErrImagePull: not found"},
		},
		{
			name: "init container", seen: Seen{Pods: []corev1.Pod{server(corev1.PodStatus{
				InitContainerStatuses: []corev1.ContainerStatus{said("owner: the volume cannot be given to user 999\n")},
				ContainerStatuses:     []corev1.ContainerStatus{waiting("PodInitializing", "")},
			})}},
			expect: []string{"pod postgres-0 does not start: owner: the volume cannot be given to user 999"},
		},
		{
			name: "ends again and again, and says why", seen: Seen{Pods: []corev1.Pod{server(containers(said("first\nstart: the volume is empty\n")))}},
			expect: []string{"pod postgres-0 does not start: start: the volume is empty"},
		},
		{
			name: "a server that cannot start", seen: Seen{Pods: []corev1.Pod{server(containers(said(
				"2026-01-02 15:04:00.123 UTC [1] LOG:  starting PostgreSQL 15\n" +
					"2026-01-02 15:04:00.200 UTC [30] FATAL:  the database system is starting up\n" +
					"2026-01-02 15:04:00.245 UTC [1] FATAL:  could not load library \"x.so\": no such file\n" +
					"2026-01-02 15:04:00.250 UTC [1] LOG:  database system is shut down\n")))}},
			expect: []string{`pod postgres-0 does not start: FATAL: could not load library "x.so": no such file`},
		},
		{
			name: "a server with damaged data", seen: Seen{Pods: []corev1.Pod{server(containers(said(
				"LOG:  invalid checkpoint record\nPANIC:  could not locate a valid checkpoint record\n" +
					"LOG:  startup process (PID 28) was terminated by signal 6: Aborted\nLOG:  aborting startup due to startup process failure\n" +
					"LOG:  database system is shut down\n")))}},
			expect: []string{"pod postgres-0 does not start: PANIC: could not locate a valid checkpoint record"},
		},
		{
			name: "ends again and again, and says nothing", seen: Seen{Pods: []corev1.Pod{server(containers(
				crashing(corev1.ContainerStateTerminated{Reason: "OOMKilled", ExitCode: 137})))}},
			expect: []string{"pod postgres-0 does not start: OOMKilled with exit code 137"},
		},
		{
			name: "has just ended", seen: Seen{Pods: []corev1.Pod{server(containers(corev1.ContainerStatus{
				State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 1, Message: "FATAL:  no"}},
			}))}},
			expect: []string{"pod postgres-0 does not start: FATAL: no"},
		},
		{
			name: "evicted", seen: Seen{Pods: []corev1.Pod{server(corev1.PodStatus{Phase: corev1.PodFailed, Reason: "Evicted", Message: "low on memory"})}},
			expect: []string{"pod postgres-0 has ended: Evicted: low on memory"},
		},
		{name: "check that refuses", seen: Seen{Pods: []corev1.Pod{ready, check(corev1.PodStatus{Phase: corev1.PodFailed})}}},
		{name: "check that has passed", seen: Seen{Pods: []corev1.Pod{ready, check(corev1.PodStatus{Phase: corev1.PodSucceeded})}}},
		{
			name: "check with something beside it", seen: Seen{Pods: []corev1.Pod{check(corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{
				{Name: "check", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{}}},
				{Name: "istio-proxy", Ready: true, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}},
			}})}},
			expect: []string{"pod postgres-check-x7k2p does not end: the check has, and container istio-proxy, which something put beside it, runs on; " +
				`podAnnotations can keep it away, as sidecar.istio.io/inject: "false" does with Istio's`},
		},
		{
			name: "runs, and its probe says why it is not ready", seen: Seen{Pods: []corev1.Pod{notReady}, Events: []corev1.Event{
				unhealthy(time.Hour, "Startup probe failed: of the container before"),
				unhealthy(20*time.Second, "Startup probe failed: no response"),
				unhealthy(time.Second, "Startup probe failed: waiting for the volume:\npod postgres-0 lives on it\n"),
				event("Pod", "postgres-0", "postgres-0", "BackOff", 0, "something else"),
			}},
			expect: []string{"pod postgres-0 runs, but is not ready: waiting for the volume: pod postgres-0 lives on it"},
		},
		{
			name: "runs, and its probe says nothing", seen: Seen{Pods: []corev1.Pod{notReady}, Events: []corev1.Event{unhealthy(time.Second, "Startup probe failed: ")}},
			expect: []string{"pod postgres-0 runs, but is not ready: its startup probe fails and does not say why"},
		},
		{
			name: "runs, and its probe does not end", seen: Seen{Pods: []corev1.Pod{notReady}, Events: []corev1.Event{
				unhealthy(time.Second, "Startup probe errored: command timed out"),
			}},
			expect: []string{"pod postgres-0 runs, but is not ready: Startup probe errored: command timed out"},
		},
		{name: "runs, and no probe has failed yet", seen: Seen{Pods: []corev1.Pod{notReady}}},
		{name: "ready after all", seen: Seen{Pods: []corev1.Pod{ready}, Events: []corev1.Event{unhealthy(time.Second, "Startup probe failed: no response")}}},
		{name: "stopping", seen: Seen{Pods: []corev1.Pod{stopping}}},
		{
			name: "stopped, for all that is known", seen: Seen{Pods: []corev1.Pod{overdue}},
			expect: []string{"pod postgres-0 does not end: it should have by 15:03:05, and node node-1 has not said that it has"},
		},
		{
			name: "pod refused", replicas: 1, seen: Seen{Events: []corev1.Event{refused(time.Second)}},
			expect: []string{"StatefulSet postgres: no PriorityClass with name high was found"},
		},
		{
			name: "pod refused a while ago", replicas: 1, seen: Seen{Events: []corev1.Event{refused(3 * time.Minute)}},
			expect: []string{"StatefulSet postgres: no PriorityClass with name high was found (it tried at 15:01:05 UTC)"},
		},
		{name: "pod refused by an earlier update", replicas: 1, seen: Seen{Events: []corev1.Event{refused(time.Hour)}}},
		{name: "pod refused, and then not", replicas: 1, seen: Seen{Events: []corev1.Event{refused(time.Second)}, Pods: []corev1.Pod{ready}}},
		{name: "pod refused, and then not wanted", seen: Seen{Events: []corev1.Event{refused(time.Second)}}},
		{
			name: "check refused while the server runs", replicas: 1,
			seen:   Seen{Check: job, Pods: []corev1.Pod{ready}, Events: []corev1.Event{quota("job", 2*time.Second), quota("job", time.Second)}},
			expect: []string{`Job postgres-check: Error creating: pods "postgres-check" is forbidden: exceeded quota: small`},
		},
		{name: "check refused, and then not", seen: Seen{Check: job, Pods: []corev1.Pod{check(corev1.PodStatus{})}, Events: []corev1.Event{quota("job", time.Second)}}},
		{name: "check of an earlier update refused", seen: Seen{Check: job, Events: []corev1.Event{quota("an earlier one", time.Second)}}},
		{
			name: "claim of a class that is not there", seen: Seen{
				Claims: []corev1.PersistentVolumeClaim{claim("fats")},
				Events: []corev1.Event{event("PersistentVolumeClaim", "postgredb-postgres-0", "claim", "ProvisioningFailed", time.Second, `storageclass.storage.k8s.io "fats" not found`)},
			},
			expect: []string{`claim postgredb-postgres-0 has no volume: storageclass.storage.k8s.io "fats" not found; ` +
				"list the classes with: kubectl get storageclass, and choose another with: pulumi config set storageClass"},
		},
		{
			name: "claim whose volume cannot be made", seen: Seen{
				Claims: []corev1.PersistentVolumeClaim{claim("fast")},
				Events: []corev1.Event{event("PersistentVolumeClaim", "postgredb-postgres-0", "claim", "ProvisioningFailed", time.Second, "quota of the cloud exceeded")},
			},
			expect: []string{"claim postgredb-postgres-0 has no volume: quota of the cloud exceeded"},
		},
		{
			name: "claim that waits for its first pod", seen: Seen{
				Claims: []corev1.PersistentVolumeClaim{claim("fast")},
				Events: []corev1.Event{{
					Type: corev1.EventTypeNormal, Reason: "WaitForFirstConsumer", LastTimestamp: ago(0), InvolvedObject: corev1.ObjectReference{UID: "claim"},
				}},
			},
		},
		{
			name: "namespace that does not go", seen: Seen{Namespace: &corev1.Namespace{
				ObjectMeta: metav1.ObjectMeta{Name: "shop", DeletionTimestamp: &metav1.Time{Time: now}},
				Status: corev1.NamespaceStatus{Conditions: []corev1.NamespaceCondition{
					{Type: corev1.NamespaceDeletionDiscoveryFailure, Status: corev1.ConditionFalse, Message: "All resources successfully discovered"},
					{Type: corev1.NamespaceFinalizersRemaining, Status: corev1.ConditionTrue, Message: "Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances"},
				}},
			}},
			expect: []string{"namespace shop is being deleted: Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances"},
		},
		{
			name: "no address", seen: Seen{Pods: []corev1.Pod{ready}, Services: []corev1.Service{service(corev1.ServiceTypeLoadBalancer)}},
			expect: []string{"service postgres has no address: no load balancer of the cluster has given it one yet; " +
				"where there is none, use another Service with: pulumi config set serviceType NodePort"},
		},
		{name: "an address", seen: Seen{Pods: []corev1.Pod{ready}, Services: []corev1.Service{service(corev1.ServiceTypeLoadBalancer, corev1.LoadBalancerIngress{IP: "192.0.2.7"})}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var texts []string
			for _, reason := range Reasons(test.seen, test.replicas, now, problem.CommandLine) {
				require.NotEmpty(t, reason.Subject)
				texts = append(texts, reason.Text)
			}
			require.Equal(t, test.expect, texts)
			for _, reason := range Reasons(test.seen, test.replicas, now, problem.Program) {
				require.NotContains(t, reason.Text, "pulumi config", "in a program it would change nothing")
			}
		})
	}
}

func TestWhatMayNotBeReadIsLeftOut(t *testing.T) {
	t.Parallel()
	made := claim("fast")
	made.Namespace = "shop"
	namespace := corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}
	ready := server(corev1.PodStatus{})
	client := fake.NewClientset(&made, &namespace, &ready)
	clients := Clients{Core: client.CoreV1(), Batch: client.BatchV1()}
	seen, err := Look(context.Background(), clients, "shop")
	require.NoError(t, err)
	require.Equal(t, []any{"shop", 1, 1}, []any{seen.Namespace.Name, len(seen.Pods), len(seen.Claims)})
	require.Nil(t, seen.Check, "there is none")

	answer := func(resource string, err error) {
		client.PrependReactor("*", resource, func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, err })
	}
	answer("namespaces", apierrors.NewForbidden(schema.GroupResource{Resource: "namespaces"}, "shop", nil))
	answer("jobs", apierrors.NewForbidden(schema.GroupResource{Resource: "jobs"}, "postgres-check", nil))
	seen, err = Look(context.Background(), clients, "shop")
	require.NoError(t, err)
	require.Nil(t, seen.Namespace)
	require.Len(t, seen.Pods, 1)

	answer("pods", apierrors.NewServiceUnavailable("down"))
	_, err = Look(context.Background(), clients, "shop")
	require.ErrorContains(t, err, "down")
}

func TestReasonIsReportedOnceAndWhenItLasts(t *testing.T) {
	t.Parallel()
	volume, node := Reason{"claim", "no volume"}, Reason{"pod", "no node"}
	type look struct {
		after   time.Duration
		reasons []Reason
	}
	var reported []string
	lasting := newLasting(func(text string) { reported = append(reported, text) })
	for _, look := range []look{
		{0, []Reason{volume}},
		{5 * time.Second, []Reason{node}},
		{10 * time.Second, []Reason{volume}},
		{15 * time.Second, []Reason{volume, node}},
		{20 * time.Second, []Reason{volume, node}},
		{25 * time.Second, []Reason{node}},
		{30 * time.Second, []Reason{node}},
		{35 * time.Second, nil},
		{40 * time.Second, []Reason{volume}},
		{60 * time.Second, []Reason{volume}},
	} {
		lasting.see(now.Add(look.after), look.reasons)
	}
	require.Equal(t, []string{"no volume", "no node"}, reported)
}

func TestReasonThatChangesIsReportedNowAndThen(t *testing.T) {
	t.Parallel()
	var reported []string
	lasting := newLasting(func(text string) { reported = append(reported, text) })
	for second := range 31 {
		text := strconv.Itoa(second)
		lasting.see(now.Add(time.Duration(second)*time.Second), []Reason{{"pod", text}})
	}
	require.Equal(t, []string{"10", "20", "30"}, reported)
}

func TestReasonIsReportedWithinFifteenSeconds(t *testing.T) {
	t.Parallel()
	require.LessOrEqual(t, patience+2*interval, 15*time.Second)
}
