package objects

import (
	"fmt"
	"maps"

	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"stateful-postgres/components/internal/budget"
	"stateful-postgres/components/settings"
	"stateful-postgres/internal/contract"
)

// Service is what clients connect to.
//
// The provider would watch it for at least ten seconds until its endpoints have
// settled. The StatefulSet's readiness says more, and sooner, so the Services are
// not waited for; only a load balancer's address is, because nothing else would.
func Service(d Description) Object[corev1.ServiceArgs] {
	port := serverPort()
	if d.Settings.NodePort != 0 {
		port.NodePort = pulumi.Int(d.Settings.NodePort)
	}
	await := skipAwait()
	if d.Settings.ServiceType == settings.ServiceTypeLoadBalancer {
		await = map[string]string{contract.AnnotationWaitFor: "jsonpath={.status.loadBalancer.ingress[0]}"}
	}
	annotations := maps.Clone(d.Settings.ServiceAnnotations)
	if annotations == nil {
		annotations = map[string]string{}
	}
	maps.Copy(annotations, await)
	timeout := fmt.Sprintf("%ds", budget.Seconds(budget.Address))
	return Object[corev1.ServiceArgs]{
		Title: "service " + contract.Service,
		Args: &corev1.ServiceArgs{
			Metadata: d.metadata(contract.Service, annotations),
			Spec: corev1.ServiceSpecArgs{
				Type:     pulumi.String(d.Settings.ServiceType),
				Selector: clientsSelector(d.Settings),
				Ports:    corev1.ServicePortArray{port},

				ExternalTrafficPolicy:    OptionalString(d.Settings.ExternalTrafficPolicy),
				LoadBalancerSourceRanges: sourceRanges(d.Settings),
			},
		},
		Options: []pulumi.ResourceOption{pulumi.Timeouts(&pulumi.CustomTimeouts{Create: timeout, Update: timeout})},
	}
}

// clientsSelector names the pod that takes the writes. Without highAvailability it
// is the only one, and nobody gives it a role.
func clientsSelector(a settings.Args) pulumi.StringMap {
	if a.HighAvailability {
		return roleSelector(contract.RolePrimary)
	}
	return selectorLabels()
}

// sourceRanges are whom a load balancer lets in; nil is everybody.
func sourceRanges(a settings.Args) pulumi.StringArrayInput {
	if a.ServiceType != settings.ServiceTypeLoadBalancer || len(a.AllowFrom) == 0 {
		return nil
	}
	return pulumi.ToStringArray(a.AllowFrom)
}

func serverPort() corev1.ServicePortArgs {
	return corev1.ServicePortArgs{
		Name:       pulumi.String(contract.PortName),
		Port:       pulumi.Int(contract.Port),
		TargetPort: pulumi.String(contract.PortName),
		Protocol:   pulumi.String("TCP"),
	}
}

// NodePort is the port that every node answers on, 0 when the Service's type has
// none.
func NodePort(service *corev1.Service) pulumi.IntOutput {
	return service.Spec.Ports().ApplyT(func(ports []corev1.ServicePort) int {
		if len(ports) == 0 || ports[0].NodePort == nil {
			return 0
		}
		return *ports[0].NodePort
	}).(pulumi.IntOutput)
}
