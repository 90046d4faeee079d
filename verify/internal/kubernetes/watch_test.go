package kubernetes_test

import (
	"context"
	"maps"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	coreclient "k8s.io/client-go/kubernetes/typed/core/v1"

	"stateful-postgres/verify/internal/kubernetes"
)

// listed says of the fake that it cannot begin a watch with what there is.
type listed struct{ coreclient.CoreV1Interface }

func (listed) IsWatchListSemanticsUnSupported() bool { return true }

func TestChangesOfPodsAndNodesAreSeen(t *testing.T) {
	t.Parallel()
	clientset := fake.NewClientset(objects()...)
	cluster := &kubernetes.Cluster{Core: listed{clientset.CoreV1()}}
	ctx, cancel := context.WithCancel(t.Context())
	pods, nodes, ended := make(chan map[string]bool, 100), make(chan map[string]bool, 100), make(chan struct{}, 2)
	go func() {
		cluster.WatchPods(ctx, kubernetes.Objects{Namespace: namespace, StatefulSet: "db"}, func(all []*corev1.Pod) {
			seen := map[string]bool{}
			for _, pod := range all {
				seen[pod.Name] = kubernetes.IsReady(pod)
			}
			pods <- seen
		})
		ended <- struct{}{}
	}()
	go func() {
		cluster.WatchNodes(ctx, func(all []*corev1.Node) {
			seen := map[string]bool{}
			for _, node := range all {
				seen[node.Name] = kubernetes.NodeIsReady(node)
			}
			nodes <- seen
		})
		ended <- struct{}{}
	}()
	// again, if there is any, is done until it is seen: the fake tells nothing of what happens between a list and
	// the watch after it.
	untilSeen := func(from <-chan map[string]bool, want map[string]bool, again func()) {
		t.Helper()
		for deadline := time.After(10 * time.Second); ; {
			if again != nil {
				again()
			}
			select {
			case <-time.After(200 * time.Millisecond):
			case seen := <-from:
				if maps.Equal(seen, want) {
					return
				}
			case <-deadline:
				require.FailNow(t, "not seen", "%v", want)
			}
		}
	}
	untilSeen(nodes, map[string]bool{"node-1": false, "node-2": true}, nil)
	untilSeen(pods, map[string]bool{"db-0": true}, nil)

	core := clientset.CoreV1()
	pod, err := core.Pods(namespace).Get(ctx, "db-0", metav1.GetOptions{})
	require.NoError(t, err)
	pod.Status.Conditions = nil
	untilSeen(pods, map[string]bool{"db-0": false}, func() {
		_, err := core.Pods(namespace).UpdateStatus(ctx, pod, metav1.UpdateOptions{})
		require.NoError(t, err)
	})

	require.NoError(t, core.Pods(namespace).Delete(ctx, "db-0", metav1.DeleteOptions{}))
	untilSeen(pods, map[string]bool{}, nil)

	cancel()
	for range 2 {
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			require.FailNow(t, "a watch did not end with its context")
		}
	}
}
