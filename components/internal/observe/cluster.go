package observe

import (
	"context"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	appsv1client "k8s.io/client-go/kubernetes/typed/apps/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	storagev1client "k8s.io/client-go/kubernetes/typed/storage/v1"
	"k8s.io/client-go/rest"

	"stateful-postgres/components/internal/budget"
	"stateful-postgres/internal/contract"
)

// Clients are the parts of the API that are looked at.
type Clients struct {
	Core    corev1client.CoreV1Interface
	Apps    appsv1client.AppsV1Interface
	Storage storagev1client.StorageV1Interface
}

// requestsPerSecond is more than a look needs. Client-go's own brake would hold
// requests back that are sent at the same time.
const requestsPerSecond = 100

// Connect prepares the clients, which share one connection; nothing is sent yet.
func Connect(config *rest.Config) (Clients, error) {
	config = rest.CopyConfig(config)
	config.QPS, config.Burst = requestsPerSecond, requestsPerSecond
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return Clients{}, err
	}
	var clients Clients
	if clients.Core, err = corev1client.NewForConfigAndClient(config, client); err != nil {
		return Clients{}, err
	}
	if clients.Apps, err = appsv1client.NewForConfigAndClient(config, client); err != nil {
		return Clients{}, err
	}
	clients.Storage, err = storagev1client.NewForConfigAndClient(config, client)
	return clients, err
}

// Query says which objects are looked at.
type Query struct {
	Namespace string
	// Volume and CertificateSecret are names, "" for none.
	Volume            string
	CertificateSecret string
	// Replicas is how many pods have a claim that is looked at.
	Replicas int
}

// Cluster reads all objects at the same time. It fails when one of them could
// not be read: that is no empty namespace. What belongs to no namespace may be
// hidden, for not everybody may read it.
func Cluster(ctx context.Context, clients Clients, query Query) (Observation, error) {
	ctx, cancel := context.WithTimeout(ctx, budget.Look)
	defer cancel()

	var seen Observation
	services := []string{contract.Service, contract.HeadlessService, contract.ReplicasService}
	standbys := make([]*corev1.PersistentVolumeClaim, max(query.Replicas, 1))
	found := make([]*corev1.Service, len(services))
	looks := []func() error{
		func() error { return seen.lookAtCluster(ctx, clients) },
		func() error { return seen.lookAtNamespace(ctx, clients, query.Namespace) },
		func() error { return seen.lookAtClaim(ctx, clients, query.Namespace) },
		func() (err error) {
			seen.Volume, seen.VolumeHidden, err = getUnlessHidden(ctx, clients.Core.PersistentVolumes().Get, "persistent volume", query.Volume)
			return err
		},
		func() (err error) {
			seen.StatefulSet, err = get(ctx, clients.Apps.StatefulSets(query.Namespace).Get, "stateful set", query.Namespace, contract.StatefulSet)
			return err
		},
		func() (err error) {
			seen.ConfigMap, err = get(ctx, clients.Core.ConfigMaps(query.Namespace).Get, "config map", query.Namespace, contract.ConfigMap)
			return err
		},
		func() (err error) {
			seen.Marker, err = get(ctx, clients.Core.ConfigMaps(query.Namespace).Get, "config map", query.Namespace, contract.Marker)
			return err
		},
		func() (err error) {
			seen.Sync, err = get(ctx, clients.Core.ConfigMaps(query.Namespace).Get, "config map", query.Namespace, contract.MembersSync)
			return err
		},
		func() (err error) {
			seen.Credentials, err = get(ctx, clients.Core.Secrets(query.Namespace).Get, "secret", query.Namespace, contract.CredentialsSecret)
			return err
		},
		func() (err error) {
			seen.CertificateSecret, err = get(ctx, clients.Core.Secrets(query.Namespace).Get, "secret", query.Namespace, query.CertificateSecret)
			return err
		},
	}
	for ordinal := 1; ordinal < len(standbys); ordinal++ {
		looks = append(looks, func() (err error) {
			standbys[ordinal], err = get(ctx, clients.Core.PersistentVolumeClaims(query.Namespace).Get, "claim", query.Namespace, contract.ClaimName(ordinal))
			return err
		})
	}
	for i, name := range services {
		looks = append(looks, func() (err error) {
			found[i], err = get(ctx, clients.Core.Services(query.Namespace).Get, "service", query.Namespace, name)
			return err
		})
	}
	failed := together(looks)
	if forbidden := forbiddenIn(query.Namespace, failed); forbidden != nil {
		return Observation{}, forbidden
	}
	if err := first(failed); err != nil {
		return Observation{}, err
	}
	for ordinal, claim := range standbys {
		if claim != nil {
			if seen.Standbys == nil {
				seen.Standbys = map[int]*corev1.PersistentVolumeClaim{}
			}
			seen.Standbys[ordinal] = claim
		}
	}
	for _, service := range found {
		if service != nil {
			seen.Services = append(seen.Services, service)
		}
	}
	// Also of a hidden namespace.
	seen.NamespaceExists = seen.NamespaceExists || seen.Claim != nil || seen.StatefulSet != nil
	return seen, nil
}

// together runs everything at the same time. The errors have the places of what
// failed.
func together(looks []func() error) []error {
	failed := make([]error, len(looks))
	var running sync.WaitGroup
	for i, look := range looks {
		running.Go(func() { failed[i] = look() })
	}
	running.Wait()
	return failed
}

// first is the first error, nil when there is none.
func first(failed []error) error {
	for _, err := range failed {
		if err != nil {
			return err
		}
	}
	return nil
}

// get reads one object, nil when there is none. No name is no object.
func get[T any](ctx context.Context, read func(context.Context, string, metav1.GetOptions) (*T, error), kind, namespace, name string) (*T, error) {
	if name == "" {
		return nil, nil
	}
	object, err := read(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("%s %s in namespace %s: %w", kind, name, namespace, err)
	}
	return object, nil
}

// getUnlessHidden reads one object that belongs to no namespace, nil when there
// is none. With rights in one namespace only it is hidden.
func getUnlessHidden[T any](ctx context.Context, read func(context.Context, string, metav1.GetOptions) (*T, error), kind, name string) (
	object *T, hidden bool, err error,
) {
	if name == "" {
		return nil, false, nil
	}
	object, err = read(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsForbidden(err):
		return nil, true, nil
	case apierrors.IsNotFound(err):
		return nil, false, nil
	case err != nil:
		return nil, false, fmt.Errorf("%s %s: %w", kind, name, err)
	}
	return object, false, nil
}
