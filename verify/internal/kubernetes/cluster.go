// Package kubernetes looks at the Kubernetes objects of a PostgreSQL server, and opens ways to it.
package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	appsclient "k8s.io/client-go/kubernetes/typed/apps/v1"
	coreclient "k8s.io/client-go/kubernetes/typed/core/v1"
	discoveryclient "k8s.io/client-go/kubernetes/typed/discovery/v1"
	"k8s.io/client-go/rest"

	"stateful-postgres/internal/kubeconfig"
)

// Nothing is asked often enough to need client-go's default brake of 5 requests a second.
const requestsPerSecond = 50

// Cluster is a connection to an API server. Only the API groups that are looked at are linked.
type Cluster struct {
	Core      coreclient.CoreV1Interface
	Apps      appsclient.AppsV1Interface
	Discovery discoveryclient.DiscoveryV1Interface
	// Config is nil for a cluster that ports cannot be forwarded from.
	Config *rest.Config
	// OpenLog opens the log of a pod's server; nil asks the API server for it.
	OpenLog func(ctx context.Context, pod *corev1.Pod) (io.ReadCloser, error)
	// ForwardPort is Forward's work; nil has the API server do it.
	ForwardPort func(ctx context.Context, pod *corev1.Pod, port int) (string, error)
}

// Connect reads a kubeconfig and prepares the clients; nothing is sent yet.
func Connect(source kubeconfig.Source) (*Cluster, error) {
	config, err := source.RESTConfig()
	if err != nil {
		return nil, err
	}
	config.QPS, config.Burst = requestsPerSecond, 2*requestsPerSecond
	config.WarningHandler = rest.NoWarnings{}
	// The binary form takes both sides a fraction of the time that JSON takes.
	config.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	core, coreErr := coreclient.NewForConfigAndClient(config, client)
	apps, appsErr := appsclient.NewForConfigAndClient(config, client)
	discovery, discoveryErr := discoveryclient.NewForConfigAndClient(config, client)
	if err := errors.Join(coreErr, appsErr, discoveryErr); err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	return &Cluster{Core: core, Apps: apps, Discovery: discovery, Config: config}, nil
}

// Objects are the names of what belongs to one server.
type Objects struct {
	Namespace   string
	StatefulSet string
	// Service is the client's door, Headless the one for the pods' names; either may be empty.
	Service  string
	Headless string
	// Claim is the claim of ordinal 0.
	Claim string
	// HighAvailability says that there may be several servers, which Patroni runs, and Replicas is
	// the Service that leads to those that follow the primary.
	HighAvailability bool
	Replicas         string
}

// Services are the names of all Services that there should be.
func (o Objects) Services() []string {
	var names []string
	for _, name := range []string{o.Service, o.Replicas, o.Headless} {
		if name != "" {
			names = append(names, name)
		}
	}
	return names
}

// Observation is what was there at one moment. An object that is not there is nil.
type Observation struct {
	Objects     Objects
	StatefulSet *appsv1.StatefulSet
	Pods        []corev1.Pod
	Services    map[string]*corev1.Service
	// Slices are the EndpointSlices of each Service.
	Slices map[string][]discoveryv1.EndpointSlice
	// Claims are sorted by ordinal. The first one is of ordinal 0, whether or not it exists.
	Claims []Claim
	// Agreement is nil where one server runs by itself.
	Agreement *Agreement
	// Namespace is nil as well when this user may not see it.
	Namespace *corev1.Namespace
}

// Observe looks at all objects at once. The error says what could not be seen; an object that
// does not exist is no error.
func (c *Cluster) Observe(ctx context.Context, objects Objects) (*Observation, error) {
	o := &Observation{Objects: objects, Claims: []Claim{{Name: objects.Claim}}, Services: map[string]*corev1.Service{}, Slices: map[string][]discoveryv1.EndpointSlice{}}
	var mutex sync.Mutex
	var looks sync.WaitGroup
	var problems []error
	look := func(what string, see func() error) {
		looks.Go(func() {
			if err := see(); err != nil && !apierrors.IsNotFound(err) {
				mutex.Lock()
				defer mutex.Unlock()
				problems = append(problems, fmt.Errorf("%s: %w", what, err))
			}
		})
	}
	look("StatefulSet "+objects.StatefulSet, func() (err error) {
		set, err := c.Apps.StatefulSets(objects.Namespace).Get(ctx, objects.StatefulSet, metav1.GetOptions{})
		if err == nil {
			o.StatefulSet = set
		}
		return err
	})
	look("pods", func() (err error) {
		o.Pods, err = c.Pods(ctx, objects)
		return err
	})
	for _, name := range objects.Services() {
		look("Service "+name, func() error {
			service, err := c.Core.Services(objects.Namespace).Get(ctx, name, metav1.GetOptions{})
			if err == nil {
				mutex.Lock()
				defer mutex.Unlock()
				o.Services[name] = service
			}
			return err
		})
		look("endpoints of Service "+name, func() error {
			slices, err := c.Discovery.EndpointSlices(objects.Namespace).List(ctx, metav1.ListOptions{
				LabelSelector: discoveryv1.LabelServiceName + "=" + name,
			})
			if err == nil {
				mutex.Lock()
				defer mutex.Unlock()
				o.Slices[name] = slices.Items
			}
			return err
		})
	}
	look("namespace "+objects.Namespace, func() error {
		namespace, err := c.Core.Namespaces().Get(ctx, objects.Namespace, metav1.GetOptions{})
		switch {
		case apierrors.IsForbidden(err):
			return nil
		case err == nil:
			o.Namespace = namespace
		}
		return err
	})
	look("claim "+objects.Claim, func() (err error) {
		o.Claims, err = c.observeClaims(ctx, objects)
		return err
	})
	if objects.HighAvailability {
		look("what the servers agree on", func() (err error) {
			o.Agreement, err = c.observeAgreement(ctx, objects.Namespace)
			return err
		})
	}
	looks.Wait()
	return o, errors.Join(problems...)
}

// UID tells clusters apart, whatever address or kubeconfig leads to them: it is that of the namespace
// kube-system, which lives as long as its cluster. It is empty when this user may not see that.
func (c *Cluster) UID(ctx context.Context) (string, error) {
	system, err := c.Core.Namespaces().Get(ctx, metav1.NamespaceSystem, metav1.GetOptions{})
	switch {
	case apierrors.IsForbidden(err), apierrors.IsNotFound(err):
		return "", nil
	case err != nil:
		return "", fmt.Errorf("namespace %s: %w", metav1.NamespaceSystem, err)
	}
	return string(system.UID), nil
}

// Pods are those of the StatefulSet.
func (c *Cluster) Pods(ctx context.Context, objects Objects) ([]corev1.Pod, error) {
	listed, err := c.Core.Pods(objects.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	var pods []corev1.Pod
	for _, pod := range listed.Items {
		if ownedBy(pod.OwnerReferences, "StatefulSet", objects.StatefulSet) {
			pods = append(pods, pod)
		}
	}
	return pods, nil
}

func ownedBy(owners []metav1.OwnerReference, kind, name string) bool {
	for _, owner := range owners {
		if owner.Kind == kind && owner.Name == name {
			return true
		}
	}
	return false
}

// takesConnections says whether an endpoint is ready. Unset means ready.
func takesConnections(endpoint discoveryv1.Endpoint) bool {
	return endpoint.Conditions.Ready == nil || *endpoint.Conditions.Ready
}

// ReadyEndpoints counts the endpoints of a Service that take connections.
func (o *Observation) ReadyEndpoints(service string) int {
	ready := 0
	for _, slice := range o.Slices[service] {
		for _, endpoint := range slice.Endpoints {
			if takesConnections(endpoint) {
				ready += len(endpoint.Addresses)
			}
		}
	}
	return ready
}

// IsReady says whether a pod takes connections.
func IsReady(pod *corev1.Pod) bool {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodReady {
			return condition.Status == corev1.ConditionTrue && pod.DeletionTimestamp == nil
		}
	}
	return false
}

// DescribePod says in a few words what state a pod is in.
func DescribePod(pod *corev1.Pod) string {
	if pod.DeletionTimestamp != nil {
		return fmt.Sprintf("pod %s is terminating", pod.Name)
	}
	for _, status := range append(append([]corev1.ContainerStatus(nil), pod.Status.InitContainerStatuses...), pod.Status.ContainerStatuses...) {
		if waiting := status.State.Waiting; waiting != nil && waiting.Reason != "PodInitializing" {
			text := fmt.Sprintf("pod %s: container %s is waiting: %s", pod.Name, status.Name, waiting.Reason)
			if ended := status.LastTerminationState.Terminated; ended != nil && waiting.Reason == "CrashLoopBackOff" {
				return fmt.Sprintf("%s, it ended with exit code %d", text, ended.ExitCode)
			}
			if waiting.Message != "" {
				text += ": " + waiting.Message
			}
			return text
		}
		if ended := status.State.Terminated; ended != nil && ended.ExitCode != 0 {
			return fmt.Sprintf("pod %s: container %s ended with exit code %d (%s)", pod.Name, status.Name, ended.ExitCode, ended.Reason)
		}
	}
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodScheduled && condition.Status == corev1.ConditionFalse {
			return fmt.Sprintf("pod %s cannot be scheduled: %s", pod.Name, condition.Message)
		}
	}
	if IsReady(pod) {
		return fmt.Sprintf("pod %s is ready on %s", pod.Name, pod.Spec.NodeName)
	}
	return fmt.Sprintf("pod %s is %s and not ready", pod.Name, strings.ToLower(string(pod.Status.Phase)))
}
