package settings

import (
	"fmt"
	"strconv"
	"sync"
)

// Table is all settings of a Postgres component, those first that are changed
// most.
var Table = sync.OnceValue(func() []Setting {
	return []Setting{
		{
			Name: "replicas", Type: TypeCount, Unit: "servers", Default: 1, Change: ChangeScale,
			Description: "Number of servers: 1, or 0 to stop the server and keep its data. With highAvailability up to " + strconv.Itoa(MaxReplicas) + ", each on a volume of its own; one of them takes the writes, the others follow it.",
			expected:    expectedReplicas, check: on(checkReplicas),
		},
		{
			Name: "highAvailability", Type: TypeBoolean, Default: false, Change: ChangeRestart,
			Description: "With true, Patroni runs the servers: when the one that takes the writes fails, another one that has every acknowledged write takes its place. The image has to have Patroni " + MinPatroni + " or newer.",
			ChangeNote:  "An existing database is switched on and off at replicas 1, and its files stay as they are.",
			expected:    expectedBoolean,
		},
		{
			Name: "synchronousStandbys", Type: TypeCount, Unit: "servers", Default: 1, Change: ChangeReload,
			Description: "With highAvailability and 2 replicas or more, how many servers besides the primary have to have a write before it is acknowledged. Less than replicas.",
			expected:    expectedSynchronousStandbys, check: on(checkSynchronousStandbys),
		},
		{
			Name: "separateNodes", Type: TypeBoolean, Default: false, Change: ChangeRestart,
			Description: "With highAvailability the servers are spread over nodes as far as there are enough. With true, one that finds no node of its own does not start.",
			expected:    expectedBoolean, check: on(checkSeparateNodes),
		},
		{
			Name: "image", Type: TypeText, Unit: "image reference, by tag or digest", Default: "postgres:17", Change: ChangeRestart,
			Description: "Container image that honours the contract of the official postgres image.",
			ChangeNote:  "A server of another major version than the volume's refuses to start, before it touches the data.",
			check:       on(checkImage),
		},
		{
			Name: "storage", Type: TypeText, Unit: "Kubernetes quantity of bytes, " + minStorage + " or more", Default: "1Gi", Change: ChangeGrow,
			Description: "Size of the volume.", ChangeNote: "Where the storage class does not allow that, and to a smaller one, it is refused.",
			check: on(checkStorage),
		},
		{
			Name: "storageClass", Type: TypeText, Otherwise: "the cluster's default class", Change: ChangeRefused,
			Description: "Storage class of the volume.", check: on(checkStorageClass),
		},
		{
			Name: "volumeName", Type: TypeText, Otherwise: "the storage class makes a new one", Change: ChangeRefused,
			Description: "An existing PersistentVolume that the claim is bound to when it is made: one with the data of another set-up, or one that was restored.",
			ChangeNote:  "It can be removed, which does nothing.", check: on(checkVolumeName),
		},
		{
			Name: "accessModes", Type: TypeTexts, Default: []string{AccessModeReadWriteOnce}, Change: ChangeRefused,
			Description: "Access modes of the volume: ReadWriteOnce, ReadWriteOncePod or ReadWriteMany.",
			expected:    expectedAccessModes, check: on(checkAccessModes),
		},
		{
			Name: "serviceType", Type: TypeText, Default: ServiceTypeNodePort, Change: ChangeNothing,
			Description: "Type of the Service for clients: NodePort, ClusterIP or LoadBalancer.", check: on(checkServiceType),
		},
		{
			Name: "nodePort", Type: TypePort, Unit: "port of the cluster's range, by default 30000 to 32767", Change: ChangeNothing,
			Otherwise: "the cluster chooses one", Description: "Port of the Service on every node. Not with serviceType ClusterIP.",
			ChangeNote: "Clients have to use the new one.", expected: expectedNodePort, empty: true, check: on(checkNodePort),
		},
		{
			Name: "allowFrom", Type: TypeTexts, Unit: "CIDR notation", Change: ChangeNothing,
			Otherwise:   "everybody, or with serviceType ClusterIP the cluster's pods",
			Description: "Networks from which clients may connect, where the cluster's network enforces policies. A load balancer is told of them, too.",
			expected:    "a list of networks, like [10.0.0.0/8]", check: on(checkAllowFrom),
		},
		{
			Name: "serviceAnnotations", Type: TypeScalars, Unit: "annotations", Otherwise: "none", Change: ChangeNothing,
			Description: "Annotations of the Service for clients, such as those that make a cloud's load balancer an internal one.",
			expected:    "a map of annotations, like {example.com/internal: \"true\"}", check: on(checkServiceAnnotations),
		},
		{
			Name: "externalTrafficPolicy", Type: TypeText, Otherwise: "the cluster's default, Cluster", Change: ChangeNothing,
			Description: "Cluster lets every node answer and hides the clients' addresses, Local lets the server's node alone answer and keeps them, as allowFrom needs. Not with serviceType ClusterIP.",
			check:       on(checkExternalTrafficPolicy),
		},
		{
			Name: "database", Type: TypeText, Default: "codewizard", Change: ChangeRefused,
			Description: "Database that the first start creates.", check: on(checkDatabase),
		},
		{
			Name: "user", Type: TypeText, Default: "codewizard", Change: ChangeRefused,
			Description: "Superuser that the first start creates.", check: on(checkUser),
		},
		{
			Name: "password", Type: TypeSecret, Unit: fmt.Sprintf("1 to %d bytes", maxPasswordLength), Otherwise: "one is generated, and kept", Change: ChangeRestart,
			Description: "Password of the user. Has to be a secret.", ChangeNote: "The old one stops working. With highAvailability no server restarts.", empty: true,
		},
		{
			Name: "namespace", Type: TypeText, Default: "codewizard", Change: ChangeRefused,
			Description: "Namespace that holds everything. One that the component makes admits only pods of the restricted Pod Security Standard, and nothing else should live in it.",
			check:       on(checkNamespace),
		},
		{
			Name: "createNamespace", Type: TypeSwitch, Otherwise: "only where it does not exist", Change: ChangeNothing,
			Description: "With true, the namespace has to be the component's own; with false, it has to exist. One that the component did not make is neither labelled, nor changed, nor deleted.",
			expected:    "true, false or nothing", empty: true,
		},
		{
			Name: "kubeconfig", Type: TypeOutput, Unit: "content or path", Otherwise: "what the stack's kubernetes:* settings say", Change: ChangeNothing, empty: true,
			Description: "Kubeconfig of the cluster, for a program that makes the cluster itself: it may be known only during the update, and is kept as a secret. The stack's kubernetes:context and kubernetes:cluster do not count then.",
		},
		{
			Name: "clusterUid", Type: TypeText, Unit: "UID of the namespace kube-system", Otherwise: "that of the last update", Change: ChangeNothing,
			Description: "The cluster that the stack belongs to. An update refuses every other.",
			ChangeNote:  "With it a stack moves to another cluster.",
		},
		{
			Name: "tls", Type: TypeBoolean, Default: false, Change: ChangeRestart,
			Description: "With true, clients can connect encrypted, with a certificate that the component makes and renews.",
			ChangeNote:  "A renewal does not.", expected: expectedBoolean,
		},
		{
			Name: "tlsSecret", Type: TypeText, Otherwise: "the component makes a certificate", Change: ChangeRestart,
			Description: "Secret in the namespace with a certificate of one's own: tls.crt, tls.key, ca.crt. Needs tls.",
			ChangeNote:  "New content of the Secret does not.", check: on(checkTLSSecret),
		},
		{
			Name: "tlsNames", Type: TypeTexts, Unit: "DNS names and IP addresses", Otherwise: "none", Change: ChangeReload,
			Description: "Further names of the server, such as a load balancer's, for the certificate that the component makes. Needs tls.",
			expected:    "a list of names, like [db.example.com]", check: on(checkTLSNames),
		},
		{
			Name: "requireTls", Type: TypeBoolean, Default: false, Change: ChangeReload,
			Description: "With true, connections over the network that are not encrypted are refused. Needs tls.",
			expected:    expectedBoolean, check: on(checkRequireTLS),
		},
		{
			Name: "parameters", Type: TypeScalars, Unit: "as in postgresql.conf", Otherwise: "those of initdb", Change: ChangeReload,
			Description: "Parameters of the server. A server of the image has to start with them before the running one is touched.",
			ChangeNote:  "Where PostgreSQL demands it, the server is restarted.",
			expected:    "a map of parameters, like {shared_buffers: 256MB}", check: on(checkParameters),
		},
		{
			Name: "shutdownTimeout", Type: TypeDuration, Unit: "duration like 90s or 2m, 10s to 1h", Default: "2m", Change: ChangeRestart,
			Description: "How long the server may take to stop before it is killed. An update waits that long and five minutes more.",
			expected:    expectedShutdownTimeout, check: on(checkShutdownTimeout),
		},
		{
			Name: "resources", Type: TypeResources, Unit: "Kubernetes quantities by cpu, memory, ephemeral-storage and hugepages-SIZE",
			Otherwise: "none requested, no limit", Change: ChangeRestart, Description: "Compute resources of the server.",
			expected: "requests and limits, like {requests: {memory: 1Gi}}", check: on(checkResources),
		},
		{
			Name: "shmSize", Type: TypeText, Unit: "Kubernetes quantity of bytes, " + minSharedMemory + " or more", Default: "256Mi", Change: ChangeRestart,
			Description: "Size limit of /dev/shm, which parallel queries use. Counts towards the memory limit.", check: on(checkShmSize),
		},
		{
			Name: "nodeSelector", Type: TypeScalars, Unit: "labels", Otherwise: "any node", Change: ChangeRestart,
			Description: "Labels that the server's node has to have.",
			expected:    "a map of labels, like {disk: ssd}", check: on(checkNodeSelector),
		},
		{
			Name: "tolerations", Type: TypeTolerations, Unit: "key, operator, value, effect, tolerationSeconds", Otherwise: "none", Change: ChangeRestart,
			Description: "Taints that the server's node may have.",
			expected:    "a list of tolerations as in a pod", check: on(checkTolerations),
		},
		{
			Name: "affinity", Type: TypeAffinity, Unit: "nodeAffinity, podAffinity, podAntiAffinity", Otherwise: "none", Change: ChangeRestart,
			Description: "Near to what, or far from what, the server runs.", expected: "an affinity as in a pod",
		},
		{
			Name: "priorityClassName", Type: TypeText, Otherwise: "the cluster's default class", Change: ChangeRestart,
			Description: "Priority class of the pod.", check: on(checkPriorityClassName),
		},
		{
			Name: "podAnnotations", Type: TypeScalars, Unit: "annotations", Otherwise: "none", Change: ChangeRestart,
			Description: "Further annotations of the pod.",
			expected:    "a map of annotations, like {example.com/team: data}", check: on(checkPodAnnotations),
		},
		{
			Name: "runAsUser", Type: TypeCount, Unit: "number of a user and of its group", Default: 999, Change: ChangeRefused,
			Description: "User and group that the server runs as: those of postgres in the image, 70 in an official one whose tag ends with alpine. The volume is theirs.",
			ChangeNote:  "With fixVolumeOwner it can, which restarts the server.",
			expected:    expectedRunAsUser, check: on(checkRunAsUser),
		},
		{
			Name: "fixVolumeOwner", Type: TypeBoolean, Default: false, Change: ChangeRestart,
			Description: "With true, an init container that runs as root gives the volume to the server's user. For volumes that belong to another one, as of hostPath or NFS. " +
				"The namespace has to admit it: at most the Pod Security Standard baseline, which the component then asks for.",
			expected: expectedBoolean,
		},
		{
			Name: "imagePullSecrets", Type: TypeTexts, Unit: "names of Secrets in the namespace", Otherwise: "none", Change: ChangeRestart,
			Description: "Secrets with which the image is pulled.", expected: "a list of names", check: on(checkImagePullSecrets),
		},
		{
			Name: "initScripts", Type: TypeFiles, Unit: "content by file name, .sh or .sql", Otherwise: "none", Change: ChangeRestart,
			Description: "Files that the first start runs in the order of their names. They are stored in the ConfigMap: no place for secrets.",
			ChangeNote:  "It has no effect on a volume that is initialized.",
			expected:    "a map of file names and their content", check: on(checkInitScripts),
		},
		{
			Name: "initializeEmptyVolume", Type: TypeBoolean, Default: false, Change: ChangeRestart,
			Description: "With true, a server that had data and finds its volume empty begins a new database instead of refusing to start. Not with highAvailability.",
			expected:    expectedBoolean, check: on(checkInitializeEmptyVolume),
		},
		{
			Name: "deleteData", Type: TypeBoolean, Default: false, Change: ChangeNothing,
			Description: "With true, `pulumi destroy --run-program` deletes the namespace, the Secret and the volume with all rows. Else they stay, and the next update takes them back.",
			expected:    expectedBoolean,
		},
	}
})

const expectedBoolean = "true or false"
