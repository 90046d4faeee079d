package settings

import (
	"net"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	"stateful-postgres/components/problem"
	"stateful-postgres/internal/contract"
)

func checkTLSSecret(a Args, name string) *problem.Problem {
	switch {
	case name == "":
		return nil
	case len(validation.IsDNS1123Subdomain(name)) > 0:
		return problem.New("tlsSecret", name, "the name of a Secret in the namespace", problem.Remove("tlsSecret"))
	case name == contract.TLSSecret || name == contract.CredentialsSecret:
		return problem.New("tlsSecret", name, "another Secret than the component's own", problem.Remove("tlsSecret"))
	case !a.TLS:
		return problem.New("tlsSecret", name, "no Secret without tls", problem.SetTo("tls", "true"), problem.Remove("tlsSecret"))
	}
	return nil
}

func checkTLSNames(a Args, names []string) *problem.Problem {
	remove := problem.Remove("tlsNames")
	for i, name := range names {
		switch {
		case net.ParseIP(name) == nil && len(validation.IsDNS1123Subdomain(name)) > 0 && len(validation.IsWildcardDNS1123Subdomain(name)) > 0:
			return problem.New("tlsNames", name, "DNS names in lower case and IP addresses, like db.example.com or 192.0.2.7", remove)
		case slices.Contains(names[:i], name):
			return problem.New("tlsNames", name, "each name once", remove)
		}
	}
	value := strings.Join(names, ",")
	switch {
	case len(names) == 0:
		return nil
	case !a.TLS:
		return problem.New("tlsNames", value, "no names without tls", problem.SetTo("tls", "true"), remove)
	case a.TLSSecret != "":
		return problem.New("tlsNames", value, "no names with tlsSecret, whose certificate has its own", remove, problem.Remove("tlsSecret"))
	}
	return nil
}

func checkRequireTLS(a Args, required bool) *problem.Problem {
	if !required || a.TLS {
		return nil
	}
	return problem.New("requireTls", strconv.FormatBool(required), "false without tls, or no client could connect",
		problem.SetTo("tls", "true"), problem.SetTo("requireTls", "false"))
}

// CertificateSecret is the name of the Secret that holds the server's
// certificate, "" without TLS.
func (a Args) CertificateSecret() string {
	switch {
	case !a.TLS:
		return ""
	case a.TLSSecret != "":
		return a.TLSSecret
	}
	return contract.TLSSecret
}

// ServerName is the name by which clients inside the cluster know the server.
func (a Args) ServerName() string {
	return contract.TLSServerName(a.Namespace)
}
