package settings

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	"stateful-postgres/components/problem"
)

// Types of the clients' Service.
const (
	ServiceTypeClusterIP    = "ClusterIP"
	ServiceTypeNodePort     = "NodePort"
	ServiceTypeLoadBalancer = "LoadBalancer"
)

var serviceTypes = []string{ServiceTypeClusterIP, ServiceTypeNodePort, ServiceTypeLoadBalancer}

// maxPort is the largest number of a port. Which ports are node ports is up to
// the API server, which refuses others at preview.
const maxPort = 65535

var expectedNodePort = fmt.Sprintf("a port of the cluster's range for node ports, 1 to %d, or none to let the cluster choose", maxPort)

func checkNamespace(_ Args, namespace string) *problem.Problem {
	const expected = "a namespace of its own: at most 63 lower-case letters, digits and hyphens, beginning and ending with a letter or digit"
	remedy := problem.SetTo("namespace", "codewizard")
	switch {
	case len(validation.IsDNS1123Label(namespace)) > 0:
		return problem.New("namespace", namespace, expected, remedy)
	case namespace == "default" || strings.HasPrefix(namespace, "kube-"):
		return problem.New("namespace", namespace, "a namespace of its own, not one that belongs to the cluster", remedy)
	}
	return nil
}

func checkServiceType(_ Args, kind string) *problem.Problem {
	if slices.Contains(serviceTypes, kind) {
		return nil
	}
	return problem.New("serviceType", kind, problem.OneOf(serviceTypes), problem.SetTo("serviceType", ServiceTypeNodePort))
}

func checkNodePort(a Args, port int) *problem.Problem {
	switch {
	case port == 0:
		return nil
	case port < 1 || port > maxPort:
		return problem.New("nodePort", strconv.Itoa(port), expectedNodePort, problem.Remove("nodePort"))
	case a.ServiceType == ServiceTypeClusterIP:
		return problem.New("nodePort", strconv.Itoa(port), "no node port with serviceType "+ServiceTypeClusterIP, problem.Remove("nodePort"),
			problem.Setting("serviceType", ServiceTypeNodePort, ""))
	}
	return nil
}

func checkAllowFrom(_ Args, networks []string) *problem.Problem {
	for _, network := range networks {
		prefix, err := netip.ParsePrefix(network)
		if err != nil {
			return problem.New("allowFrom", network, "networks in CIDR notation, like 10.0.0.0/8 or 192.0.2.7/32", problem.Remove("allowFrom"))
		}
		if prefix != prefix.Masked() {
			return problem.New("allowFrom", network, fmt.Sprintf("%s, the network's own address", prefix.Masked()), problem.Remove("allowFrom"))
		}
	}
	return nil
}

// trafficPolicies are what a Service can do with connections from outside.
var trafficPolicies = []string{"Cluster", "Local"}

func checkExternalTrafficPolicy(a Args, policy string) *problem.Problem {
	switch {
	case policy == "":
		return nil
	case !slices.Contains(trafficPolicies, policy):
		return problem.New("externalTrafficPolicy", policy, problem.OneOf(trafficPolicies), problem.Remove("externalTrafficPolicy"))
	case a.ServiceType == ServiceTypeClusterIP:
		return problem.New("externalTrafficPolicy", policy, "none with serviceType "+ServiceTypeClusterIP+", which nobody outside can reach",
			problem.Remove("externalTrafficPolicy"))
	}
	return nil
}

func checkServiceAnnotations(_ Args, annotations Scalars) *problem.Problem {
	return checkAnnotations("serviceAnnotations", annotations, "pulumi.com/")
}

// OpenToEverybody says whether the settings ask for a superuser that everybody
// can reach over connections that nobody has to encrypt.
func (a Args) OpenToEverybody() bool {
	return a.ServiceType == ServiceTypeLoadBalancer && len(a.AllowFrom) == 0 && !a.RequireTLS
}
