package objects

import (
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"stateful-postgres/internal/contract"
)

// ReplicasService leads to the servers that follow the primary, for reading.
func ReplicasService(d Description) Object[corev1.ServiceArgs] {
	object := Object[corev1.ServiceArgs]{Title: "service " + contract.ReplicasService, Suffix: "-replicas"}
	if d.Settings.HighAvailability {
		object.Args = &corev1.ServiceArgs{
			Metadata: d.metadata(contract.ReplicasService, skipAwait()),
			Spec: corev1.ServiceSpecArgs{
				Selector: roleSelector(contract.RoleReplica),
				Ports:    corev1.ServicePortArray{serverPort()},
			},
		}
	}
	return object
}

// roleSelector names the pods whose server is a primary, or a replica.
func roleSelector(role string) pulumi.StringMap {
	labels := selectorLabels()
	labels[contract.LabelRole] = pulumi.String(role)
	return labels
}
