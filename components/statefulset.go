package components

import (
	"fmt"

	appsv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/apps/v1"
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// newStatefulSet declares the StatefulSet, which an update waits for: until all
// pods are ready, or, at zero, gone.
//
// The fields that the API server does not let anybody change (service name,
// selector, pod management, claim templates) do not depend on any setting. A
// change of one would replace the StatefulSet.
func (p *Postgres) newStatefulSet(ctx *pulumi.Context, name string, opts ...pulumi.ResourceOption) error {
	template, err := p.podTemplate()
	if err != nil {
		return fmt.Errorf("stateful set %s: %w", statefulSetName, err)
	}
	timeout := fmt.Sprintf("%ds", seconds(budget{p.args.ShutdownTimeout}.update()))
	statefulSet, err := appsv1.NewStatefulSet(ctx, name, &appsv1.StatefulSetArgs{
		Metadata: p.objectMeta(ctx, statefulSetName, nil),
		Spec: appsv1.StatefulSetSpecArgs{
			ServiceName:         pulumi.String(headlessServiceName),
			Replicas:            pulumi.Int(*p.args.Replicas),
			PodManagementPolicy: pulumi.String("Parallel"),
			Selector:            metav1.LabelSelectorArgs{MatchLabels: selectorLabels()},
			PersistentVolumeClaimRetentionPolicy: appsv1.StatefulSetPersistentVolumeClaimRetentionPolicyArgs{
				WhenDeleted: pulumi.String("Retain"),
				WhenScaled:  pulumi.String("Retain"),
			},
			VolumeClaimTemplates: corev1.PersistentVolumeClaimTypeArray{claimTemplate()},
			Template:             template,
		},
	}, append(opts, pulumi.Timeouts(&pulumi.CustomTimeouts{
		Create: timeout, Update: timeout, Delete: timeout,
	}))...)
	if err != nil {
		return fmt.Errorf("stateful set %s: %w", statefulSetName, err)
	}
	p.statefulSet = statefulSet
	return nil
}
