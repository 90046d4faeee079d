// Package components holds the Postgres component: a PostgreSQL server on
// Kubernetes whose data outlives every change of its settings.
package components

import (
	"fmt"
	"time"

	appsv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/apps/v1"
	batchv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/batch/v1"
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	k8scorev1 "k8s.io/api/core/v1"
)

// componentType is the component's type token in the state.
const componentType = "stateful-postgres:index:Postgres"

// Values of the settings that name one of a few choices.
const (
	AccessModeReadWriteOnce    = "ReadWriteOnce"
	AccessModeReadWriteOncePod = "ReadWriteOncePod"
	AccessModeReadWriteMany    = "ReadWriteMany"

	ServiceTypeClusterIP    = "ClusterIP"
	ServiceTypeNodePort     = "NodePort"
	ServiceTypeLoadBalancer = "LoadBalancer"
)

// Defaults of the settings.
const (
	DefaultNamespace   = "codewizard"
	DefaultReplicas    = 1
	DefaultImage       = "postgres:17"
	DefaultStorage     = "1Gi"
	DefaultAccessMode  = AccessModeReadWriteOnce
	DefaultServiceType = ServiceTypeNodePort
	DefaultDatabase    = "codewizard"
	DefaultUser        = "codewizard"
	DefaultShmSize     = "256Mi"

	DefaultShutdownTimeout = 2 * time.Minute
)

// PostgresArgs are the settings of a Postgres component. A field that is left
// at its zero value has the default that is named with it.
type PostgresArgs struct {
	// Namespace holds everything that the component makes, and nothing else
	// should live in it. Default "codewizard".
	Namespace string
	// Replicas is the number of servers: 1, or 0 to stop the server and keep
	// its data. Default 1.
	Replicas *int
	// Image is the container image. It has to honour the contract of the
	// official postgres image. A change restarts the server. Default
	// "postgres:17".
	Image string
	// Storage is the size of the volume as a Kubernetes quantity. It can grow
	// where the storage class allows it, and never shrink. Default "1Gi".
	Storage string
	// StorageClass is the volume's storage class. It cannot change later.
	// Default: the cluster's default class.
	StorageClass string
	// VolumeName is an existing PersistentVolume that the claim is bound to
	// when it is made: one with the data of another set-up, or one that was
	// restored. It has no effect on a claim that exists. Default: the storage
	// class makes a new one.
	VolumeName string
	// AccessModes are the volume's access modes. They cannot change later.
	// Default ReadWriteOnce.
	AccessModes []string
	// ServiceType is the type of the clients' Service: ClusterIP, NodePort or
	// LoadBalancer, for whose address an update waits up to five minutes while
	// the server starts. Default NodePort.
	ServiceType string
	// NodePort is the port on every node, 30000 to 32767. Default: the cluster
	// chooses one.
	NodePort int
	// AllowFrom are the networks, in CIDR notation, from which clients may
	// connect, where the cluster's network enforces policies. A NodePort hides
	// the client's address behind the node's unless the cluster keeps it.
	// Default: everybody, or with ServiceType ClusterIP the cluster's pods.
	AllowFrom []string
	// Database is the name of the database that the first start creates. It
	// cannot change later. Default "codewizard".
	Database string
	// User is the name of the role that the first start creates, a superuser.
	// It cannot change later. Default "codewizard".
	User string
	// Password is the password of User. A change restarts the server, and the
	// old one stops working. Default: one is generated, and kept.
	Password pulumi.StringInput
	// TLS lets clients connect encrypted, with a certificate that the component
	// makes and that an update renews in the last third of its year, or the one of
	// TLSSecret. A change restarts the server; a renewal does not. Default false.
	TLS bool
	// TLSSecret is the name of a Secret in the namespace with a certificate of
	// one's own: tls.crt, tls.key and, unless clients trust its authority anyway,
	// ca.crt. The server takes over a change of its content within about two
	// minutes; another name restarts it. Default: the component makes one.
	TLSSecret string
	// TLSNames are further DNS names and IP addresses of the server, such as a
	// load balancer's, for the certificate that the component makes. The running
	// server takes a change over within about two minutes.
	TLSNames []string
	// RequireTLS refuses connections over the network that are not encrypted. The
	// running server takes a change over within about two minutes. Default false.
	RequireTLS bool
	// Parameters are parameters of the server, as in postgresql.conf. The
	// server of the image checks them before the running one is touched. A
	// change restarts the server only where PostgreSQL demands it; else the
	// server takes it over within about a minute. Default: those of initdb.
	Parameters Scalars
	// ShutdownTimeout is how long the server may take to stop before it is
	// killed; half of it is for a checkpoint beforehand. An update waits that
	// long and five minutes more. A change restarts the server. Default 2m.
	ShutdownTimeout time.Duration
	// Resources are the server's compute resources. A change restarts the
	// server. Default: none requested, no limit.
	Resources Resources
	// ShmSize is the size limit of /dev/shm as a Kubernetes quantity; it counts
	// towards the memory limit. Parallel queries use it. A change restarts the
	// server. Default "256Mi".
	ShmSize string
	// NodeSelector are labels that the server's node has to have. A change
	// restarts the server.
	NodeSelector Scalars
	// Tolerations are taints that the server's node may have. A change restarts
	// the server.
	Tolerations []k8scorev1.Toleration
	// Affinity says near to what, or far from what, the server runs. A change
	// restarts the server.
	Affinity *k8scorev1.Affinity
	// PriorityClassName is the server's priority class. A change restarts the
	// server. Default: the cluster's default class.
	PriorityClassName string
	// PodAnnotations are further annotations of the server's pod. A change
	// restarts the server.
	PodAnnotations Scalars
	// ImagePullSecrets are the names of Secrets in the namespace with which the
	// image is pulled. A change restarts the server.
	ImagePullSecrets []string
	// InitScripts are files, by name, that the first start runs in the order of
	// their names: shell (.sh) or SQL (.sql). They are stored in the ConfigMap,
	// so they are no place for secrets. A change restarts the server, and has no
	// effect on a volume that is initialized.
	InitScripts map[string]string
	// InitializeEmptyVolume lets a server begin with an empty database where
	// data is expected, after the volume was lost. A change restarts the
	// server. Default false: it refuses to start.
	InitializeEmptyVolume bool
	// DeleteData lets a destroy delete the namespace, the Secret and the volume
	// with all rows. Default false: they stay, and the next update takes them
	// back.
	DeleteData bool
}

// withDefaults is a copy in which every field that has a default is set.
func (a PostgresArgs) withDefaults() PostgresArgs {
	setDefault(&a.Namespace, DefaultNamespace)
	setDefault(&a.Image, DefaultImage)
	setDefault(&a.Storage, DefaultStorage)
	setDefault(&a.ServiceType, DefaultServiceType)
	setDefault(&a.Database, DefaultDatabase)
	setDefault(&a.User, DefaultUser)
	setDefault(&a.ShmSize, DefaultShmSize)
	if a.ShutdownTimeout == 0 {
		a.ShutdownTimeout = DefaultShutdownTimeout
	}
	if a.Replicas == nil {
		replicas := DefaultReplicas
		a.Replicas = &replicas
	}
	if len(a.AccessModes) == 0 {
		a.AccessModes = []string{DefaultAccessMode}
	}
	return a
}

func setDefault(field *string, value string) {
	if *field == "" {
		*field = value
	}
}

// Postgres is a PostgreSQL server on Kubernetes: namespace, configuration,
// credentials, two Services, claim and StatefulSet.
type Postgres struct {
	pulumi.ResourceState

	// Namespace, StatefulSet, Service, HeadlessService, Claim, ConfigMap and
	// Secret are the names of the objects.
	Namespace       pulumi.StringOutput `pulumi:"namespace"`
	StatefulSet     pulumi.StringOutput `pulumi:"statefulSet"`
	Service         pulumi.StringOutput `pulumi:"service"`
	HeadlessService pulumi.StringOutput `pulumi:"headlessService"`
	Claim           pulumi.StringOutput `pulumi:"claim"`
	ConfigMap       pulumi.StringOutput `pulumi:"configMap"`
	Secret          pulumi.StringOutput `pulumi:"secret"`
	// Database, User and Password are what a client connects with. Password is
	// a secret, and the one in effect, be it set or generated.
	Database pulumi.StringOutput `pulumi:"database"`
	User     pulumi.StringOutput `pulumi:"user"`
	Password pulumi.StringOutput `pulumi:"password" provider:"secret"`
	// TLS says whether the server offers TLS, and RequireTLS whether it refuses
	// connections without.
	TLS        pulumi.BoolOutput `pulumi:"tls"`
	RequireTLS pulumi.BoolOutput `pulumi:"requireTls"`
	// CACertificate is the authority's certificate (PEM) with which a client
	// checks the server's, "" without TLS and when the client knows the authority
	// anyway; TLSServerName is the name to check it for, whatever the address.
	CACertificate pulumi.StringOutput `pulumi:"caCertificate"`
	TLSServerName pulumi.StringOutput `pulumi:"tlsServerName"`
	// Replicas is the number of servers that were asked for.
	Replicas pulumi.IntOutput `pulumi:"replicas"`
	// ServiceType and Port are those of the clients' Service.
	ServiceType pulumi.StringOutput `pulumi:"serviceType"`
	Port        pulumi.IntOutput    `pulumi:"port"`
	// NodePort is the port on every node, 0 when the Service's type has none.
	NodePort pulumi.IntOutput `pulumi:"nodePort"`
	// Context is the kubeconfig context in use, "" for the current one.
	Context pulumi.StringOutput `pulumi:"context"`
	// Kubeconfig is what the stack sets as kubernetes:kubeconfig, "" when it
	// sets nothing. It is a secret.
	Kubeconfig pulumi.StringOutput `pulumi:"kubeconfig" provider:"secret"`

	args            PostgresArgs
	fieldManager    string
	existing        existing
	foreign         foreign
	now             time.Time
	namespace       *corev1.Namespace
	serviceAccount  *corev1.ServiceAccount
	check           *batchv1.Job
	configMap       *corev1.ConfigMap
	configDigest    string
	secret          *corev1.Secret
	tlsSecret       *corev1.Secret
	service         *corev1.Service
	headlessService *corev1.Service
	claim           *corev1.PersistentVolumeClaim
	statefulSet     *appsv1.StatefulSet
}

// NewPostgres declares a PostgreSQL server. Settings that cannot work, and those
// that do not fit the data that is there, are returned together as
// InvalidSettings before anything is declared.
func NewPostgres(ctx *pulumi.Context, name string, args *PostgresArgs, opts ...pulumi.ResourceOption) (*Postgres, error) {
	if args == nil {
		args = &PostgresArgs{}
	}
	p := &Postgres{
		args:         args.withDefaults(),
		fieldManager: fieldManager(ctx.Project(), ctx.Stack(), name),
		now:          time.Now(),
	}
	if err := p.args.validate(); err != nil {
		return nil, err
	}
	if err := p.checkExisting(ctx, name); err != nil {
		return nil, err
	}
	if err := ctx.RegisterComponentResource(componentType, name, p, opts...); err != nil {
		return nil, fmt.Errorf("component %s: %w", name, err)
	}
	if err := p.declare(ctx, name); err != nil {
		return nil, err
	}
	p.setOutputs(ctx)
	return p, ctx.RegisterResourceOutputs(p, p.Outputs())
}

// declare registers the objects, each after those that it needs.
func (p *Postgres) declare(ctx *pulumi.Context, name string) error {
	provider, err := newProvider(ctx, name, pulumi.Parent(p))
	if err != nil {
		return fmt.Errorf("kubernetes provider: %w", err)
	}
	child := pulumi.Composite(pulumi.Parent(p), pulumi.Provider(provider))
	if err := p.newNamespace(ctx, name, child); err != nil {
		return err
	}
	if err := p.newServiceAccount(ctx, name, child, pulumi.DependsOn([]pulumi.Resource{p.namespace})); err != nil {
		return err
	}
	if err := p.newCheck(ctx, name, child, pulumi.DependsOn([]pulumi.Resource{p.serviceAccount})); err != nil {
		return err
	}
	// Everything else comes after the check: what it refuses reaches no server.
	first := []pulumi.Resource{p.namespace, p.serviceAccount}
	if p.check != nil {
		first = append(first, p.check)
	}
	inNamespace := pulumi.Composite(child, pulumi.DependsOn(first))
	for _, declare := range []func(*pulumi.Context, string, ...pulumi.ResourceOption) error{
		p.newConfigMap, p.newCredentials, p.newTLSSecret, p.newServices, p.newClaim, p.newNetworkPolicy,
	} {
		if err := declare(ctx, name, inNamespace); err != nil {
			return err
		}
	}
	// Not the clients' Service: a load balancer's address may take minutes.
	needed := []pulumi.Resource{
		p.namespace, p.serviceAccount, p.configMap, p.secret, p.headlessService, p.claim,
	}
	if p.tlsSecret != nil {
		needed = append(needed, p.tlsSecret)
	}
	if err := p.newStatefulSet(ctx, name, child, pulumi.DependsOn(needed)); err != nil {
		return err
	}
	if err := p.tellWaiting(ctx); err != nil {
		return err
	}
	return p.newMarker(ctx, name, child, pulumi.DependsOn([]pulumi.Resource{p.statefulSet}))
}

func (p *Postgres) setOutputs(ctx *pulumi.Context) {
	kubeContext, _ := ctx.GetConfig("kubernetes:context")

	p.Namespace = p.namespace.Metadata.Name().Elem()
	p.StatefulSet = p.statefulSet.Metadata.Name().Elem()
	p.Service = p.service.Metadata.Name().Elem()
	p.HeadlessService = p.headlessService.Metadata.Name().Elem()
	p.Claim = p.claim.Metadata.Name().Elem()
	p.ConfigMap = p.configMap.Metadata.Name().Elem()
	p.Secret = p.secret.Metadata.Name().Elem()
	p.Database = pulumi.String(p.args.Database).ToStringOutput()
	p.User = pulumi.String(p.args.User).ToStringOutput()
	p.Password = p.password()
	p.TLS = pulumi.Bool(p.args.TLS).ToBoolOutput()
	p.RequireTLS = pulumi.Bool(p.args.RequireTLS).ToBoolOutput()
	p.CACertificate = p.caCertificate()
	p.TLSServerName = pulumi.String(p.serverName()).ToStringOutput()
	p.Replicas = pulumi.Int(*p.args.Replicas).ToIntOutput()
	p.ServiceType = pulumi.String(p.args.ServiceType).ToStringOutput()
	p.Port = pulumi.Int(serverPort).ToIntOutput()
	p.NodePort = p.nodePort()
	p.Context = pulumi.String(kubeContext).ToStringOutput()
	p.Kubeconfig = kubeconfig(ctx)
}

// Outputs are the component's outputs by name: those that a program that is
// nothing but this component exports, and that the verify command reads.
func (p *Postgres) Outputs() pulumi.Map {
	return pulumi.Map{
		"namespace":       p.Namespace,
		"statefulSet":     p.StatefulSet,
		"service":         p.Service,
		"headlessService": p.HeadlessService,
		"claim":           p.Claim,
		"configMap":       p.ConfigMap,
		"secret":          p.Secret,
		"database":        p.Database,
		"user":            p.User,
		"password":        p.Password,
		"tls":             p.TLS,
		"requireTls":      p.RequireTLS,
		"caCertificate":   p.CACertificate,
		"tlsServerName":   p.TLSServerName,
		"replicas":        p.Replicas,
		"serviceType":     p.ServiceType,
		"port":            p.Port,
		"nodePort":        p.NodePort,
		"context":         p.Context,
		"kubeconfig":      p.Kubeconfig,
	}
}
