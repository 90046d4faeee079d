package conflict

import (
	"fmt"

	"stateful-postgres/components/internal/observe"
	"stateful-postgres/components/problem"
	"stateful-postgres/components/settings"
)

// movedCluster refuses another cluster than the one that the settings name, and
// without such a setting, than that of the last update: everything would be made
// anew there, and what is in the other would be forgotten.
//
// A cluster is said by its UID, because that confirms this one cluster: a
// setting that stays can confirm no other by mistake.
func movedCluster(a settings.Args, seen observe.Observation) *problem.Problem {
	if seen.ClusterUID == "" {
		return nil
	}
	got := fmt.Sprintf("cluster %s at %s", seen.ClusterUID, seen.Server)
	back := problem.Do("correct kubernetes:context or kubernetes:kubeconfig")
	switch last := seen.LastIn(a.Namespace).ClusterUID; {
	case a.ClusterUID == seen.ClusterUID:
		return nil
	case a.ClusterUID != "":
		moved := problem.Setting("clusterUid", seen.ClusterUID, "if the stack belongs to this one:")
		return &problem.Problem{
			Setting: "clusterUid", Got: got, Expected: fmt.Sprintf("cluster %s, because that is set", problem.Quote(a.ClusterUID)),
			Remedies: []problem.Remedy{back, moved},
		}
	case last != "" && last != seen.ClusterUID:
		moved := problem.Setting("clusterUid", seen.ClusterUID, "if the stack has moved to this one:")
		return &problem.Problem{
			Setting: "clusterUid", Got: got, Expected: fmt.Sprintf("cluster %s, because the stack's last update left its server and its data there", last),
			Remedies: []problem.Remedy{back, moved}, Note: newStack,
		}
	}
	return nil
}
