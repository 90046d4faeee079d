package observe

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/urn"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"stateful-postgres/internal/contract"
)

// lookAtState reads what components of this name registered in the stack's state.
func (o *Observation) lookAtState(ctx *pulumi.Context, componentType, name string) {
	var last struct {
		Resources map[string]any `pulumi:"outputs"`
	}
	var err error
	// A component in a program of another language may not be told the
	// organization; then the name alone leads to the stack, in the user's default
	// organization.
	full := strings.Join([]string{ctx.Organization(), ctx.Project(), ctx.Stack()}, "/")
	for _, stack := range []string{full, ctx.Stack()} {
		// What the component itself registered, not what the program exports: that is
		// the program's own choice. The plain Invoke refuses results that hold a secret.
		if _, err = ctx.InvokePackageRaw("pulumi:pulumi:readStackResourceOutputs", &struct {
			StackName string `pulumi:"stackName"`
		}{stack}, &last, ""); err == nil {
			break
		}
	}
	if err != nil {
		o.Warnings = append(o.Warnings, fmt.Sprintf(
			"the state that the last update of %s left could not be read, so a changed namespace, another cluster, and data that is gone with its namespace go unnoticed: %v", full, err))
		return
	}
	o.Last = registeredIn(last.Resources, componentType, name)
	o.NamespaceInState = holdsNamespace(last.Resources, componentType, name)
}

// registeredIn is what components of a name registered, from the states of
// resources by URN.
func registeredIn(resources map[string]any, componentType, name string) []Registered {
	var all []Registered
	for key, value := range resources {
		component, err := urn.Parse(key)
		if err != nil || component.Name() != name || string(component.Type()) != componentType {
			continue
		}
		state, _ := value.(map[string]any)
		outputs, _ := state["outputs"].(map[string]any)
		namespace, _ := outputs[contract.OutputNamespace].(string)
		if namespace == "" {
			continue
		}
		_, marker := resources[string(markerOf(component))]
		registered := Registered{Namespace: namespace, DataExpected: dataExpected(outputs, marker)}
		registered.ClusterUID, _ = outputs[contract.OutputClusterUID].(string)
		all = append(all, registered)
	}
	slices.SortFunc(all, func(a, b Registered) int { return strings.Compare(a.Namespace, b.Namespace) })
	return all
}

// dataExpected reads whether a server was ready. A component of an earlier
// version did not register it; an update of one with a server was waited for,
// and one that was scaled to zero since then has its marker in the state.
func dataExpected(outputs map[string]any, marker bool) bool {
	if expected, registered := outputs[contract.OutputDataExpected].(bool); registered {
		return expected
	}
	replicas, _ := outputs[contract.OutputReplicas].(float64)
	return marker || replicas > 0
}

// markerOf is the URN of a component's marker.
func markerOf(component urn.URN) urn.URN {
	return urn.New(component.Stack(), component.Project(), component.QualifiedType(), "kubernetes:core/v1:ConfigMap",
		component.Name()+contract.MarkerSuffix)
}

// holdsNamespace says whether the state holds a namespace that a component of a
// name declared.
func holdsNamespace(resources map[string]any, componentType, name string) bool {
	for key := range resources {
		child, err := urn.Parse(key)
		if err == nil && child.Name() == name && string(child.Type()) == "kubernetes:core/v1:Namespace" &&
			strings.HasSuffix(string(child.QualifiedType()), componentType+"$"+string(child.Type())) {
			return true
		}
	}
	return false
}
