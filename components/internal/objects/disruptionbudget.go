package objects

import (
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	policyv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/policy/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"stateful-postgres/internal/contract"
)

// DisruptionBudget lets drains take one server at a time. One that is not ready
// may always be taken, or it would block a drain for ever. With one server there
// is no budget: nothing could be drained.
func DisruptionBudget(d Description) Object[policyv1.PodDisruptionBudgetArgs] {
	object := Object[policyv1.PodDisruptionBudgetArgs]{Title: "disruption budget " + contract.DisruptionBudget}
	if !d.Settings.HighAvailability || *d.Settings.Replicas < 2 {
		return object
	}
	object.Args = &policyv1.PodDisruptionBudgetArgs{
		Metadata: d.metadata(contract.DisruptionBudget, nil),
		Spec: policyv1.PodDisruptionBudgetSpecArgs{
			MaxUnavailable:             pulumi.Int(1),
			Selector:                   metav1.LabelSelectorArgs{MatchLabels: selectorLabels()},
			UnhealthyPodEvictionPolicy: pulumi.String("AlwaysAllow"),
		},
	}
	return object
}
