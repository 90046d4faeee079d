package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

func TestFirstSightingOfEachKindCounts(t *testing.T) {
	t.Parallel()
	moment := func(second int64) time.Time { return time.Unix(second, 0) }
	ready := corev1.PodStatus{Conditions: []corev1.PodCondition{{
		Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(moment(1)),
	}}}
	running := ready.DeepCopy()
	running.ContainerStatuses = []corev1.ContainerStatus{{State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}
	ended := corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{}}}}}
	deleted := metav1.ObjectMeta{DeletionTimestamp: &metav1.Time{Time: moment(2)}}

	var seen sightings
	for second, event := range []watch.Event{
		{Type: watch.Modified, Object: &corev1.Pod{Status: *running}},
		{Type: watch.Modified, Object: &corev1.Pod{ObjectMeta: deleted, Status: *running}},
		{Type: watch.Modified, Object: &corev1.Pod{ObjectMeta: deleted, Status: *running}},
		{Type: watch.Modified, Object: &corev1.Pod{ObjectMeta: deleted, Status: ended}},
		{Type: watch.Deleted, Object: &corev1.Pod{ObjectMeta: deleted, Status: ended}},
		{Type: watch.Added, Object: &corev1.Pod{}},
		{Type: watch.Modified, Object: &corev1.Pod{Status: *running}},
		{Type: watch.Modified, Object: &corev1.Pod{Status: *running}},
	} {
		seen.add(event.Type, event.Object.(*corev1.Pod), moment(int64(second)))
	}
	require.Equal(t, sightings{deleted: moment(1), stopped: moment(3), gone: moment(4), created: moment(5), ready: moment(6)}, seen)
}
