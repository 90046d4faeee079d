package check

import (
	"context"
	"errors"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"stateful-postgres/verify/internal/kubernetes"
)

// forwardPause is how long nobody tries anew after an attempt to forward a port that failed: all who wait
// for the same server share a forwarder.
const forwardPause = 250 * time.Millisecond

// forwarder forwards the port of a pod to this machine. What it forwards ends when it is closed.
type forwarder struct {
	subject *Subject
	// choose says which pod it is, by the pods alone; nil is none yet.
	choose func(*kubernetes.Observation) *corev1.Pod

	lifetime context.Context
	end      context.CancelFunc

	mutex    sync.Mutex
	observed *kubernetes.Observation
	// tried says that the observation did not lead to a server that answers.
	tried bool
	// address is the forwarded port's on this machine; empty when there is none yet.
	address string
	// failed is when the last attempt failed, and problem why.
	failed  time.Time
	problem error
}

func newForwarder(ctx context.Context, subject *Subject, observed *kubernetes.Observation, choose func(*kubernetes.Observation) *corev1.Pod) *forwarder {
	lifetime, end := context.WithCancel(context.WithoutCancel(ctx))
	return &forwarder{subject: subject, choose: choose, lifetime: lifetime, end: end, observed: observed}
}

func (f *forwarder) close() { f.end() }

// forget gives the forwarded port up: the next connection looks anew where it has to go. Connections
// that go over it live on.
func (f *forwarder) forget() {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	f.address, f.tried = "", true
}

// through connects to the forwarded port. One that leads nowhere any more, since its pod is gone,
// is forwarded anew. Who comes too soon after a failed attempt gets the problem of that one.
func through[C any](ctx context.Context, f *forwarder, connect func(ctx context.Context, address string) (C, error)) (C, error) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	if f.problem != nil && time.Since(f.failed) < forwardPause {
		var none C
		return none, f.problem
	}
	opened, err := throughOnce(ctx, f, connect)
	f.problem = nil
	if err != nil && ctx.Err() == nil {
		f.failed, f.problem = time.Now(), err
	}
	return opened, err
}

func throughOnce[C any](ctx context.Context, f *forwarder, connect func(ctx context.Context, address string) (C, error)) (C, error) {
	if f.address != "" {
		opened, err := connect(ctx, f.address)
		if err == nil || ctx.Err() != nil {
			return opened, err
		}
		f.tried = true
	}
	var none C
	if f.tried {
		pods, err := f.subject.Cluster.Pods(ctx, f.subject.Objects)
		if err != nil {
			return none, err
		}
		f.observed = &kubernetes.Observation{Objects: f.subject.Objects, Pods: pods}
	}
	f.tried = true
	if err := f.forward(ctx); err != nil {
		return none, err
	}
	opened, err := connect(ctx, f.address)
	f.tried = err != nil
	return opened, err
}

// forward gives up when ctx ends; once it is done, the forwarding lives on.
func (f *forwarder) forward(ctx context.Context) error {
	pod := f.choose(f.observed)
	if pod == nil {
		return errors.New("port-forward: no pod is ready that it could go to")
	}
	lifetime, end := context.WithCancel(f.lifetime)
	stop := context.AfterFunc(ctx, end)
	address, err := f.subject.Cluster.Forward(lifetime, pod, f.subject.Port)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		end()
		return err
	}
	f.address = address
	return nil
}
