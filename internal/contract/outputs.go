package contract

// Names of a stack's outputs.
const (
	OutputNamespace        = "namespace"
	OutputStatefulSet      = "statefulSet"
	OutputService          = "service"
	OutputHeadlessService  = "headlessService"
	OutputClaim            = "claim"
	OutputConfigMap        = "configMap"
	OutputSecret           = "secret"
	OutputDatabase         = "database"
	OutputUser             = "user"
	OutputPassword         = "password"
	OutputTLS              = "tls"
	OutputRequireTLS       = "requireTls"
	OutputCACertificate    = "caCertificate"
	OutputTLSServerName    = "tlsServerName"
	OutputReplicas         = "replicas"
	OutputServiceType      = "serviceType"
	OutputPort             = "port"
	OutputNodePort         = "nodePort"
	OutputContext          = "context"
	OutputCluster          = "cluster"
	OutputKubeconfig       = "kubeconfig"
	OutputDataExpected     = "dataExpected"
	OutputClusterUID       = "clusterUid"
	OutputHighAvailability = "highAvailability"
	OutputReplicasService  = "replicasService"
	OutputConnectionURI    = "connectionUri"
)

// Output says what one output is.
type Output struct {
	Name string
	// Secret says whether the engine keeps it encrypted.
	Secret      bool
	Description string
}

// OutputTable is all outputs, in the order in which they are documented.
func OutputTable() []Output {
	return []Output{
		{Name: OutputNamespace, Description: "Name of the namespace."},
		{Name: OutputStatefulSet, Description: "Name of the StatefulSet."},
		{Name: OutputService, Description: "Name of the clients' Service."},
		{Name: OutputHeadlessService, Description: "Name of the Service that gives each pod its stable DNS name."},
		{Name: OutputClaim, Description: "Name of the claim of the volume with the data."},
		{Name: OutputConfigMap, Description: "Name of the ConfigMap with the server's configuration."},
		{Name: OutputSecret, Description: "Name of the Secret with the password."},
		{Name: OutputDatabase, Description: "Database to connect to."},
		{Name: OutputUser, Description: "User to connect as, a superuser."},
		{Name: OutputPassword, Secret: true, Description: "Password in effect, be it set or generated."},
		{Name: OutputTLS, Description: "Whether the server offers TLS."},
		{Name: OutputRequireTLS, Description: "Whether it refuses connections without."},
		{Name: OutputCACertificate, Description: "Certificate (PEM) of the authority with which a client checks the server's; empty without TLS, and when clients know the authority anyway."},
		{Name: OutputTLSServerName, Description: "Name to check the server's certificate for, whatever the address."},
		{Name: OutputReplicas, Description: "Number of servers that were asked for."},
		{Name: OutputServiceType, Description: "Type of the clients' Service."},
		{Name: OutputPort, Description: "Port of the clients' Service."},
		{Name: OutputNodePort, Description: "Port on every node, 0 where the Service's type has none."},
		{Name: OutputContext, Description: "Kubeconfig context in use, empty for the current one."},
		{Name: OutputCluster, Description: "Cluster of the kubeconfig in use, empty for the context's."},
		{Name: OutputKubeconfig, Secret: true, Description: "Kubeconfig of the component, or what the stack sets as kubernetes:kubeconfig; empty when nothing is set."},
		{Name: OutputDataExpected, Description: "Whether a server was ready on the volume, in this update or an earlier one: an update does not begin a new database without being told to."},
		{Name: OutputClusterUID, Description: "UID of the cluster's namespace kube-system, by which an update knows the cluster again; empty where it may not be read."},
		{Name: OutputHighAvailability, Description: "Whether Patroni runs the servers."},
		{Name: OutputReplicasService, Description: "Name of the Service that leads to the servers that follow the primary, for reading; empty without highAvailability."},
		{Name: OutputConnectionURI, Description: "Connection URI for clients in the cluster, without the password. With highAvailability it names every server, and a client that knows target_session_attrs finds the one that takes the writes."},
	}
}

// OutputNames are the names of all outputs, in the order in which they are
// documented.
func OutputNames() []string {
	var names []string
	for _, output := range OutputTable() {
		names = append(names, output.Name)
	}
	return names
}

// RequiredOutputs are the outputs that every version of the component has, and
// without which verify cannot find the server.
func RequiredOutputs() []string {
	return []string{
		OutputNamespace, OutputStatefulSet, OutputService, OutputHeadlessService, OutputClaim,
		OutputDatabase, OutputUser, OutputPassword, OutputReplicas, OutputPort,
	}
}

// Outputs are the outputs of a stack, as `pulumi stack output --json
// --show-secrets` prints them: those that verify reads. A tag cannot be made from
// a constant; TestOutputsHaveTheirNames compares them.
type Outputs struct {
	Namespace       string `json:"namespace"`
	StatefulSet     string `json:"statefulSet"`
	Service         string `json:"service"`
	HeadlessService string `json:"headlessService"`
	Claim           string `json:"claim"`
	Database        string `json:"database"`
	User            string `json:"user"`
	// Password is a secret.
	Password string `json:"password"`
	// TLS says whether the server offers TLS, RequireTLS whether it refuses
	// connections without.
	TLS        bool `json:"tls"`
	RequireTLS bool `json:"requireTls"`
	// CACertificate holds the authority's certificates (PEM); it is empty without
	// TLS, and when clients know the authority anyway.
	CACertificate string `json:"caCertificate"`
	// TLSServerName is the name that the server's certificate is for.
	TLSServerName string `json:"tlsServerName"`
	// Replicas is the number of servers that were asked for.
	Replicas int `json:"replicas"`
	// HighAvailability says whether Patroni runs the servers.
	HighAvailability bool `json:"highAvailability"`
	Port             int  `json:"port"`
	// Context, Cluster and Kubeconfig are the stack's settings kubernetes:context,
	// kubernetes:cluster and kubernetes:kubeconfig; empty where they are not set.
	// Kubeconfig is a secret.
	Context    string `json:"context"`
	Cluster    string `json:"cluster"`
	Kubeconfig string `json:"kubeconfig"`
}
