package components

import (
	"encoding/json"
	"fmt"

	pulumicorev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	corev1 "k8s.io/api/core/v1"
)

// Resources are the compute resources of the server's container, by name (cpu,
// memory, ephemeral-storage, hugepages-<size>), as Kubernetes quantities.
type Resources struct {
	// Requests are what the node sets aside. Default: the limits, if any.
	Requests Scalars `json:"requests,omitempty"`
	// Limits are what the server may use at most. Default: no limit.
	Limits Scalars `json:"limits,omitempty"`
}

// scheduling are the inputs of a pod that say where it runs.
type scheduling struct {
	affinity    pulumicorev1.AffinityPtrInput
	tolerations pulumicorev1.TolerationArrayInput
}

// scheduling converts the Kubernetes API's types to those of the Pulumi SDK,
// which have the same fields under the same names.
func (a PostgresArgs) scheduling() (scheduling, error) {
	var inputs scheduling
	if a.Affinity != nil && *a.Affinity != (corev1.Affinity{}) {
		var affinity pulumicorev1.Affinity
		if err := convert(a.Affinity, &affinity); err != nil {
			return inputs, fmt.Errorf("affinity: %w", err)
		}
		inputs.affinity = pulumi.ToOutput(affinity).(pulumicorev1.AffinityOutput).ToAffinityPtrOutput()
	}
	if len(a.Tolerations) > 0 {
		var tolerations []pulumicorev1.Toleration
		if err := convert(a.Tolerations, &tolerations); err != nil {
			return inputs, fmt.Errorf("tolerations: %w", err)
		}
		inputs.tolerations = pulumi.ToOutput(tolerations).(pulumicorev1.TolerationArrayOutput)
	}
	return inputs, nil
}

func convert(from, to any) error {
	text, err := json.Marshal(from)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, to)
}

// resourceRequirements is nil when nothing is set.
func (a PostgresArgs) resourceRequirements() pulumicorev1.ResourceRequirementsPtrInput {
	if len(a.Resources.Requests) == 0 && len(a.Resources.Limits) == 0 {
		return nil
	}
	return pulumicorev1.ResourceRequirementsArgs{
		Requests: canonicalQuantities(a.Resources.Requests),
		Limits:   canonicalQuantities(a.Resources.Limits),
	}
}

func canonicalQuantities(values Scalars) pulumi.StringMap {
	if len(values) == 0 {
		return nil
	}
	canonical := pulumi.StringMap{}
	for name, value := range values {
		canonical[name] = pulumi.String(canonicalQuantity(value))
	}
	return canonical
}

func (a PostgresArgs) pullSecrets() pulumicorev1.LocalObjectReferenceArrayInput {
	if len(a.ImagePullSecrets) == 0 {
		return nil
	}
	var secrets pulumicorev1.LocalObjectReferenceArray
	for _, name := range a.ImagePullSecrets {
		secrets = append(secrets, pulumicorev1.LocalObjectReferenceArgs{Name: pulumi.String(name)})
	}
	return secrets
}

// operators and effects of a toleration.
var (
	tolerationOperators = []string{string(corev1.TolerationOpEqual), string(corev1.TolerationOpExists)}
	taintEffects        = []string{
		string(corev1.TaintEffectNoSchedule), string(corev1.TaintEffectPreferNoSchedule), string(corev1.TaintEffectNoExecute),
	}
)
