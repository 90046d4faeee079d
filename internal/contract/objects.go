// Package contract holds what the component and those who look at its work have
// to agree on: the names of the objects in Kubernetes, their labels, keys and
// paths, and the outputs of a stack. Each stands here once.
//
// Anything may import it, so it imports nothing but the standard library.
package contract

import (
	"fmt"
	"strings"
)

// Names of the objects. They never change: an object under another name would be
// a new one, and a server would come up on a new, empty volume.
const (
	StatefulSet    = "postgres"
	ServiceAccount = "postgres"
	NetworkPolicy  = "postgres"
	ConfigMap      = "postgres-config"
	// CredentialsSecret holds the password.
	CredentialsSecret = "postgres-credentials"
	// TLSSecret is the Secret of the certificate that the component makes.
	TLSSecret = "postgres-tls"
	// Service is what clients connect to.
	Service = "postgres"
	// HeadlessService gives every pod a name of its own.
	HeadlessService = "postgres-headless"
	// CheckJob is the Job that tries the server's settings out, and CheckContainer
	// the container of its pod.
	CheckJob       = "postgres-check"
	CheckContainer = "check"
	// ClaimTemplate is the StatefulSet's template of claims, and the name of the
	// volume in its pods.
	ClaimTemplate = "postgredb"
	// Marker is the ConfigMap that says: there was data. It is made once a server
	// was ready. As long as it exists, a server that finds an empty volume refuses
	// to start.
	Marker = "postgres-data-expected"
	// Names with highAvailability. MembersScope is the name of the cluster of members
	// for Patroni, and begins the names of the ConfigMaps in which they agree.
	// MembersConfig holds how they behave, MembersLeader who takes the writes,
	// MembersSync who may, and MembersFailover who shall next.
	MembersScope    = "postgres-ha"
	MembersConfig   = MembersScope + "-config"
	MembersLeader   = MembersScope + "-leader"
	MembersSync     = MembersScope + "-sync"
	MembersFailover = MembersScope + "-failover"
	// MembersSecret holds the passwords that the members use among themselves.
	MembersSecret = "postgres-ha-credentials"
	// MembersRole is the Role, and its binding, of the servers' pods.
	MembersRole = "postgres-ha"
	// ReplicasService leads to the servers that follow the primary.
	ReplicasService = "postgres-replicas"
	// DisruptionBudget lets a drain take one server at a time.
	DisruptionBudget = "postgres"
	// MarkerSuffix is what its name in the Pulumi state adds to the component's.
	MarkerSuffix = "-data-expected"
)

// ClaimName is the name of the claim of the pod with an ordinal: the one that the
// StatefulSet looks for.
func ClaimName(ordinal int) string {
	return fmt.Sprintf("%s-%s-%d", ClaimTemplate, StatefulSet, ordinal)
}

// PodName is the name of the pod with an ordinal.
func PodName(ordinal int) string { return fmt.Sprintf("%s-%d", StatefulSet, ordinal) }

// Labels of the objects, and their values.
const (
	LabelName      = "app.kubernetes.io/name"
	LabelInstance  = "app.kubernetes.io/instance"
	LabelManagedBy = "app.kubernetes.io/managed-by"
	// LabelMembers is on all that Patroni reads, and LabelRole on a pod, where
	// Patroni writes what the server is.
	LabelMembers = "stateful-postgres/members"
	LabelRole    = "stateful-postgres/role"

	NameValue      = "postgres"
	InstanceValue  = StatefulSet
	ManagedByValue = "pulumi"
	RolePrimary    = "primary"
	RoleReplica    = "replica"
)

// SelectorLabels name the pods of the server. They can never change in a
// StatefulSet, so they hold nothing that a setting decides.
func SelectorLabels() map[string]string {
	return map[string]string{LabelName: NameValue, LabelInstance: InstanceValue}
}

// ObjectLabels are on everything that the component makes.
func ObjectLabels() map[string]string {
	labels := SelectorLabels()
	labels[LabelManagedBy] = ManagedByValue
	return labels
}

// Annotations.
const (
	// AnnotationDatabase and AnnotationUser are on the claim and say what the first
	// start made on the volume, and AnnotationRunAsUser whose the volume is.
	AnnotationDatabase  = "stateful-postgres/database"
	AnnotationUser      = "stateful-postgres/user"
	AnnotationRunAsUser = "stateful-postgres/run-as-user"
	// AnnotationPassword and AnnotationParameters are on a member's pod, where the
	// member says what is in effect: the digest of the password, and the parameters
	// that all members have alike.
	AnnotationPassword   = "stateful-postgres/password"
	AnnotationParameters = "stateful-postgres/parameters"
	// AnnotationLooked is on a member's pod: when an update last made its kubelet look
	// at it.
	AnnotationLooked = "stateful-postgres/looked"
	// AnnotationChecksumPrefix begins the annotations of a pod that change when
	// what the pod reads has changed.
	AnnotationChecksumPrefix = "checksum/"

	// The Pulumi Kubernetes provider reads these. AnnotationFieldManager also says
	// which component of which stack an object belongs to.
	AnnotationSkipAwait      = "pulumi.com/skipAwait"
	AnnotationWaitFor        = "pulumi.com/waitFor"
	AnnotationReplaceUnready = "pulumi.com/replaceUnready"
	AnnotationPatchForce     = "pulumi.com/patchForce"
	AnnotationFieldManager   = "pulumi.com/patchFieldManager"
)

// The server's container.
const (
	Container = "postgres"
	// Port is the port of the server and of both Services, PortName its name.
	Port     = 5432
	PortName = "postgres"
	// MembersPort is where Patroni answers, for the other members alone.
	MembersPort     = 8008
	MembersPortName = "patroni"
)

// Paths in the server's container.
const (
	// VolumePath is where the claim's volume is mounted.
	VolumePath = "/var/lib/postgredb"
	// DataPath is the server's data directory. It lies below the mount: the top of
	// a volume may hold lost+found, and belongs to root.
	DataPath = VolumePath + "/pgdata"
	// ScriptsPath holds what the pod runs around the image's own entrypoint.
	ScriptsPath = "/etc/stateful-postgres"
	// CredentialsPath and TLSPath hold files named like the keys of the Secrets.
	CredentialsPath = "/run/secrets/postgres"
	TLSPath         = "/run/secrets/postgres-tls"
	// MembersPath holds files named like the keys of MembersSecret, and
	// AccountPath the token with which Patroni talks to the API server.
	MembersPath = "/run/secrets/postgres-ha"
	AccountPath = "/var/run/secrets/kubernetes.io/serviceaccount"
	// MarkerPath holds the marker when there is one, as the file MarkerKey.
	MarkerPath = "/run/stateful-postgres/data-expected"
)

// Keys of ConfigMaps and Secrets. Those that begin with POSTGRES_ are the official
// image's environment variables, too.
const (
	// DatabaseKey and UserKey are keys of the ConfigMap.
	DatabaseKey = "POSTGRES_DB"
	UserKey     = "POSTGRES_USER"
	// PasswordKey is a key of the credentials. PasswordFileVariable is the
	// environment variable that names the file which holds its value.
	PasswordKey          = "POSTGRES_PASSWORD"
	PasswordFileVariable = "POSTGRES_PASSWORD_FILE"
	// DigestKey is a key of the credentials. With it the digest of the password
	// cannot be used to try passwords out. Only the pods of members have it besides.
	DigestKey = "DIGEST_KEY"
	// Keys of MembersSecret: the password of role ReplicationUser, and that of
	// Patroni's own calls.
	ReplicationPasswordKey = "REPLICATION_PASSWORD"
	CallPasswordKey        = "CALL_PASSWORD"
	// MarkerKey is the key of the marker, whose value is for people.
	MarkerKey = "README"

	// CertificateKey and PrivateKeyKey are those of every Secret of the type
	// kubernetes.io/tls. AuthorityKey is the one that cert-manager adds, for the
	// certificate of who signed.
	CertificateKey = "tls.crt"
	PrivateKeyKey  = "tls.key"
	AuthorityKey   = "ca.crt"
	// AuthorityPrivateKeyKey is only in the Secret that the component makes.
	AuthorityPrivateKeyKey = "ca.key"
)

// ReplicationUser is the role with which a member follows the primary.
const ReplicationUser = "stateful_postgres_replication"

// Annotations of the members' ConfigMaps, which are Patroni's
// (patroni/dcs/kubernetes.py).
const (
	// MembersConfigKey is on MembersConfig: the dynamic configuration as JSON.
	MembersConfigKey = "config"
	// MembersLeaderKey is on MembersLeader and MembersSync: the name of a pod.
	MembersLeaderKey = "leader"
	// MembersStandbysKey is on MembersSync: names of pods, with commas.
	MembersStandbysKey = "sync_standby"
	// MembersCandidateKey is on MembersFailover.
	MembersCandidateKey = "member"
)

// Trusted reads who has every acknowledged write from the annotations of MembersSync:
// pods, the one first that takes or took the writes. It is empty when nobody knows.
func Trusted(annotations map[string]string) []string {
	primary := annotations[MembersLeaderKey]
	if primary == "" {
		return nil
	}
	return append([]string{primary}, Standbys(annotations)...)
}

// Standbys reads the pods among them that follow the primary.
func Standbys(annotations map[string]string) []string {
	var standbys []string
	for standby := range strings.SplitSeq(annotations[MembersStandbysKey], ",") {
		if standby = strings.TrimSpace(standby); standby != "" {
			standbys = append(standbys, standby)
		}
	}
	return standbys
}

// MembersLabels select what Patroni reads.
func MembersLabels() map[string]string {
	labels := SelectorLabels()
	labels[LabelMembers] = MembersScope
	return labels
}

// TLSServerName is the name by which clients in the cluster know the server.
func TLSServerName(namespace string) string { return ServiceDomain(Service, namespace) }

// ServiceDomain is the name of a Service for all namespaces of its cluster.
func ServiceDomain(service, namespace string) string {
	return fmt.Sprintf("%s.%s.svc", service, namespace)
}
