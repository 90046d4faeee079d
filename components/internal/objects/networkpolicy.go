package objects

import (
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	networkingv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/networking/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"stateful-postgres/components/settings"
	"stateful-postgres/internal/contract"
)

// NetworkPolicy says who may reach the server, and that its port is all that can
// be reached. It takes effect where the cluster's network enforces policies.
func NetworkPolicy(d Description) Object[networkingv1.NetworkPolicyArgs] {
	return Object[networkingv1.NetworkPolicyArgs]{
		Title: "network policy " + contract.NetworkPolicy,
		Args: &networkingv1.NetworkPolicyArgs{
			Metadata: d.metadata(contract.NetworkPolicy, nil),
			Spec: networkingv1.NetworkPolicySpecArgs{
				PodSelector: metav1.LabelSelectorArgs{MatchLabels: selectorLabels()},
				PolicyTypes: pulumi.ToStringArray([]string{"Ingress"}),
				Ingress:     ingress(d.Settings),
			},
		},
	}
}

func ingress(a settings.Args) networkingv1.NetworkPolicyIngressRuleArray {
	ports := func(all ...int) (ports networkingv1.NetworkPolicyPortArray) {
		for _, port := range all {
			ports = append(ports, networkingv1.NetworkPolicyPortArgs{Port: pulumi.Int(port), Protocol: pulumi.String("TCP")})
		}
		return ports
	}
	rules := networkingv1.NetworkPolicyIngressRuleArray{
		networkingv1.NetworkPolicyIngressRuleArgs{From: clients(a), Ports: ports(contract.Port)},
	}
	if a.HighAvailability {
		rules = append(rules, networkingv1.NetworkPolicyIngressRuleArgs{
			From: networkingv1.NetworkPolicyPeerArray{
				networkingv1.NetworkPolicyPeerArgs{PodSelector: metav1.LabelSelectorArgs{MatchLabels: selectorLabels()}},
			},
			Ports: ports(contract.Port, contract.MembersPort),
		})
	}
	return rules
}

// clients are who may connect; nil is everybody. Unless the settings say, it
// follows from the Service's type: one that nodes or a load balancer offer is
// there for everybody, any other for the pods of the cluster.
func clients(a settings.Args) networkingv1.NetworkPolicyPeerArrayInput {
	if len(a.AllowFrom) == 0 {
		if a.ServiceType != settings.ServiceTypeClusterIP {
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
	// It asks the server what its data demands.
	return append(peers, networkingv1.NetworkPolicyPeerArgs{
		PodSelector: metav1.LabelSelectorArgs{MatchLabels: pulumi.ToStringMap(checkLabels())},
	})
}
