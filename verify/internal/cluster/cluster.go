// Package cluster looks at the Kubernetes objects of a PostgreSQL server, and opens ways to it.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	appsclient "k8s.io/client-go/kubernetes/typed/apps/v1"
	coreclient "k8s.io/client-go/kubernetes/typed/core/v1"
	discoveryclient "k8s.io/client-go/kubernetes/typed/discovery/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
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
	// Namespace is the default of the kubeconfig's context.
	Namespace string
}

// Connect reads a kubeconfig and prepares the clients; nothing is sent yet. kubeconfig is a
// path, a whole kubeconfig, or empty for the usual places; an empty context is the current one.
func Connect(kubeconfig, context string) (*Cluster, error) {
	loader, err := load(kubeconfig, context)
	if err != nil {
		return nil, err
	}
	config, err := loader.ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	namespace, _, err := loader.Namespace()
	if err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	config.QPS, config.Burst = requestsPerSecond, 2*requestsPerSecond
	config.WarningHandler = rest.NoWarnings{}
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
	return &Cluster{Core: core, Apps: apps, Discovery: discovery, Config: config, Namespace: namespace}, nil
}

func load(kubeconfig, context string) (clientcmd.ClientConfig, error) {
	overrides := &clientcmd.ConfigOverrides{CurrentContext: context}
	if strings.Contains(kubeconfig, "\n") || strings.HasPrefix(strings.TrimSpace(kubeconfig), "{") {
		config, err := clientcmd.Load([]byte(kubeconfig))
		if err != nil {
			return nil, fmt.Errorf("kubeconfig of the stack: %w", err)
		}
		return clientcmd.NewDefaultClientConfig(*config, overrides), nil
	}
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	if kubeconfig != "" {
		if home, err := os.UserHomeDir(); err == nil && strings.HasPrefix(kubeconfig, "~/") {
			kubeconfig = home + kubeconfig[1:]
		}
		rules.ExplicitPath = kubeconfig
	}
	return clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, overrides), nil
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
}

// Observation is what was there at one moment. An object that is not there is nil.
type Observation struct {
	Objects     Objects
	StatefulSet *appsv1.StatefulSet
	Pods        []corev1.Pod
	Services    map[string]*corev1.Service
	// Slices are the EndpointSlices of each Service.
	Slices map[string][]discoveryv1.EndpointSlice
	Claim  *corev1.PersistentVolumeClaim
	Volume *corev1.PersistentVolume
	// VolumeUnseen says why a volume could not be looked at; it is no object of the namespace,
	// and many roles may not.
	VolumeUnseen string
}

// Observe looks at all objects at once. The error says what could not be seen; an object that
// does not exist is no error.
func (c *Cluster) Observe(ctx context.Context, objects Objects) (*Observation, error) {
	o := &Observation{Objects: objects, Services: map[string]*corev1.Service{}, Slices: map[string][]discoveryv1.EndpointSlice{}}
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
	look("pods", func() error {
		pods, err := c.Core.Pods(objects.Namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		for _, pod := range pods.Items {
			if ownedBy(pod.OwnerReferences, "StatefulSet", objects.StatefulSet) {
				o.Pods = append(o.Pods, pod)
			}
		}
		return nil
	})
	for _, name := range []string{objects.Service, objects.Headless} {
		if name == "" {
			continue
		}
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
	look("claim "+objects.Claim, func() error {
		claim, err := c.Core.PersistentVolumeClaims(objects.Namespace).Get(ctx, objects.Claim, metav1.GetOptions{})
		if err != nil {
			return err
		}
		o.Claim = claim
		if claim.Spec.VolumeName == "" {
			return nil
		}
		volume, err := c.Core.PersistentVolumes().Get(ctx, claim.Spec.VolumeName, metav1.GetOptions{})
		switch {
		case apierrors.IsForbidden(err):
			o.VolumeUnseen = "this user may not see volumes"
			return nil
		case err == nil:
			o.Volume = volume
		}
		return err
	})
	looks.Wait()
	return o, errors.Join(problems...)
}

func ownedBy(owners []metav1.OwnerReference, kind, name string) bool {
	for _, owner := range owners {
		if owner.Kind == kind && owner.Name == name {
			return true
		}
	}
	return false
}

// ReadyEndpoints counts the endpoints of a Service that take connections.
func (o *Observation) ReadyEndpoints(service string) int {
	ready := 0
	for _, slice := range o.Slices[service] {
		for _, endpoint := range slice.Endpoints {
			// Unset means ready.
			if endpoint.Conditions.Ready == nil || *endpoint.Conditions.Ready {
				ready += len(endpoint.Addresses)
			}
		}
	}
	return ready
}

// ReadyPod returns a pod that is ready, or nil.
func (o *Observation) ReadyPod() *corev1.Pod {
	for i := range o.Pods {
		if IsReady(&o.Pods[i]) {
			return &o.Pods[i]
		}
	}
	return nil
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
