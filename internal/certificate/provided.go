package certificate

import (
	"bytes"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"

	"stateful-postgres/internal/contract"
)

// Provided is a certificate that the component did not make.
type Provided struct {
	// Authority is what clients have to trust, as PEM; "" when they do already,
	// as with a public authority.
	Authority string
	// Name is one that the certificate is for.
	Name string
}

// minRSABits is the least that OpenSSL serves with at its usual security level.
const minRSABits = 2048

// Read reads a Secret's content and says what is wrong with it as
// something that a server is to show to its clients, who know it as preferred.
func Read(data map[string][]byte, preferred string, now time.Time) (Provided, error) {
	for _, key := range []string{contract.CertificateKey, contract.PrivateKeyKey} {
		if len(data[key]) == 0 {
			return Provided{}, fmt.Errorf("it has no %s", key)
		}
	}
	read, err := tls.X509KeyPair(data[contract.CertificateKey], data[contract.PrivateKeyKey])
	if err != nil {
		// The package's messages name what is wrong, and never hold the key.
		return Provided{}, errors.New(strings.TrimPrefix(err.Error(), "tls: "))
	}
	leaf := read.Leaf
	if key, isRSA := leaf.PublicKey.(*rsa.PublicKey); isRSA && key.N.BitLen() < minRSABits {
		return Provided{}, fmt.Errorf("its key has %d bits, and servers refuse fewer than %d", key.N.BitLen(), minRSABits)
	}
	switch {
	case now.After(leaf.NotAfter):
		return Provided{}, fmt.Errorf("its certificate expired on %s", leaf.NotAfter.UTC().Format(time.DateOnly))
	case now.Before(leaf.NotBefore):
		return Provided{}, fmt.Errorf("its certificate is valid only from %s", leaf.NotBefore.UTC().Format(time.DateOnly))
	}
	found := Provided{Name: NameFor(leaf, preferred, contract.Service)}
	if found.Name == "" {
		return Provided{}, errors.New("its certificate has no DNS name and no IP address (subjectAltName)")
	}
	chain, err := x509.ParseCertificates(bytes.Join(read.Certificate, nil))
	if err != nil {
		return Provided{}, err
	}
	if found.Authority = string(data[contract.AuthorityKey]); found.Authority == "" {
		found.Authority = SelfSigned(chain)
	}
	if found.Authority == "" {
		return found, nil
	}
	roots, intermediates := x509.NewCertPool(), x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(found.Authority)) {
		return Provided{}, fmt.Errorf("its %s holds no certificate", contract.AuthorityKey)
	}
	for _, intermediate := range chain[1:] {
		intermediates.AddCert(intermediate)
	}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: intermediates, CurrentTime: now}); err != nil {
		return Provided{}, fmt.Errorf("no client accepts its certificate: %w", err)
	}
	return found, nil
}
