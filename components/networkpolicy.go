package components

import (
	"fmt"
	"net/netip"

	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	networkingv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/networking/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

const networkPolicyName = "postgres"

// newNetworkPolicy declares who may reach the server, and that its port is all
// that can be reached. It takes effect where the cluster's network enforces
// policies.
func (p *Postgres) newNetworkPolicy(ctx *pulumi.Context, name string, opts ...pulumi.ResourceOption) error {
	_, err := networkingv1.NewNetworkPolicy(ctx, name, &networkingv1.NetworkPolicyArgs{
		Metadata: p.objectMeta(ctx, networkPolicyName, nil),
		Spec: networkingv1.NetworkPolicySpecArgs{
			PodSelector: metav1.LabelSelectorArgs{MatchLabels: selectorLabels()},
			PolicyTypes: pulumi.ToStringArray([]string{"Ingress"}),
			Ingress: networkingv1.NetworkPolicyIngressRuleArray{
				networkingv1.NetworkPolicyIngressRuleArgs{
					From: p.args.clients(),
					Ports: networkingv1.NetworkPolicyPortArray{
						networkingv1.NetworkPolicyPortArgs{
							Port:     pulumi.Int(serverPort),
							Protocol: pulumi.String("TCP"),
						},
					},
				},
			},
		},
	}, opts...)
	if err != nil {
		return fmt.Errorf("network policy %s: %w", networkPolicyName, err)
	}
	return nil
}

// clients are who may connect; nil is everybody. Unless the settings say, it
// follows from the Service's type: one that nodes or a load balancer offer is
// there for everybody, any other for the pods of the cluster.
func (a PostgresArgs) clients() networkingv1.NetworkPolicyPeerArrayInput {
	if len(a.AllowFrom) == 0 {
		if a.ServiceType != ServiceTypeClusterIP {
			return nil
		}
		return networkingv1.NetworkPolicyPeerArray{
			networkingv1.NetworkPolicyPeerArgs{NamespaceSelector: metav1.LabelSelectorArgs{}},
		}
	}
	var peers networkingv1.NetworkPolicyPeerArray
	for _, network := range a.AllowFrom {
		peers = append(peers, networkingv1.NetworkPolicyPeerArgs{
			IpBlock: networkingv1.IPBlockArgs{Cidr: pulumi.String(network)},
		})
	}
	return peers
}

func (a PostgresArgs) checkAllowFrom() *InvalidSetting {
	for _, network := range a.AllowFrom {
		prefix, err := netip.ParsePrefix(network)
		if err != nil {
			return invalid("allowFrom", network, "networks in CIDR notation, like 10.0.0.0/8 or 192.0.2.7/32", unset("allowFrom"))
		}
		if prefix != prefix.Masked() {
			return invalid("allowFrom", network, fmt.Sprintf("%s, the network's own address", prefix.Masked()), unset("allowFrom"))
		}
	}
	return nil
}
