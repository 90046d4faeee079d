package components

import (
	"fmt"

	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

const serviceAccountName = "postgres"

// newServiceAccount declares the identity of the pods. It has no token and no
// rights: the server asks nothing of the cluster. With the namespace's default
// account it would have whatever somebody grants that one.
func (p *Postgres) newServiceAccount(ctx *pulumi.Context, name string, opts ...pulumi.ResourceOption) error {
	account, err := corev1.NewServiceAccount(ctx, name, &corev1.ServiceAccountArgs{
		Metadata:                     p.objectMeta(ctx, serviceAccountName, nil),
		AutomountServiceAccountToken: pulumi.Bool(false),
	}, opts...)
	if err != nil {
		return fmt.Errorf("service account %s: %w", serviceAccountName, err)
	}
	p.serviceAccount = account
	return nil
}
