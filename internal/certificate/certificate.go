// Package certificate makes the certificate of a server, and reads one that
// somebody else made. What a client has to know to check that one, the component,
// which tells its clients, and verify, which looks for itself, find out here.
package certificate

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"slices"
	"strings"
)

// NameFor returns a name that a certificate is for: the preferred one, else its
// first DNS name, else its first IP address, "" when it has none. Clients ask for
// a name and not for a wildcard; there, host takes the place of the asterisk.
func NameFor(leaf *x509.Certificate, preferred, host string) string {
	switch {
	case leaf.VerifyHostname(preferred) == nil:
		return preferred
	case len(leaf.DNSNames) > 0:
		if domain, isWildcard := strings.CutPrefix(leaf.DNSNames[0], "*."); isWildcard {
			return host + "." + domain
		}
		return leaf.DNSNames[0]
	case len(leaf.IPAddresses) > 0:
		return leaf.IPAddresses[0].String()
	}
	return ""
}

// SelfSigned returns the certificate of a chain that nobody else signed, as PEM,
// "" when there is none.
func SelfSigned(chain []*x509.Certificate) string {
	for _, certificate := range slices.Backward(chain) {
		if bytes.Equal(certificate.RawIssuer, certificate.RawSubject) &&
			certificate.CheckSignature(certificate.SignatureAlgorithm, certificate.RawTBSCertificate, certificate.Signature) == nil {
			return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Raw}))
		}
	}
	return ""
}
