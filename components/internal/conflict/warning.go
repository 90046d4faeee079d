package conflict

import (
	"fmt"
	"slices"
	"strings"

	"stateful-postgres/components/internal/observe"
	"stateful-postgres/components/problem"
	"stateful-postgres/components/settings"
	"stateful-postgres/internal/contract"
)

// Warnings are what an update goes on with, and the user should know: what could
// not be looked at, and what is dangerous.
func Warnings(a settings.Args, seen observe.Observation) []string {
	warnings := slices.Clone(seen.Warnings)
	if stopped := stoppedForGood(seen); stopped != "" {
		warnings = append(warnings, stopped)
	}
	if hidden := hidden(a, seen); len(hidden) > 0 {
		warnings = append(warnings, "these credentials may not read some things, so that they are not checked beforehand: "+strings.Join(hidden, "; "))
	}
	if a.OpenToEverybody() {
		networks := problem.Choosing("allowFrom", "name the networks of the clients")
		encrypted := problem.Setting("requireTls", "true", "refuse plain connections")
		warnings = append(warnings, fmt.Sprintf("everybody who reaches the load balancer of service %s may try passwords of superuser %s, in plain text; %s, or %s",
			contract.Service, a.User, networks.Text(a.Reader()), encrypted.Text(a.Reader())))
	}
	return warnings
}

// hidden are the things that may not be read, each with what follows from it.
func hidden(a settings.Args, seen observe.Observation) []string {
	var all []string
	if seen.ClusterHidden {
		all = append(all, "namespace kube-system (another cluster goes unnoticed)")
	}
	if seen.NamespaceHidden {
		all = append(all, fmt.Sprintf("namespace %s (what it allows its pods, and its deletion)", a.Namespace))
	}
	if seen.StorageClassHidden {
		all = append(all, fmt.Sprintf("storage class %s (whether its volumes can grow)", *seen.Claim.Spec.StorageClassName))
	}
	if seen.ClaimVolumeHidden {
		all = append(all, fmt.Sprintf("volume %s (whether it outlives its claim, and its deletion)", seen.Claim.Spec.VolumeName))
	}
	if seen.VolumeHidden && seen.Claim == nil {
		all = append(all, fmt.Sprintf("volume %s (a claim that it does not fit stays Pending, and kubectl describe -n %s pvc %s says why)",
			a.VolumeName, a.Namespace, contract.ClaimName(0)))
	}
	return all
}
