package components

import (
	"cmp"
	"fmt"
	"net/url"
	"reflect"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"stateful-postgres/components/internal/objects"
	"stateful-postgres/components/internal/observe"
	"stateful-postgres/components/settings"
	"stateful-postgres/internal/contract"
)

// Postgres is a PostgreSQL server on Kubernetes: namespace, configuration,
// credentials, two Services, claim and StatefulSet. Its outputs are described in
// docs/settings.md.
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
	// Cluster is the kubeconfig's cluster in use, "" for the context's.
	Cluster pulumi.StringOutput `pulumi:"cluster"`
	// Kubeconfig is the component's, or what the stack sets as
	// kubernetes:kubeconfig, "" when nothing is set. It is a secret.
	Kubeconfig pulumi.StringOutput `pulumi:"kubeconfig" provider:"secret"`
	// DataExpected says that a server was ready on the volume, in this update or an
	// earlier one.
	DataExpected pulumi.BoolOutput `pulumi:"dataExpected"`
	// ClusterUID is the UID of the cluster's namespace kube-system, "" where it may
	// not be read.
	ClusterUID pulumi.StringOutput `pulumi:"clusterUid"`
	// HighAvailability says whether Patroni runs the servers. ReplicasService is then
	// the Service that leads to those that follow the primary, else "".
	HighAvailability pulumi.BoolOutput   `pulumi:"highAvailability"`
	ReplicasService  pulumi.StringOutput `pulumi:"replicasService"`
	// ConnectionURI is for clients in the cluster, without the password.
	ConnectionURI pulumi.StringOutput `pulumi:"connectionUri"`
}

func (p *Postgres) setOutputs(d objects.Description, m made, way observe.Way) {
	p.Namespace = m.configMap.Metadata.Namespace().Elem()
	p.StatefulSet = m.statefulSet.Metadata.Name().Elem()
	p.Service = m.service.Metadata.Name().Elem()
	p.HeadlessService = m.headless.Metadata.Name().Elem()
	p.Claim = m.claim.Metadata.Name().Elem()
	p.ConfigMap = m.configMap.Metadata.Name().Elem()
	p.Secret = m.credentials.Metadata.Name().Elem()
	p.Database = pulumi.String(d.Settings.Database).ToStringOutput()
	p.User = pulumi.String(d.Settings.User).ToStringOutput()
	p.Password = m.password
	p.TLS = pulumi.Bool(d.Settings.TLS).ToBoolOutput()
	p.RequireTLS = pulumi.Bool(d.Settings.RequireTLS).ToBoolOutput()
	p.CACertificate = objects.Authority(d, m.certificate)
	p.TLSServerName = pulumi.String(objects.ServerName(d)).ToStringOutput()
	p.Replicas = pulumi.Int(*d.Settings.Replicas).ToIntOutput()
	p.ServiceType = pulumi.String(d.Settings.ServiceType).ToStringOutput()
	p.Port = pulumi.Int(contract.Port).ToIntOutput()
	p.NodePort = objects.NodePort(m.service)
	p.Context = pulumi.String(way.Context).ToStringOutput()
	p.Cluster = pulumi.String(way.Cluster).ToStringOutput()
	p.Kubeconfig = way.Input
	p.DataExpected = pulumi.Bool(m.marker != nil).ToBoolOutput()
	if m.marker != nil {
		// Not before the server was ready.
		p.DataExpected = m.marker.ID().ApplyT(func(pulumi.ID) bool { return true }).(pulumi.BoolOutput)
	}
	p.ClusterUID = pulumi.String(clusterUID(d)).ToStringOutput()
	p.HighAvailability = pulumi.Bool(d.Settings.HighAvailability).ToBoolOutput()
	p.ReplicasService = pulumi.String("").ToStringOutput()
	if m.replicas != nil {
		p.ReplicasService = m.replicas.Metadata.Name().Elem()
	}
	p.ConnectionURI = pulumi.String(connectionURI(d.Settings)).ToStringOutput()
}

// connectionURI names the clients' Service, or every server.
// https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-MULTIPLE-HOSTS
func connectionURI(a settings.Args) string {
	hosts, query := []string{contract.ServiceDomain(contract.Service, a.Namespace)}, ""
	if a.HighAvailability {
		hosts, query = nil, "?target_session_attrs=read-write"
		for ordinal := range max(*a.Replicas, 1) {
			hosts = append(hosts, contract.PodName(ordinal)+"."+contract.ServiceDomain(contract.HeadlessService, a.Namespace))
		}
	}
	for i, host := range hosts {
		hosts[i] = fmt.Sprintf("%s:%d", host, contract.Port)
	}
	return fmt.Sprintf("postgresql://%s@%s/%s%s", url.User(a.User), strings.Join(hosts, ","), url.PathEscape(a.Database), query)
}

// Outputs are the component's outputs by name: those that a program that is
// nothing but this component exports, and that the verify command reads.
func (p *Postgres) Outputs() pulumi.Map {
	outputs := pulumi.Map{}
	component := reflect.ValueOf(p).Elem()
	for field := range component.NumField() {
		name, tagged := component.Type().Field(field).Tag.Lookup("pulumi")
		if output, isOutput := component.Field(field).Interface().(pulumi.Output); tagged && isOutput {
			outputs[name] = output
		}
	}
	return outputs
}

// clusterUID is that of the cluster which was looked at. One that may not be
// read stays what it was.
func clusterUID(d objects.Description) string {
	return cmp.Or(d.Observed.ClusterUID, d.Observed.LastIn(d.Settings.Namespace).ClusterUID)
}
