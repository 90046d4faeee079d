package settings

import (
	"fmt"
	"maps"
	"math"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"

	"stateful-postgres/components/problem"
)

// Limits of the time that a server may take to stop.
const (
	MinShutdownTimeout = 10 * time.Second
	MaxShutdownTimeout = time.Hour
)

var expectedShutdownTimeout = fmt.Sprintf("whole seconds from %s to %s, like 90s or 2m", MinShutdownTimeout, MaxShutdownTimeout)

// InitScriptPrefix begins the ConfigMap's keys of the init scripts.
const InitScriptPrefix = "initdb-"

// expectedRunAsUser has the limit of a user ID in Linux.
var expectedRunAsUser = fmt.Sprintf("a user's number from 1 to %d", math.MaxInt32)

const expectedReplicas = "0 (stopped, data kept) or 1"

// MaxReplicas is the most servers that highAvailability allows.
const MaxReplicas = 9

// MinPatroni is the oldest version of Patroni that loses no acknowledged write:
// before 3.1.1 a standby that lacks some could be promoted, and before 4.0.7 one
// that is process 1 could stand still.
const MinPatroni = "4.0.7"

const expectedSynchronousStandbys = "1 or more servers, and fewer than replicas"

// maxScriptsSize leaves room for the rest of the ConfigMap, which holds at most
// 1 MiB.
const maxScriptsSize = 900 << 10

// imageReference is an image name with an optional registry, and a tag, a digest
// or both, after the grammar of the OCI distribution specification.
var imageReference = regexp.MustCompile(`^` +
	`([a-zA-Z0-9]([a-zA-Z0-9.-]*[a-zA-Z0-9])?(:[0-9]+)?/)?` +
	`[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*` +
	`(:[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127})?` +
	`(@sha256:[a-f0-9]{64})?$`)

// parameterName is the name of a parameter of the server or of an extension.
var parameterName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_$]*)?$`)

// ownParameters are those that the component itself depends on.
var ownParameters = []string{
	"config_file", "data_directory", "external_pid_file", "hba_file", "ident_file", "listen_addresses",
	"password_encryption", "port", "ssl", "ssl_cert_file", "ssl_key_file", "unix_socket_directories", "unix_socket_group", "unix_socket_permissions",
}

// membersParameters are those by which Patroni runs several servers.
var membersParameters = []string{
	"archive_cleanup_command", "cluster_name", "hot_standby", "primary_conninfo", "primary_slot_name", "promote_trigger_file",
	"recovery_end_command", "recovery_min_apply_delay", "recovery_target", "recovery_target_action", "recovery_target_inclusive",
	"recovery_target_lsn", "recovery_target_name", "recovery_target_time", "recovery_target_timeline", "recovery_target_xid",
	"restore_command", "synchronous_standby_names",
}

// leastParameters are the least values that Patroni takes. For less it takes its
// own default (patroni/postgresql/config.py, CMDLINE_OPTIONS).
var leastParameters = map[string]int{
	"max_connections": 25, "max_locks_per_transaction": 32, "max_replication_slots": 4, "max_wal_senders": 3, "max_worker_processes": 2,
}

func tooLittle(name, value string) bool {
	number, err := strconv.Atoi(value)
	return err == nil && number < leastParameters[name]
}

// switchedOn are the ways to write on.
var switchedOn = []string{"on", "true", "yes", "1"}

// membersExpect says what several servers expect of a parameter; "" when the value
// is fine.
func membersExpect(name, value string) string {
	name, value = strings.ToLower(name), strings.ToLower(value)
	const because = " with highAvailability, because with anything else an acknowledged write can be lost"
	switch {
	case slices.Contains(membersParameters, name):
		return "a parameter that Patroni does not set itself"
	case name == "synchronous_commit" && value != "remote_apply" && !slices.Contains(switchedOn, value):
		return "on or remote_apply" + because
	case tooLittle(name, value):
		return fmt.Sprintf("%d or more with highAvailability, because Patroni takes no less", leastParameters[name])
	case name == "fsync" && !slices.Contains(switchedOn, value):
		return "on" + because
	case name == "wal_level" && value == "minimal":
		return "replica or logical with highAvailability, because without one of them nobody can follow"
	}
	return ""
}

func checkReplicas(a Args, replicas *int) *problem.Problem {
	expected, remedies := expectedReplicas, []problem.Remedy{problem.SetTo("replicas", "1")}
	switch {
	case a.HighAvailability && *replicas >= 0 && *replicas <= MaxReplicas:
		return nil
	case a.HighAvailability:
		expected = fmt.Sprintf("0 (stopped, data kept) to %d", MaxReplicas)
	case *replicas == 0 || *replicas == 1:
		return nil
	case *replicas > 1:
		expected += ", because more servers need highAvailability"
		remedies = append(remedies, problem.Setting("highAvailability", "true", "have them follow each other"))
	}
	return problem.New("replicas", strconv.Itoa(*replicas), expected, remedies...)
}

func checkSynchronousStandbys(a Args, count *int) *problem.Problem {
	if *count >= 1 && (*count == 1 || *count < *a.Replicas || *a.Replicas <= 1) {
		return nil
	}
	return problem.New("synchronousStandbys", strconv.Itoa(*count), expectedSynchronousStandbys, problem.SetTo("synchronousStandbys", "1"))
}

func checkSeparateNodes(a Args, separate bool) *problem.Problem {
	if !separate || a.HighAvailability {
		return nil
	}
	return problem.New("separateNodes", "true", "false without highAvailability", problem.Remove("separateNodes"))
}

func checkImage(_ Args, image string) *problem.Problem {
	if imageReference.MatchString(image) {
		return nil
	}
	return problem.New("image", image, "an image reference like postgres:17 or registry.example.com/postgres@sha256:<64 hex digits>",
		problem.SetTo("image", "postgres:17"))
}

func checkRunAsUser(_ Args, user *int) *problem.Problem {
	if *user > 0 && *user <= math.MaxInt32 {
		return nil
	}
	expected := expectedRunAsUser
	if *user == 0 {
		expected += ", because PostgreSQL does not run as root"
	}
	return problem.New("runAsUser", strconv.Itoa(*user), expected, problem.SetTo("runAsUser", "999"))
}

func checkShutdownTimeout(_ Args, timeout time.Duration) *problem.Problem {
	if timeout >= MinShutdownTimeout && timeout <= MaxShutdownTimeout && timeout%time.Second == 0 {
		return nil
	}
	return problem.New("shutdownTimeout", timeout.String(), expectedShutdownTimeout, problem.SetTo("shutdownTimeout", "2m"))
}

func checkParameters(a Args, parameters Scalars) *problem.Problem {
	for _, name := range slices.Sorted(maps.Keys(parameters)) {
		at, value := "parameters."+name, parameters[name]
		switch {
		case !parameterName.MatchString(name):
			return problem.New("parameters", name, "the name of a parameter of PostgreSQL", problem.Remove("parameters"))
		case slices.Contains(ownParameters, strings.ToLower(name)):
			return problem.New(at, value, "a parameter that the component does not set itself", problem.RemoveEntry(at))
		case a.HighAvailability && membersExpect(name, value) != "":
			return problem.New(at, value, membersExpect(name, value), problem.RemoveEntry(at))
		case strings.ContainsFunc(value, unicode.IsControl):
			return problem.New(at, value, "a value without a line break or another control character", problem.ChangeEntry(at))
		}
	}
	return nil
}

func checkInitScripts(_ Args, scripts map[string]string) *problem.Problem {
	remedy := problem.Remove("initScripts")
	size := 0
	for _, name := range slices.Sorted(maps.Keys(scripts)) {
		size += len(scripts[name])
		switch {
		case len(validation.IsConfigMapKey(InitScriptPrefix+name)) > 0 || path.Base(name) != name:
			return problem.New("initScripts", name, "a file name of letters, digits, dots, hyphens and underscores", remedy)
		case !strings.HasSuffix(name, ".sh") && !strings.HasSuffix(name, ".sql"):
			return problem.New("initScripts", name, "a file name that ends with .sh or .sql, as the image runs no other", remedy)
		}
	}
	if size > maxScriptsSize {
		return problem.New("initScripts", fmt.Sprintf("%d bytes", size), fmt.Sprintf("at most %d bytes together", maxScriptsSize), remedy)
	}
	return nil
}

func checkResources(_ Args, resources Resources) *problem.Problem {
	for _, kind := range []struct {
		name   string
		values Scalars
	}{{"requests", resources.Requests}, {"limits", resources.Limits}} {
		for _, name := range slices.Sorted(maps.Keys(kind.values)) {
			at, value := "resources."+kind.name+"."+name, kind.values[name]
			if !isResource(name) {
				return problem.New(at, value, "cpu, memory, ephemeral-storage or hugepages-<size>", problem.ChangeEntry(at))
			}
			quantity, err := resource.ParseQuantity(value)
			if err != nil || quantity.Sign() <= 0 {
				return problem.New(at, value, "a positive Kubernetes quantity, like 500m or 2Gi", problem.ChangeEntry(at))
			}
			if limit, err := resource.ParseQuantity(resources.Limits[name]); err == nil && quantity.Cmp(limit) > 0 {
				return problem.New(at, value, "at most the limit, "+limit.String(), problem.ChangeEntry(at))
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
