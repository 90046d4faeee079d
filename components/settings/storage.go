package settings

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"

	"stateful-postgres/components/problem"
	"stateful-postgres/internal/contract"
)

// Access modes of a volume that the server can write to.
const (
	AccessModeReadWriteOnce    = "ReadWriteOnce"
	AccessModeReadWriteOncePod = "ReadWriteOncePod"
	AccessModeReadWriteMany    = "ReadWriteMany"
)

var (
	accessModes         = []string{AccessModeReadWriteOnce, AccessModeReadWriteOncePod, AccessModeReadWriteMany}
	expectedAccessModes = "one or more of " + problem.OneOf(accessModes)
)

const (
	// minStorage holds an empty data directory and its first log segments.
	minStorage = "128Mi"
	// minSharedMemory is what the container runtime gives without being asked.
	minSharedMemory = "64Mi"
)

func checkStorage(_ Args, size string) *problem.Problem {
	quantity, err := resource.ParseQuantity(size)
	if err == nil && quantity.Cmp(resource.MustParse(minStorage)) >= 0 {
		return nil
	}
	return problem.New("storage", size, "a Kubernetes quantity of at least "+minStorage+", like 1Gi or 500Gi", problem.SetTo("storage", "1Gi"))
}

func checkShmSize(_ Args, size string) *problem.Problem {
	quantity, err := resource.ParseQuantity(size)
	if err == nil && quantity.Cmp(resource.MustParse(minSharedMemory)) >= 0 {
		return nil
	}
	return problem.New("shmSize", size, "a Kubernetes quantity of at least "+minSharedMemory+", like 256Mi", problem.SetTo("shmSize", "256Mi"))
}

func checkStorageClass(_ Args, class string) *problem.Problem {
	if class == "" || len(validation.IsDNS1123Subdomain(class)) == 0 {
		return nil
	}
	return problem.New("storageClass", class, "the name of a storage class",
		problem.Run("list them", "kubectl get storageclass"), problem.Removing("storageClass", "use the default one"))
}

func checkVolumeName(_ Args, name string) *problem.Problem {
	if name == "" || len(validation.IsDNS1123Subdomain(name)) == 0 {
		return nil
	}
	return problem.New("volumeName", name, "the name of a PersistentVolume",
		problem.Run("list them", "kubectl get pv"), problem.Removing("volumeName", "let the storage class make a new one"))
}

func checkAccessModes(_ Args, modes []string) *problem.Problem {
	value := strings.Join(modes, ",")
	invalid := func(expected string) *problem.Problem {
		return problem.New("accessModes", value, expected, problem.SetTo("accessModes", AccessModeReadWriteOnce))
	}
	for _, mode := range modes {
		switch {
		case mode == "ReadOnlyMany":
			return invalid("modes that the server can write with: " + problem.OneOf(accessModes))
		case !slices.Contains(accessModes, mode):
			return invalid(expectedAccessModes)
		}
	}
	sorted := slices.Sorted(slices.Values(modes))
	if len(slices.Compact(sorted)) < len(modes) {
		return invalid("each mode once")
	}
	if len(modes) > 1 && slices.Contains(modes, AccessModeReadWriteOncePod) {
		return invalid(AccessModeReadWriteOncePod + " alone, as Kubernetes demands")
	}
	return nil
}

func checkInitializeEmptyVolume(a Args, initialize bool) *problem.Problem {
	if !initialize || !a.HighAvailability {
		return nil
	}
	return problem.New("initializeEmptyVolume", "true", "false with highAvailability, because other servers may have the rows, and an empty volume takes them from there",
		problem.Remove("initializeEmptyVolume"), BeginAlone())
}

// BeginAlone is how to give up the rows of several servers: one server begins, and
// later others follow it.
func BeginAlone() problem.Remedy {
	alone := problem.Setting("highAvailability", "false", "begin again without the old rows, from replicas 0:")
	alone.Then = ", with initializeEmptyVolume true"
	return alone
}

// GoOnWith is how to go on with a server that may lack acknowledged writes.
func GoOnWith(namespace string) problem.Remedy {
	return problem.Run("go on with another server, without the writes that it lacks:", fmt.Sprintf(
		"kubectl -n %s annotate --overwrite configmap %s %s=%s-N", namespace, contract.MembersSync, contract.MembersLeaderKey, contract.StatefulSet))
}
