package objects

import (
	"fmt"

	appsv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/apps/v1"
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"stateful-postgres/components/internal/budget"
	"stateful-postgres/components/settings"
	"stateful-postgres/internal/contract"
)

// StatefulSet runs the servers. An update waits for it: until all pods are ready,
// or, at zero, gone. credentials and certificate are the component's Secrets; the
// second is nil when it makes none.
//
// The fields that the API server does not let anybody change (service name,
// selector, pod management, claim templates) do not depend on any setting. A
// change of one would replace the StatefulSet.
func StatefulSet(d Description, credentials, certificate *corev1.Secret) Object[appsv1.StatefulSetArgs] {
	timeout := fmt.Sprintf("%ds", budget.Seconds(budget.Budget{Shutdown: d.Settings.ShutdownTimeout}.Update()))
	return Object[appsv1.StatefulSetArgs]{
		Title: "stateful set " + contract.StatefulSet,
		Args: &appsv1.StatefulSetArgs{
			Metadata: d.metadata(contract.StatefulSet, nil),
			Spec: appsv1.StatefulSetSpecArgs{
				ServiceName:         pulumi.String(contract.HeadlessService),
				Replicas:            pulumi.Int(*d.Settings.Replicas),
				PodManagementPolicy: pulumi.String("Parallel"),
				Selector:            metav1.LabelSelectorArgs{MatchLabels: selectorLabels()},
				PersistentVolumeClaimRetentionPolicy: appsv1.StatefulSetPersistentVolumeClaimRetentionPolicyArgs{
					WhenDeleted: pulumi.String("Retain"),
					WhenScaled:  pulumi.String("Retain"),
				},
				VolumeClaimTemplates: corev1.PersistentVolumeClaimTypeArray{claimTemplate()},
				Template:             podTemplate(d, credentials, certificate),
			},
		},
		Options: []pulumi.ResourceOption{pulumi.Timeouts(&pulumi.CustomTimeouts{Create: timeout, Update: timeout, Delete: timeout})},
	}
}

// claimTemplate is what the StatefulSet would give a pod whose claim does not
// exist. A StatefulSet's templates are immutable, so this one says nothing that
// a setting could change; the claim of pod 0 exists before its pod does.
func claimTemplate() corev1.PersistentVolumeClaimTypeArgs {
	return corev1.PersistentVolumeClaimTypeArgs{
		Metadata: metav1.ObjectMetaArgs{Name: pulumi.String(contract.ClaimTemplate), Labels: pulumi.ToStringMap(contract.ObjectLabels())},
		Spec: corev1.PersistentVolumeClaimSpecArgs{
			AccessModes: pulumi.ToStringArray([]string{settings.AccessModeReadWriteOnce}),
			Resources: corev1.VolumeResourceRequirementsArgs{
				Requests: pulumi.StringMap{"storage": pulumi.String("1Gi")},
			},
		},
	}
}
