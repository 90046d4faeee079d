package components

import (
	"fmt"
	"time"

	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

const (
	// serverPort is the port of the server, and of both Services.
	serverPort = 5432
	portName   = "postgres"

	// addressTimeout is how long an update waits for a load balancer's address.
	// The server starts meanwhile.
	addressTimeout = 5 * time.Minute
)

// newServices declares the two Services.
//
// The provider would watch each Service for at least ten seconds until its
// endpoints have settled. The StatefulSet's readiness says more, and sooner, so
// the Services are not waited for; only a load balancer's address is, because
// nothing else would.
func (p *Postgres) newServices(ctx *pulumi.Context, name string, opts ...pulumi.ResourceOption) error {
	await := pulumi.StringMap{annotationSkipAwait: pulumi.String("true")}
	port := corev1.ServicePortArgs{
		Name:       pulumi.String(portName),
		Port:       pulumi.Int(serverPort),
		TargetPort: pulumi.String(portName),
		Protocol:   pulumi.String("TCP"),
	}

	headless, err := corev1.NewService(ctx, name+"-headless", &corev1.ServiceArgs{
		Metadata: p.objectMeta(ctx, headlessServiceName, await),
		Spec: corev1.ServiceSpecArgs{
			ClusterIP: pulumi.String("None"),
			Selector:  selectorLabels(),
			Ports:     corev1.ServicePortArray{port},
		},
	}, opts...)
	if err != nil {
		return fmt.Errorf("service %s: %w", headlessServiceName, err)
	}

	if p.args.NodePort != 0 {
		port.NodePort = pulumi.Int(p.args.NodePort)
	}
	if p.args.ServiceType == ServiceTypeLoadBalancer {
		await = pulumi.StringMap{annotationWaitFor: pulumi.String("jsonpath={.status.loadBalancer.ingress[0]}")}
	}
	timeout := fmt.Sprintf("%ds", seconds(addressTimeout))
	service, err := corev1.NewService(ctx, name, &corev1.ServiceArgs{
		Metadata: p.objectMeta(ctx, serviceName, await),
		Spec: corev1.ServiceSpecArgs{
			Type:     pulumi.String(p.args.ServiceType),
			Selector: selectorLabels(),
			Ports:    corev1.ServicePortArray{port},
		},
	}, append(opts, pulumi.Timeouts(&pulumi.CustomTimeouts{
		Create: timeout, Update: timeout,
	}))...)
	if err != nil {
		return fmt.Errorf("service %s: %w", serviceName, err)
	}
	p.headlessService, p.service = headless, service
	return nil
}

// nodePort is the port that every node answers on, 0 when the Service's type
// has none.
func (p *Postgres) nodePort() pulumi.IntOutput {
	return p.service.Spec.Ports().ApplyT(func(ports []corev1.ServicePort) int {
		if len(ports) == 0 || ports[0].NodePort == nil {
			return 0
		}
		return *ports[0].NodePort
	}).(pulumi.IntOutput)
}
