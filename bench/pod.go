package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"

	"stateful-postgres/internal/contract"
	"stateful-postgres/internal/kubeconfig"
)

// podName is the pod of a server that has one replica.
var podName = contract.PodName(0)

const (
	// relistPeriod is how often the kubelet looks at its containers (the PLEG's
	// relist period). It goes on with a pod only after a look that is newer than
	// what it did last.
	relistPeriod = time.Second
	// quietTime is how long a pod has to be ready before it is stopped: what its
	// becoming ready has queued in the kubelet is done by then. A stop that comes
	// sooner waits for one look more, or two.
	quietTime = 2500 * time.Millisecond

	// readyMessage is what PostgreSQL says to its log when it takes connections.
	readyMessage = "database system is ready to accept connections"
)

// newCoreClient leads where kubectl leads.
func newCoreClient() (corev1client.CoreV1Interface, error) {
	config, err := kubeconfig.Source{}.RESTConfig()
	if err != nil {
		return nil, err
	}
	return corev1client.NewForConfig(config)
}

// untilQuiet returns when the kubelet has nothing left to do for a pod that is
// ready, and then at a random moment between two of the kubelet's looks. Without
// this, what comes right after a start is stopped a second or two later than what
// comes after a pause, and what is compared must meet the same.
func (s *server) untilQuiet(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	for {
		pod, err := s.core.Pods(s.Namespace).Get(ctx, podName, metav1.GetOptions{})
		if err != nil {
			return fmt.Errorf("pod %s: %w", podName, err)
		}
		wait := connectInterval
		if since := readySince(pod); !since.IsZero() {
			// The API server counts in whole seconds.
			if wait = time.Until(since.Add(quietTime + time.Second)); wait <= 0 {
				return pause(ctx, randomMoment())
			}
		}
		if err := pause(ctx, wait); err != nil {
			return fmt.Errorf("pod %s: expected to be ready for %s within %s: %w", podName, quietTime, answerTimeout, err)
		}
	}
}

// randomMoment is a part of the kubelet's period.
func randomMoment() time.Duration { return rand.N(relistPeriod) }

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

// readySince is zero for a pod that is not ready.
func readySince(pod *corev1.Pod) time.Time {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodReady && condition.Status == corev1.ConditionTrue {
			return condition.LastTransitionTime.Time
		}
	}
	return time.Time{}
}

// podWatch notes when the API server tells what has become of the pod.
type podWatch struct {
	stop context.CancelFunc
	done chan struct{}

	mu   sync.Mutex
	seen sightings
	// news is closed, and replaced, with every sighting.
	news chan struct{}
	err  error
}

// sightings are when something was first seen, by this machine's clock; zero is
// never.
type sightings struct {
	// deleted is when the pod that was there was marked for deletion, stopped when
	// none of its containers ran any more, gone when it was no object any more.
	deleted, stopped, gone time.Time
	// created is when a new pod was there, ready when it was that.
	created, ready time.Time
}

// watchPod begins to watch, with whatever pod there is as the old one.
func (s *server) watchPod(ctx context.Context) (*podWatch, error) {
	ctx, stop := context.WithCancel(ctx)
	pods := s.core.Pods(s.Namespace)
	name := fields.OneTermEqualSelector(metav1.ObjectNameField, podName).String()
	list, err := pods.List(ctx, metav1.ListOptions{FieldSelector: name})
	if err != nil {
		stop()
		return nil, fmt.Errorf("pods of namespace %s: %w", s.Namespace, err)
	}
	events, err := pods.Watch(ctx, metav1.ListOptions{FieldSelector: name, ResourceVersion: list.ResourceVersion})
	if err != nil {
		stop()
		return nil, fmt.Errorf("watching the pods of namespace %s: %w", s.Namespace, err)
	}
	w := &podWatch{stop: stop, done: make(chan struct{}), news: make(chan struct{})}
	go func() {
		defer close(w.done)
		defer events.Stop()
		for event := range events.ResultChan() {
			w.take(event, time.Now())
		}
		w.fail(errors.New("the watch of the pod ended"))
	}()
	return w, nil
}

func (w *podWatch) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = err
		close(w.news)
	}
}

func (w *podWatch) take(event watch.Event, now time.Time) {
	pod, is := event.Object.(*corev1.Pod)
	if !is {
		w.fail(apierrors.FromObject(event.Object))
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return
	}
	w.seen.add(event.Type, pod, now)
	close(w.news)
	w.news = make(chan struct{})
}

func (s *sightings) add(kind watch.EventType, pod *corev1.Pod, now time.Time) {
	note := func(moment *time.Time, happened bool) {
		if happened && moment.IsZero() {
			*moment = now
		}
	}
	note(&s.created, kind == watch.Added)
	note(&s.deleted, pod.DeletionTimestamp != nil)
	note(&s.stopped, pod.DeletionTimestamp != nil && allStopped(pod))
	note(&s.gone, kind == watch.Deleted)
	note(&s.ready, !s.created.IsZero() && pod.DeletionTimestamp == nil && !readySince(pod).IsZero())
}

func allStopped(pod *corev1.Pod) bool {
	for _, container := range pod.Status.ContainerStatuses {
		if container.State.Terminated == nil {
			return false
		}
	}
	return true
}

// until returns the moment of a sighting, when it comes.
func (w *podWatch) until(ctx context.Context, what string, moment func(sightings) time.Time) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	for {
		w.mu.Lock()
		at, news, err := moment(w.seen), w.news, w.err
		w.mu.Unlock()
		switch {
		case !at.IsZero():
			return at, nil
		case err != nil:
			return time.Time{}, fmt.Errorf("pod %s: expected to see it %s: %w", podName, what, err)
		}
		select {
		case <-news:
		case <-ctx.Done():
			return time.Time{}, fmt.Errorf("pod %s: expected to see it %s within %s: %w", podName, what, answerTimeout, context.Cause(ctx))
		}
	}
}

// close ends the watch and returns what was seen.
func (w *podWatch) close() sightings {
	w.stop()
	<-w.done
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seen
}

// serverLog are moments in the log of the pod's container, by this machine's
// clock: its first line, and the server taking connections.
type serverLog struct{ first, answers time.Time }

// readServerLog reads the log of a server that answers.
func (s *server) readServerLog(ctx context.Context) (serverLog, error) {
	offset, err := s.clockOffset(ctx)
	if err != nil {
		return serverLog{}, err
	}
	stream, err := s.core.Pods(s.Namespace).GetLogs(podName, &corev1.PodLogOptions{Timestamps: true}).Stream(ctx)
	if err != nil {
		return serverLog{}, fmt.Errorf("log of pod %s: %w", podName, err)
	}
	defer stream.Close()
	var found serverLog
	lines := bufio.NewScanner(stream)
	for lines.Scan() {
		stamp, text, _ := strings.Cut(lines.Text(), " ")
		at, err := time.Parse(time.RFC3339Nano, stamp)
		if err != nil {
			return serverLog{}, fmt.Errorf("log of pod %s: line %q: %w", podName, lines.Text(), err)
		}
		at = at.Add(-offset)
		if found.first.IsZero() {
			found.first = at
		}
		// The last one: a first start runs a temporary server beforehand.
		if strings.Contains(text, readyMessage) {
			found.answers = at
		}
	}
	if err := lines.Err(); err != nil {
		return serverLog{}, fmt.Errorf("log of pod %s: %w", podName, err)
	}
	if found.answers.IsZero() {
		return serverLog{}, fmt.Errorf("log of pod %s: expected a line %q, got none", podName, readyMessage)
	}
	return found, nil
}
