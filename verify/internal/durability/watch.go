package durability

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"stateful-postgres/internal/contract"
	"stateful-postgres/verify/internal/history"
	"stateful-postgres/verify/internal/kubernetes"
)

// watcher notes the states of pods and nodes, and the roles of members.
type watcher struct {
	cluster *kubernetes.Cluster
	objects kubernetes.Objects
	meter   *meter

	mutex              sync.Mutex
	roles, pods, nodes lanes
}

// lanes are the states of some objects, each with its last interval open.
type lanes struct {
	intervals []history.Interval
	last      map[string]int
}

// see notes the states of objects at a moment. One that is not seen any more is absent.
func (l *lanes) see(at int64, states map[string]string) {
	if l.last == nil {
		l.last = map[string]int{}
	}
	for of := range l.last {
		if _, seen := states[of]; !seen {
			states[of] = "absent"
		}
	}
	for of, state := range states {
		if i, known := l.last[of]; known {
			l.intervals[i].ToMS = at
			if l.intervals[i].State == state {
				continue
			}
		}
		l.last[of] = len(l.intervals)
		l.intervals = append(l.intervals, history.Interval{Of: of, State: state, FromMS: at, ToMS: at})
	}
}

// end are the intervals by object and time, of which the last ones last until some moment.
func (l *lanes) end(at int64) []history.Interval {
	for _, i := range l.last {
		l.intervals[i].ToMS = at
	}
	return slices.SortedStableFunc(slices.Values(l.intervals), func(a, b history.Interval) int {
		if a.Of != b.Of {
			return strings.Compare(a.Of, b.Of)
		}
		return int(a.FromMS - b.FromMS)
	})
}

// run notes what changes until ctx ends. What cannot be seen, because the API server is away, stays as it was.
func (w *watcher) run(ctx context.Context) {
	var group sync.WaitGroup
	group.Go(func() { w.cluster.WatchPods(ctx, w.objects, w.seePods) })
	group.Go(func() { w.cluster.WatchNodes(ctx, w.seeNodes) })
	group.Wait()
}

func (w *watcher) seePods(all []*corev1.Pod) {
	pods, roles := map[string]string{}, map[string]string{}
	for _, pod := range all {
		pods[pod.Name] = podState(pod)
		if w.objects.HighAvailability {
			roles[pod.Name] = roleOf(pod)
		}
	}
	w.mutex.Lock()
	defer w.mutex.Unlock()
	at := w.meter.since(time.Now())
	w.pods.see(at, pods)
	w.roles.see(at, roles)
}

func (w *watcher) seeNodes(all []*corev1.Node) {
	nodes := map[string]string{}
	for _, node := range all {
		nodes[node.Name] = "not ready"
		if kubernetes.NodeIsReady(node) {
			nodes[node.Name] = "ready"
		}
	}
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.nodes.see(w.meter.since(time.Now()), nodes)
}

func podState(pod *corev1.Pod) string {
	switch {
	case pod.DeletionTimestamp != nil:
		return "terminating"
	case kubernetes.IsReady(pod):
		return "ready"
	}
	return "not ready"
}

func roleOf(pod *corev1.Pod) string {
	switch role := kubernetes.Role(pod); {
	case !kubernetes.IsReady(pod) || role == "":
		return "none"
	case role == contract.RolePrimary:
		return "primary"
	}
	return "standby"
}

// enter puts what was seen into the history, whose duration is known.
func (w *watcher) enter(h *history.History) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	h.Roles, h.Pods, h.Nodes = w.roles.end(h.DurationMS), w.pods.end(h.DurationMS), w.nodes.end(h.DurationMS)
}
