package conflict

import (
	"fmt"

	"stateful-postgres/components/internal/observe"
	"stateful-postgres/components/problem"
	"stateful-postgres/components/settings"
	"stateful-postgres/internal/certificate"
	"stateful-postgres/internal/contract"
)

// certificateSecret refuses a Secret with which the server would not start, or
// whose certificate no client would accept.
func certificateSecret(a settings.Args, seen observe.Observation) *problem.Problem {
	secret := seen.CertificateSecret
	switch {
	case !a.TLS || seen.NoCluster:
		return nil
	case a.TLSSecret == "":
		return ownCertificateSecret(a, seen)
	case secret == nil:
		return problem.New("tlsSecret", a.TLSSecret, "a Secret that exists in namespace "+a.Namespace,
			problem.Run("make it", fmt.Sprintf("kubectl create secret tls %s -n %s --cert=FILE --key=FILE", a.TLSSecret, a.Namespace)),
			problem.Remove("tlsSecret"))
	}
	if _, err := certificate.Read(secret.Data, a.ServerName(), seen.Time); err != nil {
		return problem.New("tlsSecret", a.TLSSecret, fmt.Sprintf("a Secret with a certificate (%s) and its key (%s) that clients accept; this one does not do: %s",
			contract.CertificateKey, contract.PrivateKeyKey, err), problem.Do("replace its content"), problem.Remove("tlsSecret"))
	}
	return nil
}

// ownCertificateSecret refuses to write over a Secret that somebody else made.
func ownCertificateSecret(a settings.Args, seen observe.Observation) *problem.Problem {
	secret := seen.CertificateSecret
	if secret == nil || secret.Annotations[contract.AnnotationFieldManager] != "" {
		return nil
	}
	return problem.New("tls", "true", fmt.Sprintf("no Secret %s in namespace %s that is not the component's", contract.TLSSecret, a.Namespace),
		problem.Do("give it another name and set tlsSecret to that"), problem.Do("delete it"))
}
