package conflict

import (
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"stateful-postgres/components/internal/observe"
	"stateful-postgres/components/problem"
	"stateful-postgres/components/settings"
	"stateful-postgres/internal/contract"
)

// takeoverSection is the part of README.md that shows how to keep the rows of
// another set-up.
const takeoverSection = `README.md shows under "Taking over the lab's own YAML"`

// movedNamespace refuses another namespace than the one in which the stack's last
// update left its data.
func movedNamespace(a settings.Args, seen observe.Observation) *problem.Problem {
	if len(seen.Last) == 0 || seen.LastIn(a.Namespace).Namespace != "" {
		return nil
	}
	had := seen.Last[0].Namespace
	return problem.New("namespace", a.Namespace, fmt.Sprintf("%s, because the data is there and cannot move to another namespace", had),
		problem.SetTo("namespace", had)).WithNote(newStack)
}

// createNamespace refuses what does not fit the namespace that is there, or is
// not.
func createNamespace(a settings.Args, seen observe.Observation, manager string) *problem.Problem {
	if a.CreateNamespace == nil || seen.NoCluster {
		return nil
	}
	own := seen.OwnNamespace(manager)
	remove := problem.Remove("createNamespace")
	switch create := *a.CreateNamespace; {
	case create && seen.NamespaceExists && !own:
		return problem.New("createNamespace", "true", fmt.Sprintf("nothing or false, because namespace %s is there and the component did not make it", a.Namespace),
			remove, problem.Choosing("namespace", "choose another namespace"))
	case !create && own:
		return problem.New("createNamespace", "false", fmt.Sprintf("nothing or true, because the component made namespace %s", a.Namespace), remove)
	case !create && !seen.NamespaceExists && !seen.NamespaceHidden:
		return problem.New("createNamespace", "false", fmt.Sprintf("a namespace %s that exists", a.Namespace),
			problem.Run("make it", "kubectl create namespace "+a.Namespace), remove)
	}
	return nil
}

// otherSetUp refuses a namespace in which another set-up uses the component's
// names: an update would have to replace its StatefulSet, and would leave a
// mixture of both.
func otherSetUp(a settings.Args, seen observe.Observation) *problem.Problem {
	objects := objectsOfOthers(seen)
	if len(objects) == 0 {
		return nil
	}
	return problem.New("namespace", a.Namespace, "one without the objects of another set-up, as this one has: "+strings.Join(objects, ", "),
		problem.Do("keep its rows as "+takeoverSection), problem.Choosing("namespace", "choose another"))
}

// objectsOfOthers are the objects that an update could not make its own: a
// StatefulSet would have to be replaced, a label in a Service's selector and a
// password in the ConfigMap would stay, for they have another manager.
func objectsOfOthers(seen observe.Observation) []string {
	var objects []string
	if set := seen.StatefulSet; set != nil && !isOwnStatefulSet(set) {
		objects = append(objects, fmt.Sprintf("StatefulSet %s (%s)", set.Name, metav1.FormatLabelSelector(set.Spec.Selector)))
	}
	for _, service := range seen.Services {
		if !isOwnSelector(service.Spec.Selector) {
			objects = append(objects, fmt.Sprintf("Service %s (%s)", service.Name, labels.FormatLabels(service.Spec.Selector)))
		}
	}
	if configMap := seen.ConfigMap; configMap != nil {
		if _, found := configMap.Data[contract.PasswordKey]; found {
			objects = append(objects, fmt.Sprintf("ConfigMap %s (with a password)", configMap.Name))
		}
	}
	return objects
}

// isOwnStatefulSet compares what nobody can change in a StatefulSet.
func isOwnStatefulSet(set *appsv1.StatefulSet) bool {
	templates := set.Spec.VolumeClaimTemplates
	return set.Spec.ServiceName == contract.HeadlessService &&
		set.Spec.PodManagementPolicy == appsv1.ParallelPodManagement &&
		set.Spec.Selector != nil && isOwnSelector(set.Spec.Selector.MatchLabels) && len(set.Spec.Selector.MatchExpressions) == 0 &&
		len(templates) == 1 && templates[0].Name == contract.ClaimTemplate
}

// isOwnSelector says whether a selector asks for nothing but the component's own
// labels, whatever their values: those the next update puts right.
func isOwnSelector(selector map[string]string) bool {
	own := contract.SelectorLabels()
	own[contract.LabelRole] = ""
	for label := range selector {
		if _, found := own[label]; !found {
			return false
		}
	}
	return true
}

// otherOwner refuses a namespace whose claim holds the data of another stack: two
// stacks with one database would undo each other's settings. A stack that was
// renamed, or one that takes over the data of another for good, is let in once
// the claim no longer says whose it is.
func otherOwner(a settings.Args, seen observe.Observation, manager string) *problem.Problem {
	if seen.Claim == nil {
		return nil
	}
	owner := seen.Claim.Annotations[contract.AnnotationFieldManager]
	if owner == "" || owner == manager {
		return nil
	}
	return problem.New("namespace", a.Namespace,
		fmt.Sprintf("one that does not hold the data of another stack or component, as this one does (%s)", owner),
		problem.Choosing("namespace", "choose another"),
		problem.Run("take the data over", fmt.Sprintf("kubectl annotate -n %s pvc %s %s-", a.Namespace, contract.ClaimName(0), contract.AnnotationFieldManager)))
}
