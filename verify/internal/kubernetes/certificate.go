package kubernetes

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"stateful-postgres/internal/certificate"
	"stateful-postgres/internal/contract"
)

// Certificate is what a client has to know to check a server's.
type Certificate struct {
	// Authority holds the certificates (PEM) of who signed it; empty when this machine knows them.
	Authority string
	// Name is a DNS name or IP address that it is for.
	Name string
}

// mountedCertificate reads the certificate of the Secret that a server mounts as tls.crt; nil when
// it mounts none. The private key is not looked at.
func (c *Cluster) mountedCertificate(ctx context.Context, namespace string, template *corev1.PodTemplateSpec, container *corev1.Container, service string) (*Certificate, error) {
	name := certificateSecret(template, container)
	if name == "" {
		return nil, nil
	}
	data, err := c.secret(ctx, namespace, name)
	switch {
	case apierrors.IsForbidden(err):
		return nil, fmt.Errorf("the server offers TLS, and this user may not read Secret %s, which holds the authority (%s) to check its certificate with: "+
			"have it allowed, or use --dsn with sslmode=verify-full and sslrootcert: %w", name, contract.AuthorityKey, err)
	case err != nil:
		return nil, err
	}
	found, err := readCertificate(data, contract.ServiceDomain(service, namespace))
	if err != nil {
		return nil, fmt.Errorf("secret %s: %w", name, err)
	}
	return found, nil
}

// certificateSecret is the Secret of which a container mounts the key tls.crt by name.
func certificateSecret(template *corev1.PodTemplateSpec, container *corev1.Container) string {
	for _, mount := range container.VolumeMounts {
		for _, volume := range template.Spec.Volumes {
			if volume.Name != mount.Name || volume.Secret == nil {
				continue
			}
			for _, item := range volume.Secret.Items {
				if item.Key == contract.CertificateKey {
					return volume.Secret.SecretName
				}
			}
		}
	}
	return ""
}

// readCertificate finds out what to trust and what to check for: the preferred name where the
// certificate is for it, else the first that it is for.
func readCertificate(data map[string][]byte, preferred string) (*Certificate, error) {
	var chain []*x509.Certificate
	for block, rest := pem.Decode(data[contract.CertificateKey]); block != nil; block, rest = pem.Decode(rest) {
		parsed, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", contract.CertificateKey, err)
		}
		chain = append(chain, parsed)
	}
	if len(chain) == 0 {
		return nil, fmt.Errorf("%s holds no certificate", contract.CertificateKey)
	}
	found := &Certificate{Authority: string(data[contract.AuthorityKey])}
	if found.Authority == "" {
		found.Authority = certificate.SelfSigned(chain)
	}
	if found.Name = certificate.NameFor(chain[0], preferred, "postgres"); found.Name == "" {
		return nil, errors.New("its certificate is for no DNS name and no IP address")
	}
	return found, nil
}
