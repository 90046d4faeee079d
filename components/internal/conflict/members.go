package conflict

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"stateful-postgres/components/internal/observe"
	"stateful-postgres/components/problem"
	"stateful-postgres/components/settings"
	"stateful-postgres/internal/contract"
)

// members are the settings that would let a server take the writes that lacks
// some, or leave none that may.
func members(a settings.Args, seen observe.Observation) *problem.Problem {
	if seen.NoCluster || !seen.DataExpected(a.Namespace) {
		return nil
	}
	switch {
	case a.HighAvailability && !seen.HighAvailability():
		return switchOn(a, seen)
	case !a.HighAvailability && (seen.HighAvailability() || seen.StatefulSet == nil && len(seen.Trusted()) > 0):
		// Also when only the StatefulSet is gone, as after a destroy.
		return switchOff(seen)
	case a.RequireTLS && seen.Replicas() > 1 && *a.Replicas > 0 && !seen.TLS():
		return requireTLS(seen)
	case a.HighAvailability:
		return trusted(a, seen)
	}
	return nil
}

// requireTLS refuses that a server asks for what the primary does not offer yet: it
// could not follow it, and writes would stand still.
func requireTLS(seen observe.Observation) *problem.Problem {
	first := problem.SetTo("requireTls", "false")
	first.Then = ", run pulumi up, and then set it to true"
	return problem.New("requireTls", "true", fmt.Sprintf("false until all %d servers offer TLS", seen.Replicas()), first)
}

// switchOn lets only the one server that has the rows begin: others may have
// followed it at an earlier time, and lack what it wrote since.
func switchOn(a settings.Args, seen observe.Observation) *problem.Problem {
	if seen.StatefulSet == nil && len(seen.Trusted()) > 0 {
		// Only the StatefulSet is gone, as after a destroy.
		return trusted(a, seen)
	}
	if *a.Replicas == 1 {
		return nil
	}
	first := problem.SetTo("replicas", "1")
	first.Then = ", run pulumi up, and then set more"
	return problem.New("replicas", strconv.Itoa(*a.Replicas),
		fmt.Sprintf("1 when highAvailability is switched on, because only %s has the rows", contract.PodName(0)), first)
}

// switchOff leaves the server alone that has everything, and nobody else that
// might be taken for as good.
func switchOff(seen observe.Observation) *problem.Problem {
	if trusted := seen.Trusted(); len(trusted) == 1 && trusted[0] == contract.PodName(0) && seen.Replicas() <= 1 {
		return nil
	}
	on := problem.SetTo("highAvailability", "true")
	on.Then = ", with replicas 1, run pulumi up, and then switch it off"
	return problem.New("highAvailability", "false",
		fmt.Sprintf("true, because it can be switched off only when %s alone takes the writes, and now that is %s of %d replicas",
			contract.PodName(0), orNobody(seen.Trusted()), seen.Replicas()), on)
}

// trusted refuses a start at which nobody could take the writes.
func trusted(a settings.Args, seen observe.Observation) *problem.Problem {
	names := seen.Trusted()
	switch {
	case *a.Replicas == 0:
		return nil
	case len(names) == 0:
		// Without the key the servers themselves refuse to start, and say more.
		return nil
	case seen.Replicas() > 0:
		// Before it stops others, the update lets one that stays take the writes.
		return nil
	case slices.ContainsFunc(names, func(name string) bool { return ordinal(name) < *a.Replicas }):
		return nil
	}
	needed := strconv.Itoa(ordinal(names[0]) + 1)
	return problem.New("replicas", strconv.Itoa(*a.Replicas),
		fmt.Sprintf("at least %s, because of the servers that were stopped only %s has every acknowledged write", needed, problem.OneOf(names)),
		problem.SetTo("replicas", needed))
}

// ordinal is a pod's number, one that is too great for what is no pod of ours.
func ordinal(pod string) int {
	number, err := strconv.Atoi(strings.TrimPrefix(pod, contract.StatefulSet+"-"))
	if err != nil {
		return settings.MaxReplicas
	}
	return number
}

func orNobody(names []string) string {
	if len(names) == 0 {
		return "nobody"
	}
	return names[0]
}

// standbyClaims refuses a size that the claim of a standby cannot have.
func standbyClaims(a settings.Args, seen observe.Observation) *problem.Problem {
	wanted := resource.MustParse(a.Storage)
	for ordinal := range settings.MaxReplicas {
		claim := seen.Standbys[ordinal]
		if claim == nil {
			continue
		}
		if had := claim.Spec.Resources.Requests[corev1.ResourceStorage]; wanted.Cmp(had) < 0 {
			return problem.New("storage", a.Storage, fmt.Sprintf("at least %s, because the volume of claim %s cannot shrink", had.String(), claim.Name),
				problem.SetTo("storage", had.String()))
		}
		if isDeleted(claim) && *a.Replicas > 0 {
			return problem.NewFound("claim "+claim.Name, isBeingDeleted, "one that stays",
				problem.Run("stop its server and wait until it is gone", fmt.Sprintf("kubectl -n %s wait pvc %s --for=delete --timeout=5m", a.Namespace, claim.Name)))
		}
	}
	return nil
}
