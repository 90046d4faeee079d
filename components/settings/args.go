// Code generated from the table of settings by make generate. DO NOT EDIT.

package settings

import (
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	corev1 "k8s.io/api/core/v1"

	"stateful-postgres/components/problem"
)

// Args are the settings of a Postgres component. A field that is left at its zero
// value has the default that is named with it.
type Args struct {
	// Number of servers: 1, or 0 to stop the server and keep its data. With
	// highAvailability up to 9, each on a volume of its own; one of them takes the
	// writes, the others follow it. Unit: servers. A change starts or stops the
	// server. Default: 1.
	Replicas *int
	// With true, Patroni runs the servers: when the one that takes the writes
	// fails, another one that has every acknowledged write takes its place. The
	// image has to have Patroni 4.0.7 or newer. A change restarts the server. An
	// existing database is switched on and off at replicas 1, and its files stay
	// as they are. Default: false.
	HighAvailability bool
	// With highAvailability and 2 replicas or more, how many servers besides the
	// primary have to have a write before it is acknowledged. Less than replicas.
	// Unit: servers. The running server takes a change over. Default: 1.
	SynchronousStandbys *int
	// With highAvailability the servers are spread over nodes as far as there are
	// enough. With true, one that finds no node of its own does not start. A
	// change restarts the server. Default: false.
	SeparateNodes bool
	// Container image that honours the contract of the official postgres image.
	// Unit: image reference, by tag or digest. A change restarts the server. A
	// server of another major version than the volume's refuses to start, before
	// it touches the data. Default: postgres:17.
	Image string
	// Size of the volume. Unit: Kubernetes quantity of bytes, 128Mi or more. A
	// change to a larger one lets the volume grow in place. Where the storage
	// class does not allow that, and to a smaller one, it is refused. Default:
	// 1Gi.
	Storage string
	// Storage class of the volume. Default: the cluster's default class. Cannot
	// change later.
	StorageClass string
	// An existing PersistentVolume that the claim is bound to when it is made: one
	// with the data of another set-up, or one that was restored. Default: the
	// storage class makes a new one. Cannot change later. It can be removed, which
	// does nothing.
	VolumeName string
	// Access modes of the volume: ReadWriteOnce, ReadWriteOncePod or
	// ReadWriteMany. Cannot change later. Default: ReadWriteOnce.
	AccessModes []string
	// Type of the Service for clients: NodePort, ClusterIP or LoadBalancer. A
	// change does nothing to the running server. Default: NodePort.
	ServiceType string
	// Port of the Service on every node. Not with serviceType ClusterIP. Unit:
	// port of the cluster's range, by default 30000 to 32767. Default: the cluster
	// chooses one. A change does nothing to the running server. Clients have to
	// use the new one.
	NodePort int
	// Networks from which clients may connect, where the cluster's network
	// enforces policies. A load balancer is told of them, too. Unit: CIDR
	// notation. Default: everybody, or with serviceType ClusterIP the cluster's
	// pods. A change does nothing to the running server.
	AllowFrom []string
	// Annotations of the Service for clients, such as those that make a cloud's
	// load balancer an internal one. Unit: annotations. Default: none. A change
	// does nothing to the running server.
	ServiceAnnotations Scalars
	// Cluster lets every node answer and hides the clients' addresses, Local lets
	// the server's node alone answer and keeps them, as allowFrom needs. Not with
	// serviceType ClusterIP. Default: the cluster's default, Cluster. A change
	// does nothing to the running server.
	ExternalTrafficPolicy string
	// Database that the first start creates. Cannot change later. Default:
	// codewizard.
	Database string
	// Superuser that the first start creates. Cannot change later. Default:
	// codewizard.
	User string
	// Password of the user. Has to be a secret. Unit: 1 to 1024 bytes. Default:
	// one is generated, and kept. A change restarts the server. The old one stops
	// working. With highAvailability no server restarts.
	Password pulumi.StringInput
	// Namespace that holds everything. One that the component makes admits only
	// pods of the restricted Pod Security Standard, and nothing else should live
	// in it. Cannot change later. Default: codewizard.
	Namespace string
	// With true, the namespace has to be the component's own; with false, it has
	// to exist. One that the component did not make is neither labelled, nor
	// changed, nor deleted. Default: only where it does not exist. A change does
	// nothing to the running server.
	CreateNamespace *bool
	// Kubeconfig of the cluster, for a program that makes the cluster itself: it
	// may be known only during the update, and is kept as a secret. The stack's
	// kubernetes:context and kubernetes:cluster do not count then. Unit: content
	// or path. Default: what the stack's kubernetes:* settings say. A change does
	// nothing to the running server.
	Kubeconfig pulumi.StringInput
	// The cluster that the stack belongs to. An update refuses every other. Unit:
	// UID of the namespace kube-system. Default: that of the last update. A change
	// does nothing to the running server. With it a stack moves to another
	// cluster.
	ClusterUID string
	// With true, clients can connect encrypted, with a certificate that the
	// component makes and renews. A change restarts the server. A renewal does
	// not. Default: false.
	TLS bool
	// Secret in the namespace with a certificate of one's own: tls.crt, tls.key,
	// ca.crt. Needs tls. Default: the component makes a certificate. A change
	// restarts the server. New content of the Secret does not.
	TLSSecret string
	// Further names of the server, such as a load balancer's, for the certificate
	// that the component makes. Needs tls. Unit: DNS names and IP addresses.
	// Default: none. The running server takes a change over.
	TLSNames []string
	// With true, connections over the network that are not encrypted are refused.
	// Needs tls. The running server takes a change over. Default: false.
	RequireTLS bool
	// Parameters of the server. A server of the image has to start with them
	// before the running one is touched. Unit: as in postgresql.conf. Default:
	// those of initdb. The running server takes a change over. Where PostgreSQL
	// demands it, the server is restarted.
	Parameters Scalars
	// How long the server may take to stop before it is killed. An update waits
	// that long and five minutes more. Unit: duration like 90s or 2m, 10s to 1h. A
	// change restarts the server. Default: 2m.
	ShutdownTimeout time.Duration
	// Compute resources of the server. Unit: Kubernetes quantities by cpu, memory,
	// ephemeral-storage and hugepages-SIZE. Default: none requested, no limit. A
	// change restarts the server.
	Resources Resources
	// Size limit of /dev/shm, which parallel queries use. Counts towards the
	// memory limit. Unit: Kubernetes quantity of bytes, 64Mi or more. A change
	// restarts the server. Default: 256Mi.
	ShmSize string
	// Labels that the server's node has to have. Unit: labels. Default: any node.
	// A change restarts the server.
	NodeSelector Scalars
	// Taints that the server's node may have. Unit: key, operator, value, effect,
	// tolerationSeconds. Default: none. A change restarts the server.
	Tolerations []corev1.Toleration
	// Near to what, or far from what, the server runs. Unit: nodeAffinity,
	// podAffinity, podAntiAffinity. Default: none. A change restarts the server.
	Affinity *corev1.Affinity
	// Priority class of the pod. Default: the cluster's default class. A change
	// restarts the server.
	PriorityClassName string
	// Further annotations of the pod. Unit: annotations. Default: none. A change
	// restarts the server.
	PodAnnotations Scalars
	// User and group that the server runs as: those of postgres in the image, 70
	// in an official one whose tag ends with alpine. The volume is theirs. Unit:
	// number of a user and of its group. Cannot change later. With fixVolumeOwner
	// it can, which restarts the server. Default: 999.
	RunAsUser *int
	// With true, an init container that runs as root gives the volume to the
	// server's user. For volumes that belong to another one, as of hostPath or
	// NFS. The namespace has to admit it: at most the Pod Security Standard
	// baseline, which the component then asks for. A change restarts the server.
	// Default: false.
	FixVolumeOwner bool
	// Secrets with which the image is pulled. Unit: names of Secrets in the
	// namespace. Default: none. A change restarts the server.
	ImagePullSecrets []string
	// Files that the first start runs in the order of their names. They are stored
	// in the ConfigMap: no place for secrets. Unit: content by file name, .sh or
	// .sql. Default: none. A change restarts the server. It has no effect on a
	// volume that is initialized.
	InitScripts map[string]string
	// With true, a server that had data and finds its volume empty begins a new
	// database instead of refusing to start. Not with highAvailability. A change
	// restarts the server. Default: false.
	InitializeEmptyVolume bool
	// With true, `pulumi destroy --run-program` deletes the namespace, the Secret
	// and the volume with all rows. Else they stay, and the next update takes them
	// back. A change does nothing to the running server. Default: false.
	DeleteData bool

	// reader is who reads messages about the settings.
	reader problem.Reader
	// unread is what is wrong with values that could not be read.
	unread []problem.Problem
}
