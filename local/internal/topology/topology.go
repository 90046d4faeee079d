// Package topology says which machines a local cluster consists of and which
// addresses they have. It decides nothing else.
//
// Every machine is a set of namespaces on one Linux host. The control plane's
// machine also is the switch: the host and every node have a link to its
// bridge. Only the nodes' subnet is seen by the host; pod and Service
// addresses exist inside the machines alone.
package topology

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	"stateful-postgres/local/internal/layout"
)

const (
	// KubernetesVersion is what every component reports.
	KubernetesVersion = "v1.35.4"

	// ServiceCIDR holds the cluster addresses of Services.
	ServiceCIDR = "10.96.0.0/16"
	// APIServerServiceIP is the address of the Service "kubernetes": the
	// first one of ServiceCIDR.
	APIServerServiceIP = "10.96.0.1"
	// DNSServiceIP is the address of the Service "kube-dns".
	DNSServiceIP = "10.96.0.10"
	// PodCIDR holds the addresses of all pods, a /24 of it a node.
	PodCIDR = "10.244.0.0/16"
	// ClusterDomain ends every name that the cluster's DNS serves.
	ClusterDomain = "cluster.local"

	// ControlPlane is the name of the machine that runs etcd and everything
	// that Kubernetes runs once.
	ControlPlane = "control-plane"
	// HostLink is the one network interface that the host gets.
	HostLink = "localkube0"
	// Bridge is the switch, in the control plane's machine.
	Bridge = "bridge0"
	// NodeLink is what a node calls its interface.
	NodeLink = "eth0"

	// APIServerPort is where the apiserver listens on the control plane's address.
	APIServerPort = 6443

	// MaxNodes is how many nodes the addresses are planned for.
	MaxNodes = 50

	firstNodeHost = 11
)

// candidates are the subnets tried for the machines, in this order: parts of
// the private ranges that are rarely in use.
var candidates = []string{"10.231.77.0/24", "172.29.177.0/24", "192.168.231.0/24", "10.177.231.0/24"}

// Topology is one cluster's machines.
type Topology struct {
	// Subnet is the network that host, control plane and nodes share.
	Subnet netip.Prefix `json:"subnet"`
	// Nodes is the number of nodes, from 1 to MaxNodes.
	Nodes int `json:"nodes"`
}

// Node is one node's machine.
type Node struct {
	// Name is the machine's and the Kubernetes node's name.
	Name string
	// Address is its InternalIP.
	Address netip.Addr
	// PodCIDR holds the addresses of its pods.
	PodCIDR netip.Prefix
}

// Host is the host's own address on HostLink.
func (t Topology) Host() netip.Addr { return t.host(1) }

// ControlPlane is the address of the machine of that name.
func (t Topology) ControlPlane() netip.Addr { return t.host(2) }

// APIServer is the URL at which the apiserver is reached from host and nodes.
func (t Topology) APIServer() string {
	return fmt.Sprintf("https://%s:%d", t.ControlPlane(), APIServerPort)
}

// Node returns the node with the given number, counted from 1.
func (t Topology) Node(number int) Node {
	pods := netip.MustParsePrefix(PodCIDR).Addr().As4()
	pods[2] = byte(number)
	return Node{
		Name:    fmt.Sprintf("node-%d", number),
		Address: t.host(byte(firstNodeHost + number - 1)),
		PodCIDR: netip.PrefixFrom(netip.AddrFrom4(pods), 24),
	}
}

// AllNodes returns every node, in the order of their numbers.
func (t Topology) AllNodes() []Node {
	nodes := make([]Node, t.Nodes)
	for i := range nodes {
		nodes[i] = t.Node(i + 1)
	}
	return nodes
}

// Machines returns the names of all machines, the control plane first.
func (t Topology) Machines() []string {
	names := []string{ControlPlane}
	for _, node := range t.AllNodes() {
		names = append(names, node.Name)
	}
	return names
}

func (t Topology) host(last byte) netip.Addr {
	a := t.Subnet.Addr().As4()
	a[3] = last
	return netip.AddrFrom4(a)
}

// ChooseSubnet returns the preferred subnet, or else the first candidate, that
// overlaps none of those in use. Preferred may be the zero value.
func ChooseSubnet(preferred netip.Prefix, inUse []netip.Prefix) (netip.Prefix, error) {
	tried := make([]netip.Prefix, 0, len(candidates)+1)
	if preferred.IsValid() {
		tried = append(tried, preferred)
	}
	for _, c := range candidates {
		tried = append(tried, netip.MustParsePrefix(c))
	}
	for _, subnet := range tried {
		free := true
		for _, used := range inUse {
			free = free && !subnet.Overlaps(used)
		}
		if free {
			return subnet, nil
		}
	}
	return netip.Prefix{}, fmt.Errorf("no free subnet for the local cluster: the machine has routes to all of %v; remove one of them", candidates)
}

func path(l layout.Layout) string { return filepath.Join(l.Cluster(), "topology.json") }

// Load returns the topology that was saved, and the zero value if there is none.
func Load(l layout.Layout) (Topology, error) {
	content, err := os.ReadFile(path(l))
	if errors.Is(err, os.ErrNotExist) {
		return Topology{}, nil
	}
	if err != nil {
		return Topology{}, err
	}
	var t Topology
	if err := json.Unmarshal(content, &t); err != nil {
		return Topology{}, fmt.Errorf("%s: %w; remove the file and run up again", path(l), err)
	}
	return t, nil
}

// Save keeps the topology for the machines and for the next start.
func (t Topology) Save(l layout.Layout) error {
	content, err := json.MarshalIndent(t, "", "  ")
	if err != nil {
		return err
	}
	return layout.WriteFile(path(l), append(content, '\n'), 0o600)
}
