package objects

import (
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"stateful-postgres/internal/contract"
)

// HeadlessService gives each pod its stable DNS name.
func HeadlessService(d Description) Object[corev1.ServiceArgs] {
	return Object[corev1.ServiceArgs]{
		Title: "service " + contract.HeadlessService, Suffix: "-headless",
		Args: &corev1.ServiceArgs{
			Metadata: d.metadata(contract.HeadlessService, skipAwait()),
			Spec: corev1.ServiceSpecArgs{
				ClusterIP: pulumi.String("None"),
				Selector:  selectorLabels(),
				Ports:     corev1.ServicePortArray{serverPort()},
			},
		},
	}
}
