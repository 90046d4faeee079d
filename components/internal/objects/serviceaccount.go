package objects

import (
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"stateful-postgres/internal/contract"
)

// ServiceAccount is the identity of the pods. It has no token and no rights: the
// server asks nothing of the cluster. With the namespace's default account it
// would have whatever somebody grants that one.
func ServiceAccount(d Description) Object[corev1.ServiceAccountArgs] {
	return Object[corev1.ServiceAccountArgs]{
		Title: "service account " + contract.ServiceAccount,
		Args: &corev1.ServiceAccountArgs{
			Metadata:                     d.metadata(contract.ServiceAccount, nil),
			AutomountServiceAccountToken: pulumi.Bool(false),
		},
	}
}
