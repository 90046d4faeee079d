package objects

import (
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"stateful-postgres/internal/contract"
)

// Namespace outlives the stack together with the claim that it holds: deleting a
// namespace deletes all claims in it. One that somebody else made is not declared:
// its labels would keep out their pods, and a destroy would delete all that is
// theirs.
func Namespace(d Description) Object[corev1.NamespaceArgs] {
	if !ownsNamespace(d) {
		return Object[corev1.NamespaceArgs]{}
	}
	labels := contract.ObjectLabels()
	standard := "restricted"
	if d.Settings.FixVolumeOwner {
		// The strictest that admits a container which runs as root.
		standard = "baseline"
	}
	for _, mode := range []string{"enforce", "audit", "warn"} {
		labels["pod-security.kubernetes.io/"+mode] = standard
	}
	return Object[corev1.NamespaceArgs]{
		Title: "namespace " + d.Settings.Namespace,
		Args: &corev1.NamespaceArgs{
			Metadata: metav1.ObjectMetaArgs{
				Name:   pulumi.String(d.Settings.Namespace),
				Labels: pulumi.ToStringMap(labels),
				Annotations: pulumi.StringMap{
					contract.AnnotationFieldManager: pulumi.String(d.FieldManager),
				},
			},
		},
		Data: true,
	}
}

// ownsNamespace says whether the namespace is the component's to declare: one that
// it made, or has to make.
func ownsNamespace(d Description) bool {
	create := d.Settings.CreateNamespace
	seen := d.Observed
	switch {
	case seen.OwnNamespace(d.FieldManager):
		return true
	case create != nil:
		return *create
	}
	return !seen.NamespaceExists
}
