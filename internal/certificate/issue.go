package certificate

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"net"
	"slices"
	"time"

	"stateful-postgres/internal/contract"
)

const (
	// authorityLife is how long clients can go on trusting one authority.
	authorityLife = 10 * 365 * 24 * time.Hour
	// certificateLife is how long one certificate of the server is good for. It
	// is renewed when no more than a third of it is left.
	certificateLife = 365 * 24 * time.Hour
	// clockSkew is by how much a client's clock may be behind that of the machine
	// that made a certificate.
	clockSkew = time.Hour
)

// Renew returns the content of the Secret for a server that is called by names: an
// authority of its own and a certificate that it signed, as PEM. What was kept
// stays byte by byte as long as it is good. A certificate that is not is made
// anew by the same authority, so that clients go on trusting it; the authority
// only when it is missing, damaged, or would end before the certificate.
func Renew(kept map[string][]byte, names []string, now time.Time) (map[string][]byte, error) {
	authority, err := readPair(kept[contract.AuthorityKey], kept[contract.AuthorityPrivateKeyKey])
	if err != nil || !isGoodAuthority(authority.leaf, now) {
		if authority, err = newAuthority(now); err != nil {
			return nil, fmt.Errorf("certificate authority: %w", err)
		}
	}
	server, err := readPair(kept[contract.CertificateKey], kept[contract.PrivateKeyKey])
	if err != nil || !isGoodCertificate(server.leaf, authority.leaf, names, now) {
		if server, err = newCertificate(authority, names, now); err != nil {
			return nil, fmt.Errorf("certificate: %w", err)
		}
	}
	return map[string][]byte{
		contract.CertificateKey: server.certificate, contract.PrivateKeyKey: server.privateKey,
		contract.AuthorityKey: authority.certificate, contract.AuthorityPrivateKeyKey: authority.privateKey,
	}, nil
}

// ServerNames are what a client may call the server by, wherever it is; further
// names come from the settings.
func ServerNames(namespace string, further []string) []string {
	names := []string{"localhost"}
	for _, service := range []string{contract.Service, contract.HeadlessService} {
		names = append(names, service)
		for _, domain := range []string{namespace, namespace + ".svc", namespace + ".svc.cluster.local"} {
			names = append(names, service+"."+domain)
			if service == contract.HeadlessService {
				// The pods' own names.
				names = append(names, "*."+service+"."+domain)
			}
		}
	}
	return append(names, further...)
}

// pair is a certificate and its key, as PEM and as what that says.
type pair struct {
	certificate, privateKey []byte
	leaf                    *x509.Certificate
	key                     any
}

// readPair reads a certificate and the key that belongs to it.
func readPair(certificate, privateKey []byte) (pair, error) {
	read, err := tls.X509KeyPair(certificate, privateKey)
	if err != nil {
		return pair{}, err
	}
	return pair{certificate: certificate, privateKey: privateKey, leaf: read.Leaf, key: read.PrivateKey}, nil
}

func isGoodAuthority(authority *x509.Certificate, now time.Time) bool {
	return authority.IsCA && authority.KeyUsage&x509.KeyUsageCertSign != 0 &&
		!now.Before(authority.NotBefore) && authority.NotAfter.Sub(now) > certificateLife
}

func isGoodCertificate(certificate, authority *x509.Certificate, names []string, now time.Time) bool {
	return certificate.CheckSignatureFrom(authority) == nil &&
		slices.Equal(namesOf(certificate), canonicalNames(names)) &&
		!now.Before(certificate.NotBefore) &&
		certificate.NotAfter.Sub(now) > certificate.NotAfter.Sub(certificate.NotBefore)/3
}

// namesOf are the names and addresses that a certificate is for, sorted.
func namesOf(certificate *x509.Certificate) []string {
	names := slices.Clone(certificate.DNSNames)
	for _, address := range certificate.IPAddresses {
		names = append(names, address.String())
	}
	slices.Sort(names)
	return names
}

// canonicalNames are names as namesOf gives them.
func canonicalNames(names []string) []string {
	var canonical []string
	for _, name := range names {
		if address := net.ParseIP(name); address != nil {
			name = address.String()
		}
		canonical = append(canonical, name)
	}
	slices.Sort(canonical)
	return slices.Compact(canonical)
}

func newAuthority(now time.Time) (pair, error) {
	template := &x509.Certificate{
		// Libraries find an authority by its name first; one of its own keeps it
		// apart from those of other servers, and from its predecessor.
		Subject:               pkix.Name{CommonName: "postgres authority " + rand.Text()[:8]},
		NotBefore:             now.Add(-clockSkew),
		NotAfter:              now.Add(authorityLife),
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	return sign(template, nil)
}

func newCertificate(authority pair, names []string, now time.Time) (pair, error) {
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: contract.Service},
		NotBefore:   now.Add(-clockSkew),
		NotAfter:    now.Add(certificateLife),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, name := range canonicalNames(names) {
		if address := net.ParseIP(name); address != nil {
			template.IPAddresses = append(template.IPAddresses, address)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	return sign(template, &authority)
}

// sign makes a key and a certificate for it, signed by an authority or, without
// one, by itself.
func sign(template *x509.Certificate, authority *pair) (pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return pair{}, err
	}
	parent, signer := template, any(key)
	if authority != nil {
		parent, signer = authority.leaf, authority.key
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		return pair{}, err
	}
	privateKey, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return pair{}, err
	}
	return readPair(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: privateKey}))
}
