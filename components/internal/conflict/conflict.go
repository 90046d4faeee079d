// Package conflict finds the settings that do not fit what is there. It only
// compares two values, settings and observation: nothing is read or changed.
package conflict

import (
	"stateful-postgres/components/internal/observe"
	"stateful-postgres/components/problem"
	"stateful-postgres/components/settings"
)

// Find returns the settings that do not fit what was observed: each would replace
// the claim, or leave the server with a volume that is not what the settings say.
// They are found before anything is declared, so that an update that is refused
// has changed nothing. manager is the field manager of the component.
//
// The first that make all others meaningless are returned alone.
func Find(a settings.Args, seen observe.Observation, manager string) []problem.Problem {
	for _, check := range []func() *problem.Problem{
		func() *problem.Problem { return movedCluster(a, seen) },
		func() *problem.Problem { return movedNamespace(a, seen) },
		func() *problem.Problem { return createNamespace(a, seen, manager) },
		func() *problem.Problem { return otherSetUp(a, seen) },
		func() *problem.Problem { return otherOwner(a, seen, manager) },
	} {
		if found := check(); found != nil {
			return []problem.Problem{*found}
		}
	}
	if found := beingDeleted(a, seen); len(found) > 0 {
		return found
	}
	found := data(a, seen)
	if wrong := certificateSecret(a, seen); wrong != nil {
		found = append(found, *wrong)
	}
	return found
}

// data are the settings that do not fit the data that is there.
func data(a settings.Args, seen observe.Observation) []problem.Problem {
	var found []problem.Problem
	add := func(wrong *problem.Problem) {
		if wrong != nil {
			found = append(found, *wrong)
		}
	}
	add(lostVolume(a, seen))
	if seen.ClaimNeverBound() {
		// Nothing is on it: one that asks for something else takes its place.
		seen.Claim = nil
	}
	found = append(found, volume(a, seen)...)
	if seen.Claim != nil {
		add(lostClaim(seen))
		add(accessModes(a, seen.Claim))
		add(storage(a, seen))
		add(storageClass(a, seen.Claim))
		add(initialized(a, seen, "database", a.Database))
		add(initialized(a, seen, "user", a.User))
		add(runAsUser(a, seen))
	}
	// Also where the first claim is gone: the others may have the rows.
	add(members(a, seen))
	add(standbyClaims(a, seen))
	problem.Sort(found)
	return found
}

// newStack is advice for whoever wants other data.
const newStack = "for other data use another stack with a namespace of its own"
