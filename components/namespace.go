package components

import (
	"fmt"

	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// newNamespace declares the namespace. It outlives the stack together with the
// claim that it holds: deleting a namespace deletes all claims in it.
func (p *Postgres) newNamespace(ctx *pulumi.Context, name string, opts ...pulumi.ResourceOption) error {
	labels := objectLabels()
	for _, mode := range []string{"enforce", "audit", "warn"} {
		labels["pod-security.kubernetes.io/"+mode] = pulumi.String("restricted")
	}
	namespace, err := corev1.NewNamespace(ctx, name, &corev1.NamespaceArgs{
		Metadata: metav1.ObjectMetaArgs{
			Name:   pulumi.String(p.args.Namespace),
			Labels: labels,
			Annotations: pulumi.StringMap{
				annotationFieldManager: pulumi.String(p.fieldManager),
			},
		},
	}, append(opts, pulumi.RetainOnDelete(!p.args.DeleteData))...)
	if err != nil {
		return fmt.Errorf("namespace %s: %w", p.args.Namespace, err)
	}
	p.namespace = namespace
	return nil
}
