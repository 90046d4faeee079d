package settings

import (
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"stateful-postgres/components/problem"
	"stateful-postgres/internal/contract"
)

// Operators and effects of a toleration.
var (
	tolerationOperators = []string{string(corev1.TolerationOpEqual), string(corev1.TolerationOpExists)}
	taintEffects        = []string{
		string(corev1.TaintEffectNoSchedule), string(corev1.TaintEffectPreferNoSchedule), string(corev1.TaintEffectNoExecute),
	}
)

func checkNodeSelector(_ Args, selector Scalars) *problem.Problem {
	for _, key := range slices.Sorted(maps.Keys(selector)) {
		if len(validation.IsQualifiedName(key)) > 0 || len(validation.IsValidLabelValue(selector[key])) > 0 {
			return problem.New("nodeSelector", key+"="+selector[key], "a node's label and its value",
				problem.Run("list them", "kubectl get nodes --show-labels"), problem.Remove("nodeSelector"))
		}
	}
	return nil
}

func checkTolerations(_ Args, tolerations []corev1.Toleration) *problem.Problem {
	invalid := func(value, expected string) *problem.Problem {
		return problem.New("tolerations", value, expected, problem.Remove("tolerations"))
	}
	for _, toleration := range tolerations {
		operator, effect := string(toleration.Operator), string(toleration.Effect)
		switch {
		case operator != "" && !slices.Contains(tolerationOperators, operator):
			return invalid(operator, "operator "+problem.OneOf(tolerationOperators))
		case effect != "" && !slices.Contains(taintEffects, effect):
			return invalid(effect, "effect "+problem.OneOf(taintEffects))
		case toleration.Key != "" && len(validation.IsQualifiedName(toleration.Key)) > 0:
			return invalid(toleration.Key, "the key of a taint")
		case toleration.Key == "" && toleration.Operator != corev1.TolerationOpExists:
			return invalid(operator, "operator Exists where there is no key")
		case toleration.Operator == corev1.TolerationOpExists && toleration.Value != "":
			return invalid(toleration.Value, "no value with operator Exists")
		case toleration.TolerationSeconds != nil && toleration.Effect != corev1.TaintEffectNoExecute:
			return invalid(effect, "effect NoExecute with tolerationSeconds")
		}
	}
	return nil
}

func checkPriorityClassName(_ Args, name string) *problem.Problem {
	if name == "" || len(validation.IsDNS1123Subdomain(name)) == 0 {
		return nil
	}
	return problem.New("priorityClassName", name, "the name of a priority class",
		problem.Run("list them", "kubectl get priorityclass"), problem.Remove("priorityClassName"))
}

func checkPodAnnotations(_ Args, annotations Scalars) *problem.Problem {
	return checkAnnotations("podAnnotations", annotations, contract.AnnotationChecksumPrefix)
}

// checkAnnotations refuses keys that are none, and those that begin with a prefix
// of the component's own.
func checkAnnotations(setting string, annotations Scalars, own string) *problem.Problem {
	for _, key := range slices.Sorted(maps.Keys(annotations)) {
		switch {
		// Upper case is allowed in an annotation's key.
		case len(validation.IsQualifiedName(strings.ToLower(key))) > 0:
			return problem.New(setting, key, "an annotation's key, like example.com/name", problem.Remove(setting))
		case strings.HasPrefix(key, own):
			return problem.New(setting, key, "another key than those that begin with "+own+", which are the component's", problem.Remove(setting))
		}
	}
	return nil
}

func checkImagePullSecrets(_ Args, names []string) *problem.Problem {
	for _, name := range names {
		if len(validation.IsDNS1123Subdomain(name)) > 0 {
			return problem.New("imagePullSecrets", name, "the name of a Secret in the namespace", problem.Remove("imagePullSecrets"))
		}
	}
	return nil
}
