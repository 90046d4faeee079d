package components

import (
	"fmt"
	"strings"
)

// Setting says what one setting is. It is the one place from which the docs, the
// config schema in Pulumi.yaml and the schema of the component package are
// taken.
type Setting struct {
	// Name is the setting's name in the stack's config, and that of the input.
	Name string
	Type SettingType
	// Unit is what the value is counted or written in, "" where that says nothing.
	Unit string
	// Default is the value of a setting that is not set, of the setting's type;
	// nil where that is no value.
	Default any
	// Otherwise says what holds when nothing is set, where Default is nil.
	Otherwise string
	// Description is one sentence or two, without the default.
	Description string
	Change      Change
	// ChangeNote says more about a change, "" where there is no more to say.
	ChangeNote string
}

// SettingType is the type of a setting's value.
type SettingType string

// The types of settings. Scalars are numbers, true and false, and texts, which
// all are taken as texts.
const (
	TypeText       SettingType = "text"
	TypeSecret     SettingType = "secret text"
	TypeInteger    SettingType = "integer"
	TypeBoolean    SettingType = "true or false"
	TypeTexts      SettingType = "list of texts"
	TypeFiles      SettingType = "map of texts"
	TypeScalars    SettingType = "map of scalars"
	TypeResources  SettingType = "requests and limits"
	TypeKubernetes SettingType = "map as in Kubernetes"
	TypeList       SettingType = "list of maps as in Kubernetes"
)

// Scalar says whether a value of the type is a single one.
func (t SettingType) Scalar() bool {
	switch t {
	case TypeText, TypeSecret, TypeInteger, TypeBoolean:
		return true
	}
	return false
}

// Change is what the change of a setting does to a running server.
type Change string

// What the change of a setting does.
const (
	ChangeNothing Change = "nothing"
	ChangeReload  Change = "reload"
	ChangeRestart Change = "restart"
	ChangeScale   Change = "start or stop"
	ChangeGrow    Change = "grows in place"
	ChangeRefused Change = "refused"
)

// changes are sentences.
var changes = map[Change]string{
	ChangeNothing: "A change does nothing to the running server.",
	ChangeReload:  "The running server takes a change over.",
	ChangeRestart: "A change restarts the server.",
	ChangeScale:   "A change starts or stops the server.",
	ChangeGrow:    "A change to a larger one lets the volume grow in place.",
	ChangeRefused: "Cannot change later.",
}

// Text is the whole description: what the setting is, how it is written, what
// holds without it where that is no value, and what a change does.
func (s Setting) Text() string {
	parts := []string{s.Description}
	if s.Unit != "" {
		parts = append(parts, "Unit: "+s.Unit+".")
	}
	if s.Otherwise != "" {
		parts = append(parts, "Default: "+s.Otherwise+".")
	}
	parts = append(parts, changes[s.Change])
	if s.ChangeNote != "" {
		parts = append(parts, s.ChangeNote)
	}
	return strings.Join(parts, " ")
}

// defaultShutdownTimeout is DefaultShutdownTimeout as it is written.
const defaultShutdownTimeout = "2m"

// Settings are all settings of a Postgres component, those first that are
// changed most.
func Settings() []Setting {
	return []Setting{
		{
			Name: "replicas", Type: TypeInteger, Unit: "servers", Default: DefaultReplicas, Change: ChangeScale,
			Description: "Number of servers: 1, or 0 to stop the server and keep its data. Two servers on one volume would destroy it.",
		},
		{
			Name: "image", Type: TypeText, Unit: "image reference, by tag or digest", Default: DefaultImage, Change: ChangeRestart,
			Description: "Container image that honours the contract of the official postgres image.",
			ChangeNote:  "A server of another major version than the volume's refuses to start, before it touches the data.",
		},
		{
			Name: "storage", Type: TypeText, Unit: "Kubernetes quantity of bytes, 128Mi or more", Default: DefaultStorage, Change: ChangeGrow,
			Description: "Size of the volume.", ChangeNote: "Where the storage class does not allow that, and to a smaller one, it is refused.",
		},
		{
			Name: "storageClass", Type: TypeText, Otherwise: "the cluster's default class", Change: ChangeRefused,
			Description: "Storage class of the volume.",
		},
		{
			Name: "volumeName", Type: TypeText, Otherwise: "the storage class makes a new one", Change: ChangeRefused,
			Description: "An existing PersistentVolume that the claim is bound to when it is made: one with the data of another set-up, or one that was restored.",
			ChangeNote:  "It can be removed, which does nothing.",
		},
		{
			Name: "accessModes", Type: TypeTexts, Default: []string{DefaultAccessMode}, Change: ChangeRefused,
			Description: "Access modes of the volume: ReadWriteOnce, ReadWriteOncePod or ReadWriteMany.",
		},
		{
			Name: "serviceType", Type: TypeText, Default: DefaultServiceType, Change: ChangeNothing,
			Description: "Type of the Service for clients: NodePort, ClusterIP or LoadBalancer.",
		},
		{
			Name: "nodePort", Type: TypeInteger, Unit: fmt.Sprintf("port, %d to %d", minNodePort, maxNodePort), Change: ChangeNothing,
			Otherwise: "the cluster chooses one", Description: "Port of the Service on every node. Not with serviceType ClusterIP.",
			ChangeNote: "Clients have to use the new one.",
		},
		{
			Name: "allowFrom", Type: TypeTexts, Unit: "CIDR notation", Change: ChangeNothing,
			Otherwise:   "everybody, or with serviceType ClusterIP the cluster's pods",
			Description: "Networks from which clients may connect, where the cluster's network enforces policies.",
		},
		{
			Name: "database", Type: TypeText, Default: DefaultDatabase, Change: ChangeRefused,
			Description: "Database that the first start creates.",
		},
		{
			Name: "user", Type: TypeText, Default: DefaultUser, Change: ChangeRefused,
			Description: "Superuser that the first start creates.",
		},
		{
			Name: "password", Type: TypeSecret, Unit: fmt.Sprintf("1 to %d bytes", maxPasswordLength), Otherwise: "one is generated, and kept", Change: ChangeRestart,
			Description: "Password of the user. Has to be a secret.", ChangeNote: "The old one stops working.",
		},
		{
			Name: "namespace", Type: TypeText, Default: DefaultNamespace, Change: ChangeRefused,
			Description: "Namespace that holds everything, and that nothing else should live in.",
		},
		{
			Name: "tls", Type: TypeBoolean, Default: false, Change: ChangeRestart,
			Description: "With true, clients can connect encrypted, with a certificate that the component makes and renews.",
			ChangeNote:  "A renewal does not.",
		},
		{
			Name: "tlsSecret", Type: TypeText, Otherwise: "the component makes a certificate", Change: ChangeRestart,
			Description: "Secret in the namespace with a certificate of one's own: tls.crt, tls.key, ca.crt. Needs tls.",
			ChangeNote:  "New content of the Secret does not.",
		},
		{
			Name: "tlsNames", Type: TypeTexts, Unit: "DNS names and IP addresses", Otherwise: "none", Change: ChangeReload,
			Description: "Further names of the server, such as a load balancer's, for the certificate that the component makes. Needs tls.",
		},
		{
			Name: "requireTls", Type: TypeBoolean, Default: false, Change: ChangeReload,
			Description: "With true, connections over the network that are not encrypted are refused. Needs tls.",
		},
		{
			Name: "parameters", Type: TypeScalars, Unit: "as in postgresql.conf", Otherwise: "those of initdb", Change: ChangeReload,
			Description: "Parameters of the server. The server of the image checks them before the running one is touched.",
			ChangeNote:  "Where PostgreSQL demands it, the server is restarted.",
		},
		{
			Name: "shutdownTimeout", Type: TypeText, Unit: "duration like 90s or 2m, 10s to 1h", Default: defaultShutdownTimeout, Change: ChangeRestart,
			Description: "How long the server may take to stop before it is killed. An update waits that long and five minutes more.",
		},
		{
			Name: "resources", Type: TypeResources, Unit: "Kubernetes quantities by cpu, memory, ephemeral-storage and hugepages-SIZE",
			Otherwise: "none requested, no limit", Change: ChangeRestart, Description: "Compute resources of the server.",
		},
		{
			Name: "shmSize", Type: TypeText, Unit: "Kubernetes quantity of bytes, " + minSharedMemory + " or more", Default: DefaultShmSize, Change: ChangeRestart,
			Description: "Size limit of /dev/shm, which parallel queries use. Counts towards the memory limit.",
		},
		{
			Name: "nodeSelector", Type: TypeScalars, Unit: "labels", Otherwise: "any node", Change: ChangeRestart,
			Description: "Labels that the server's node has to have.",
		},
		{
			Name: "tolerations", Type: TypeList, Unit: "key, operator, value, effect, tolerationSeconds", Otherwise: "none", Change: ChangeRestart,
			Description: "Taints that the server's node may have.",
		},
		{
			Name: "affinity", Type: TypeKubernetes, Unit: "nodeAffinity, podAffinity, podAntiAffinity", Otherwise: "none", Change: ChangeRestart,
			Description: "Near to what, or far from what, the server runs.",
		},
		{
			Name: "priorityClassName", Type: TypeText, Otherwise: "the cluster's default class", Change: ChangeRestart,
			Description: "Priority class of the pod.",
		},
		{
			Name: "podAnnotations", Type: TypeScalars, Unit: "annotations", Otherwise: "none", Change: ChangeRestart,
			Description: "Further annotations of the pod.",
		},
		{
			Name: "imagePullSecrets", Type: TypeTexts, Unit: "names of Secrets in the namespace", Otherwise: "none", Change: ChangeRestart,
			Description: "Secrets with which the image is pulled.",
		},
		{
			Name: "initScripts", Type: TypeFiles, Unit: "content by file name, .sh or .sql", Otherwise: "none", Change: ChangeRestart,
			Description: "Files that the first start runs in the order of their names. They are stored in the ConfigMap: no place for secrets.",
			ChangeNote:  "It has no effect on a volume that is initialized.",
		},
		{
			Name: "initializeEmptyVolume", Type: TypeBoolean, Default: false, Change: ChangeRestart,
			Description: "With true, a server that had data and finds its volume empty begins a new database instead of refusing to start.",
		},
		{
			Name: "deleteData", Type: TypeBoolean, Default: false, Change: ChangeNothing,
			Description: "With true, a destroy deletes the namespace, the Secret and the volume with all rows. Else they stay, and the next update takes them back.",
		},
	}
}

// DefaultText is what holds when the setting is not set.
func (s Setting) DefaultText() string {
	switch value := s.Default.(type) {
	case nil:
		return s.Otherwise
	case []string:
		return strings.Join(value, ", ")
	default:
		return fmt.Sprint(value)
	}
}

// Output says what one output of the component is.
type Output struct {
	// Name is the output's name.
	Name string
	// Secret says whether the engine keeps it encrypted.
	Secret      bool
	Description string
}

// OutputReference are all outputs of a Postgres component.
func OutputReference() []Output {
	return []Output{
		{Name: "namespace", Description: "Name of the namespace."},
		{Name: "statefulSet", Description: "Name of the StatefulSet."},
		{Name: "service", Description: "Name of the clients' Service."},
		{Name: "headlessService", Description: "Name of the Service that gives each pod its stable DNS name."},
		{Name: "claim", Description: "Name of the claim of the volume with the data."},
		{Name: "configMap", Description: "Name of the ConfigMap with the server's configuration."},
		{Name: "secret", Description: "Name of the Secret with the password."},
		{Name: "database", Description: "Database to connect to."},
		{Name: "user", Description: "User to connect as, a superuser."},
		{Name: "password", Secret: true, Description: "Password in effect, be it set or generated."},
		{Name: "tls", Description: "Whether the server offers TLS."},
		{Name: "requireTls", Description: "Whether it refuses connections without."},
		{Name: "caCertificate", Description: "Certificate (PEM) of the authority with which a client checks the server's; empty without TLS, and when clients know the authority anyway."},
		{Name: "tlsServerName", Description: "Name to check the server's certificate for, whatever the address."},
		{Name: "replicas", Description: "Number of servers that were asked for."},
		{Name: "serviceType", Description: "Type of the clients' Service."},
		{Name: "port", Description: "Port of the clients' Service."},
		{Name: "nodePort", Description: "Port on every node, 0 where the Service's type has none."},
		{Name: "context", Description: "Kubeconfig context in use, empty for the current one."},
		{Name: "kubeconfig", Secret: true, Description: "What the stack sets as kubernetes:kubeconfig, empty when it sets nothing."},
	}
}
