package components

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
)

// minSharedMemory is what the container runtime gives without being asked.
const minSharedMemory = "64Mi"

// maxScriptsSize leaves room for the rest of the ConfigMap, which holds at most
// 1 MiB.
const maxScriptsSize = 900 << 10

func (a PostgresArgs) checkResources() *InvalidSetting {
	for _, kind := range []struct {
		name   string
		values Scalars
	}{{"requests", a.Resources.Requests}, {"limits", a.Resources.Limits}} {
		for _, name := range slices.Sorted(maps.Keys(kind.values)) {
			at := "resources." + kind.name + "." + name
			if !isResource(name) {
				return invalid(at, kind.values[name], "cpu, memory, ephemeral-storage or hugepages-<size>", unsetPath(at))
			}
			quantity, err := resource.ParseQuantity(kind.values[name])
			if err != nil || quantity.Sign() <= 0 {
				return invalid(at, kind.values[name], "a positive Kubernetes quantity, like 500m or 2Gi", unsetPath(at))
			}
			if limit, limited := a.Resources.Limits[name]; limited {
				if limit, err := resource.ParseQuantity(limit); err == nil && quantity.Cmp(limit) > 0 {
					return invalid(at, kind.values[name], "at most the limit, "+limit.String(), unsetPath(at))
				}
			}
		}
	}
	return nil
}

func isResource(name string) bool {
	switch corev1.ResourceName(name) {
	case corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage:
		return true
	}
	return strings.HasPrefix(name, corev1.ResourceHugePagesPrefix)
}

func (a PostgresArgs) checkShmSize() *InvalidSetting {
	quantity, err := resource.ParseQuantity(a.ShmSize)
	if err != nil || quantity.Cmp(resource.MustParse(minSharedMemory)) < 0 {
		return invalid("shmSize", a.ShmSize, "a Kubernetes quantity of at least "+minSharedMemory+", like 256Mi",
			set("shmSize", DefaultShmSize))
	}
	return nil
}

func (a PostgresArgs) checkNodeSelector() *InvalidSetting {
	for _, key := range slices.Sorted(maps.Keys(a.NodeSelector)) {
		if len(validation.IsQualifiedName(key)) > 0 || len(validation.IsValidLabelValue(a.NodeSelector[key])) > 0 {
			return invalid("nodeSelector", key+"="+a.NodeSelector[key], "a node's label and its value",
				"list them with: kubectl get nodes --show-labels, or remove it with: pulumi config rm nodeSelector")
		}
	}
	return nil
}

func (a PostgresArgs) checkTolerations() *InvalidSetting {
	for _, toleration := range a.Tolerations {
		fix := unset("tolerations")
		switch {
		case toleration.Operator != "" && !slices.Contains(tolerationOperators, string(toleration.Operator)):
			return invalid("tolerations", string(toleration.Operator), "operator "+oneOf(tolerationOperators), fix)
		case toleration.Effect != "" && !slices.Contains(taintEffects, string(toleration.Effect)):
			return invalid("tolerations", string(toleration.Effect), "effect "+oneOf(taintEffects), fix)
		case toleration.Key != "" && len(validation.IsQualifiedName(toleration.Key)) > 0:
			return invalid("tolerations", toleration.Key, "the key of a taint", fix)
		case toleration.Key == "" && toleration.Operator != corev1.TolerationOpExists:
			return invalid("tolerations", string(toleration.Operator), "operator Exists where there is no key", fix)
		case toleration.Operator == corev1.TolerationOpExists && toleration.Value != "":
			return invalid("tolerations", toleration.Value, "no value with operator Exists", fix)
		case toleration.TolerationSeconds != nil && toleration.Effect != corev1.TaintEffectNoExecute:
			return invalid("tolerations", string(toleration.Effect), "effect NoExecute with tolerationSeconds", fix)
		}
	}
	return nil
}

func (a PostgresArgs) checkPriorityClassName() *InvalidSetting {
	if a.PriorityClassName == "" || len(validation.IsDNS1123Subdomain(a.PriorityClassName)) == 0 {
		return nil
	}
	return invalid("priorityClassName", a.PriorityClassName, "the name of a priority class",
		"list them with: kubectl get priorityclass, or "+unset("priorityClassName"))
}

func (a PostgresArgs) checkPodAnnotations() *InvalidSetting {
	for _, key := range slices.Sorted(maps.Keys(a.PodAnnotations)) {
		switch {
		// Upper case is allowed in an annotation's key.
		case len(validation.IsQualifiedName(strings.ToLower(key))) > 0:
			return invalid("podAnnotations", key, "an annotation's key, like example.com/name", unset("podAnnotations"))
		case strings.HasPrefix(key, checksumPrefix):
			return invalid("podAnnotations", key, "another key than those that begin with "+checksumPrefix+", which are the component's",
				unset("podAnnotations"))
		}
	}
	return nil
}

func (a PostgresArgs) checkImagePullSecrets() *InvalidSetting {
	for _, name := range a.ImagePullSecrets {
		if len(validation.IsDNS1123Subdomain(name)) > 0 {
			return invalid("imagePullSecrets", name, "the name of a Secret in the namespace", unset("imagePullSecrets"))
		}
	}
	return nil
}

func (a PostgresArgs) checkInitScripts() *InvalidSetting {
	fix := unset("initScripts")
	size := 0
	for _, name := range slices.Sorted(maps.Keys(a.InitScripts)) {
		size += len(a.InitScripts[name])
		switch {
		case len(validation.IsConfigMapKey(initScriptPrefix+name)) > 0 || path.Base(name) != name:
			return invalid("initScripts", name, "a file name of letters, digits, dots, hyphens and underscores", fix)
		case !strings.HasSuffix(name, ".sh") && !strings.HasSuffix(name, ".sql"):
			return invalid("initScripts", name, "a file name that ends with .sh or .sql, as the image runs no other", fix)
		}
	}
	if size > maxScriptsSize {
		return invalid("initScripts", fmt.Sprintf("%d bytes", size), fmt.Sprintf("at most %d bytes together", maxScriptsSize), fix)
	}
	return nil
}

func unsetPath(setting string) string {
	return "change it with: pulumi config set --path " + setting
}
