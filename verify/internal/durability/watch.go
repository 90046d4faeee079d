package durability

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"stateful-postgres/internal/contract"
	"stateful-postgres/verify/internal/history"
	"stateful-postgres/verify/internal/kubernetes"
)

const (
	watchInterval = 500 * time.Millisecond
	// nodesEvery is after how many looks at the pods the nodes are looked at, too: a cluster may have many.
	nodesEvery   = 4
	watchTimeout = 2 * time.Second
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

// sorted are the intervals by object and time.
func (l *lanes) sorted() []history.Interval {
	return slices.SortedStableFunc(slices.Values(l.intervals), func(a, b history.Interval) int {
		if a.Of != b.Of {
			return strings.Compare(a.Of, b.Of)
		}
		return int(a.FromMS - b.FromMS)
	})
}

// run looks until ctx ends. What cannot be seen, because the API server is away, stays as it was.
func (w *watcher) run(ctx context.Context) {
	ticker := time.NewTicker(watchInterval)
	defer ticker.Stop()
	for looks := 0; ; looks++ {
		w.look(ctx, looks%nodesEvery == 0)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// look looks once. What the API server has in memory is new enough, and takes it a part of the work.
func (w *watcher) look(ctx context.Context, nodes bool) {
	ctx, cancel := context.WithTimeout(ctx, watchTimeout)
	defer cancel()
	var group sync.WaitGroup
	group.Go(func() {
		listed, err := w.cluster.PodsInMemory(ctx, w.objects)
		if err != nil {
			return
		}
		pods, roles := map[string]string{}, map[string]string{}
		for i := range listed {
			pod := &listed[i]
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
	})
	group.Go(func() {
		if !nodes {
			return
		}
		listed, err := w.cluster.Core.Nodes().List(ctx, metav1.ListOptions{ResourceVersion: "0"})
		if err != nil {
			return
		}
		nodes := map[string]string{}
		for i := range listed.Items {
			nodes[listed.Items[i].Name] = "not ready"
			if kubernetes.NodeIsReady(&listed.Items[i]) {
				nodes[listed.Items[i].Name] = "ready"
			}
		}
		w.mutex.Lock()
		defer w.mutex.Unlock()
		w.nodes.see(w.meter.since(time.Now()), nodes)
	})
	group.Wait()
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

// enter puts what was seen into the history.
func (w *watcher) enter(h *history.History) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	h.Roles, h.Pods, h.Nodes = w.roles.sorted(), w.pods.sorted(), w.nodes.sorted()
}
