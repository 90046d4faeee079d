package objects

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"

	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"k8s.io/apimachinery/pkg/api/resource"

	"stateful-postgres/components/settings"
	"stateful-postgres/internal/contract"
)

// MembersSecret holds the passwords that the members use among themselves. They
// are generated once, and nobody else needs them. They are not part of the
// clients' Secret: a new password there must not keep a standby from following.
func MembersSecret(d Description) Object[corev1.SecretArgs] {
	object := Object[corev1.SecretArgs]{Title: "secret " + contract.MembersSecret, Suffix: "-ha", Data: true}
	if !d.Settings.HighAvailability {
		return object
	}
	generated := func() pulumi.StringInput {
		return pulumi.String(base64.StdEncoding.EncodeToString([]byte(rand.Text())))
	}
	object.Args = &corev1.SecretArgs{
		Metadata: d.metadata(contract.MembersSecret, nil),
		Type:     pulumi.String("Opaque"),
		Data: pulumi.ToSecret(pulumi.StringMap{
			contract.ReplicationPasswordKey: generated(), contract.CallPasswordKey: generated(),
		}).(pulumi.StringMapOutput),
	}
	object.Options = []pulumi.ResourceOption{pulumi.IgnoreChanges([]string{"data"})}
	return object
}

// MembersConfig holds how the members behave. Patroni keeps more on it: which
// database it is, and its history.
func MembersConfig(d Description) Object[corev1.ConfigMapArgs] {
	object := membersObject(d, contract.MembersConfig)
	if object.Args != nil {
		object.Args.Metadata = d.membersMetadata(contract.MembersConfig, map[string]string{
			contract.MembersConfigKey: dynamicConfig(d.Settings),
		})
	}
	return object
}

// MembersLeader says who takes the writes.
func MembersLeader(d Description) Object[corev1.ConfigMapArgs] {
	return membersObject(d, contract.MembersLeader)
}

// MembersSync says who may take the writes: who has every acknowledged one. It is
// data. Without it a standby that lacks some could be taken for as good as any,
// so it exists before the first member, outlives the stack like the volumes, and
// a member whose database was one before does not start without it.
func MembersSync(d Description) Object[corev1.ConfigMapArgs] {
	return membersObject(d, contract.MembersSync)
}

// MembersFailover says who shall take the writes next.
func MembersFailover(d Description) Object[corev1.ConfigMapArgs] {
	return membersObject(d, contract.MembersFailover)
}

// membersObject is a ConfigMap whose annotations Patroni writes.
func membersObject(d Description, name string) Object[corev1.ConfigMapArgs] {
	object := Object[corev1.ConfigMapArgs]{
		Title: "config map " + name, Suffix: strings.TrimPrefix(name, contract.StatefulSet), Data: true,
	}
	if d.Settings.HighAvailability {
		object.Args = &corev1.ConfigMapArgs{Metadata: d.membersMetadata(name, nil)}
	}
	return object
}

// Times of Patroni, in seconds. The first is the least that it takes; the others
// have to fit in it: loop_wait + 2 * retry_timeout <= ttl.
const (
	leaderTTL    = 20
	loopWait     = 2
	retryTimeout = 5
	// streamTimeout is how long a standby that does not answer keeps commits from
	// being acknowledged.
	streamTimeout = "5s"
)

// agreedParameters are those that all members have to have alike, and what Patroni
// takes without another value. It takes them from its dynamic configuration alone
// (patroni/postgresql/config.py, CMDLINE_OPTIONS).
var agreedParameters = map[string]string{
	"max_connections": "100", "max_locks_per_transaction": "64", "max_prepared_transactions": "0", "max_replication_slots": "10",
	"max_wal_senders": "10", "max_worker_processes": "8", "track_commit_timestamp": "off", "wal_level": "replica", "wal_log_hints": "on",
}

// agreed are the parameters that all members have to have alike.
func agreed(a settings.Args) map[string]string {
	if !a.HighAvailability {
		return agreedParameters
	}
	return withUsers(agreedParameters, a)
}

// withUsers are parameters, with the user's value where there is one.
func withUsers(ours map[string]string, a settings.Args) map[string]string {
	parameters := maps.Clone(ours)
	for name, value := range a.Parameters {
		if _, found := ours[strings.ToLower(name)]; found {
			parameters[strings.ToLower(name)] = value
		}
	}
	return parameters
}

// AgreedParameters are the same as a member says them of itself, once it has
// them.
func AgreedParameters(a settings.Args) string {
	var pairs []string
	for name, value := range agreed(a) {
		pairs = append(pairs, name+"="+value)
	}
	slices.Sort(pairs)
	return strings.Join(pairs, ",")
}

// dynamicConfig is Patroni's dynamic configuration, as JSON.
func dynamicConfig(a settings.Args) string {
	// What the user sets goes here, too: what Patroni writes comes after the file with
	// the other parameters.
	parameters := withUsers(map[string]string{
		"wal_sender_timeout":           streamTimeout,
		"wal_receiver_timeout":         streamTimeout,
		"wal_receiver_status_interval": "1s",
		// How long a standby waits before it connects again to a primary that was away.
		"wal_retrieve_retry_interval": "1s",
		// A slot of a standby that does not come back must not fill the volume.
		"max_slot_wal_keep_size": inMB(share(a.Storage, 3)),
		// A server that comes back finds in it what it needs to be rewound. Each segment
		// may be there twice, see leave_segment in ready.sh.
		"wal_keep_size": inMB(min(share(a.Storage, 8), mostKept)),
	}, a)
	maps.Copy(parameters, agreed(a))
	text, err := json.Marshal(map[string]any{
		"ttl": leaderTTL, "loop_wait": loopWait, "retry_timeout": retryTimeout,
		// Who may take the writes is decided by who has every acknowledged one. The
		// distance in bytes, at any moment of a load, is no measure of that.
		"maximum_lag_on_failover": 1 << 40,
		"primary_start_timeout":   300,
		"synchronous_mode":        true,
		"synchronous_mode_strict": *a.Replicas > 1,
		"synchronous_node_count":  *a.SynchronousStandbys,
		// The primary goes on without the API server as long as it reaches all others.
		"failsafe_mode": true,
		"postgresql": map[string]any{
			"use_pg_rewind": true,
			// A standby that cannot follow is made anew. It was not the one to have
			// what others lack: the sync key says who is.
			"remove_data_directory_on_rewind_failure":     true,
			"remove_data_directory_on_diverged_timelines": true,
			"parameters": parameters,
		},
	})
	if err != nil {
		// A map of texts, numbers and truth values.
		panic(err)
	}
	return string(text)
}

// mostKept is what Patroni takes for wal_keep_size without another value, in MB.
const mostKept = 128

// share is the volume divided by a number, in whole MB.
func share(storage string, by int64) int64 {
	quantity := resource.MustParse(storage)
	return quantity.Value() / by >> 20
}

// inMB is a size as PostgreSQL writes it.
func inMB(size int64) string { return strconv.FormatInt(size, 10) + "MB" }

func (d Description) membersMetadata(name string, annotations map[string]string) metav1.ObjectMetaArgs {
	metadata := d.metadata(name, annotations)
	labels := contract.ObjectLabels()
	maps.Copy(labels, contract.MembersLabels())
	metadata.Labels = pulumi.ToStringMap(labels)
	return metadata
}
