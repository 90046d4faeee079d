package waiter

import (
	"context"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	batchv1client "k8s.io/client-go/kubernetes/typed/batch/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"

	"stateful-postgres/internal/contract"
)

// Clients are the parts of the API that are looked at.
type Clients struct {
	Core  corev1client.CoreV1Interface
	Batch batchv1client.BatchV1Interface
}

// Connect prepares the clients; nothing is sent yet.
func Connect(config *rest.Config) (Clients, error) {
	core, err := corev1client.NewForConfig(config)
	if err != nil {
		return Clients{}, err
	}
	batch, err := batchv1client.NewForConfig(config)
	return Clients{Core: core, Batch: batch}, err
}

// Seen is what an update can be waiting for. What may not be read is left out.
type Seen struct {
	Namespace *corev1.Namespace
	// Check is the Job that tries the settings out.
	Check    *batchv1.Job
	Pods     []corev1.Pod
	Claims   []corev1.PersistentVolumeClaim
	Services []corev1.Service
	Events   []corev1.Event
}

// Look reads it all.
func Look(ctx context.Context, clients Clients, namespace string) (Seen, error) {
	var seen Seen
	var list metav1.ListOptions
	for _, read := range []func() error{
		func() (err error) {
			seen.Namespace, err = clients.Core.Namespaces().Get(ctx, namespace, metav1.GetOptions{})
			return err
		},
		func() (err error) {
			seen.Check, err = clients.Batch.Jobs(namespace).Get(ctx, contract.CheckJob, metav1.GetOptions{})
			return err
		},
		func() error {
			found, err := clients.Core.Pods(namespace).List(ctx, list)
			if err == nil {
				seen.Pods = found.Items
			}
			return err
		},
		func() error {
			found, err := clients.Core.PersistentVolumeClaims(namespace).List(ctx, list)
			if err == nil {
				seen.Claims = found.Items
			}
			return err
		},
		func() error {
			found, err := clients.Core.Services(namespace).List(ctx, list)
			if err == nil {
				seen.Services = found.Items
			}
			return err
		},
		func() error {
			found, err := clients.Core.Events(namespace).List(ctx, list)
			if err == nil {
				seen.Events = found.Items
			}
			return err
		},
	} {
		if err := read(); err != nil && !apierrors.IsForbidden(err) && !apierrors.IsNotFound(err) {
			return Seen{}, err
		}
	}
	// What was not found is no object, whatever the client gives for it.
	if seen.Namespace != nil && seen.Namespace.Name == "" {
		seen.Namespace = nil
	}
	if seen.Check != nil && seen.Check.Name == "" {
		seen.Check = nil
	}
	return seen, nil
}
