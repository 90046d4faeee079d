package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
)

// The ways to a server.
const (
	ViaAuto         = "auto"
	ViaNodePort     = "nodeport"
	ViaLoadBalancer = "loadbalancer"
	ViaPortForward  = "port-forward"
)

// Access is a way to a Service from outside the cluster, and the addresses there. A Service that has
// none is reached through a forwarded port.
type Access struct {
	Via       string
	Addresses []string
}

// Access finds a way to a Service. An error is one that was asked for and is not there.
func (c *Cluster) Access(ctx context.Context, service *corev1.Service, via string) (Access, error) {
	if service == nil {
		return Access{Via: ViaPortForward}, nil
	}
	switch {
	case via == ViaPortForward:
		return Access{Via: ViaPortForward}, nil
	case via == ViaLoadBalancer, via == ViaAuto && service.Spec.Type == corev1.ServiceTypeLoadBalancer:
		if addresses := loadBalancerAddresses(service); len(addresses) > 0 {
			return Access{Via: ViaLoadBalancer, Addresses: addresses}, nil
		}
		if via == ViaLoadBalancer {
			return Access{}, fmt.Errorf("--via loadbalancer: Service %s has no load balancer address", service.Name)
		}
	case via == ViaNodePort, via == ViaAuto && service.Spec.Type == corev1.ServiceTypeNodePort:
		addresses, err := c.nodePortAddresses(ctx, service)
		if len(addresses) > 0 {
			return Access{Via: ViaNodePort, Addresses: addresses}, nil
		}
		if via == ViaNodePort {
			return Access{}, errors.Join(fmt.Errorf("--via nodeport: Service %s of type %s has no node port that can be seen", service.Name, service.Spec.Type), err)
		}
	}
	return Access{Via: ViaPortForward}, nil
}

func loadBalancerAddresses(service *corev1.Service) []string {
	var addresses []string
	for _, ingress := range service.Status.LoadBalancer.Ingress {
		host := ingress.IP
		if host == "" {
			host = ingress.Hostname
		}
		for _, port := range service.Spec.Ports {
			addresses = append(addresses, net.JoinHostPort(host, strconv.Itoa(int(port.Port))))
		}
	}
	return addresses
}

// nodePortAddresses are the internal addresses of the nodes, ready ones first.
func (c *Cluster) nodePortAddresses(ctx context.Context, service *corev1.Service) ([]string, error) {
	if len(service.Spec.Ports) == 0 || service.Spec.Ports[0].NodePort == 0 {
		return nil, nil
	}
	port := strconv.Itoa(int(service.Spec.Ports[0].NodePort))
	nodes, err := c.Core.Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("nodes: %w", err)
	}
	var ready, others []string
	for _, node := range nodes.Items {
		for _, address := range node.Status.Addresses {
			if address.Type != corev1.NodeInternalIP {
				continue
			}
			if NodeIsReady(&node) {
				ready = append(ready, net.JoinHostPort(address.Address, port))
			} else {
				others = append(others, net.JoinHostPort(address.Address, port))
			}
		}
	}
	return append(ready, others...), nil
}

// NodeIsReady says whether a node can run pods.
func NodeIsReady(node *corev1.Node) bool {
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady {
			return condition.Status == corev1.ConditionTrue
		}
	}
	return false
}

// Forward forwards a port of a pod to a free port on this machine until ctx ends, and returns
// the local address.
func (c *Cluster) Forward(ctx context.Context, pod *corev1.Pod, port int) (string, error) {
	if c.ForwardPort != nil {
		return c.ForwardPort(ctx, pod, port)
	}
	if c.Config == nil {
		return "", errors.New("ports cannot be forwarded from this cluster")
	}
	host, err := url.Parse(c.Config.Host)
	if err != nil {
		return "", fmt.Errorf("address of the API server: %w", err)
	}
	if host.Host == "" {
		// A kubeconfig may leave the scheme out.
		host = &url.URL{Scheme: "https", Host: c.Config.Host}
	}
	target := host.JoinPath("api", "v1", "namespaces", pod.Namespace, "pods", pod.Name, "portforward")
	tunneling, err := portforward.NewSPDYOverWebsocketDialer(target, c.Config)
	if err != nil {
		return "", fmt.Errorf("port-forward: %w", err)
	}
	transport, upgrader, err := spdy.RoundTripperFor(c.Config)
	if err != nil {
		return "", fmt.Errorf("port-forward: %w", err)
	}
	// API servers before 1.31 and some proxies know SPDY only.
	dialer := portforward.NewFallbackDialer(tunneling, spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, target),
		func(err error) bool { return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err) })
	ready := make(chan struct{})
	forwarder, err := portforward.NewOnAddresses(dialer, []string{"127.0.0.1"}, []string{fmt.Sprintf("0:%d", port)},
		ctx.Done(), ready, io.Discard, io.Discard)
	if err != nil {
		return "", fmt.Errorf("port-forward: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- forwarder.ForwardPorts() }()
	select {
	case err := <-ended:
		if err == nil {
			err = context.Cause(ctx)
		}
		return "", fmt.Errorf("port-forward to pod %s: %w", pod.Name, err)
	case <-ready:
	}
	ports, err := forwarder.GetPorts()
	if err != nil {
		return "", fmt.Errorf("port-forward to pod %s: %w", pod.Name, err)
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(int(ports[0].Local))), nil
}
