// Package pki makes the certificates and kubeconfigs with which the parts of a
// local cluster know each other. Everything is made on the machine, kept under
// the checkout's .local folder in files that only their owner can read, and
// made again when it no longer fits or is about to run out.
package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"stateful-postgres/local/internal/layout"
	"stateful-postgres/local/internal/topology"
)

const (
	lifetime = 365 * 24 * time.Hour
	// What has less than this left is made again at the next start.
	renewBefore = 90 * 24 * time.Hour
	// Clocks of other programs on the same machine do not differ, but a
	// machine that was suspended may step back.
	backdate = time.Hour

	// ContextName is the context of the admin's kubeconfig.
	ContextName = "localkube"
)

// Names of the identities that talk to the apiserver, which are also the names
// of their files. A node's kubelet has the node's name.
const (
	Admin             = "admin"
	ControllerManager = "kube-controller-manager"
	Scheduler         = "kube-scheduler"
	Proxy             = "kube-proxy"
	Provisioner       = "volume-provisioner"
	KubeletClient     = "apiserver-kubelet-client"
	// ProvisionerUser is the user name that addons grant rights to.
	ProvisionerUser = "system:localkube:volume-provisioner"
)

// Files names what Ensure has made.
type Files struct{ dir string }

// In returns the files of a layout, whether they exist or not.
func In(l layout.Layout) Files { return Files{dir: filepath.Join(l.Cluster(), "pki")} }

// CA is the certificate that everything in the cluster trusts.
func (f Files) CA() string { return f.Certificate("ca") }

// Certificate is the certificate of an identity or of a server.
func (f Files) Certificate(name string) string { return filepath.Join(f.dir, name+".crt") }

// Key is the private key to Certificate.
func (f Files) Key(name string) string { return filepath.Join(f.dir, name+".key") }

// Kubeconfig is what an identity connects to the apiserver with.
func (f Files) Kubeconfig(name string) string { return filepath.Join(f.dir, name+".kubeconfig") }

// ServiceAccountKey signs the tokens of service accounts.
func (f Files) ServiceAccountKey() string { return f.Key("service-account") }

// APIServer is the name of the apiserver's serving certificate.
const APIServer = "kube-apiserver"

// KubeletServer is the name of a node's serving certificate.
func KubeletServer(node string) string { return node + "-server" }

// Ensure makes whatever is missing, does not fit the topology or runs out
// soon, and the admin's kubeconfig.
func Ensure(l layout.Layout, t topology.Topology) error {
	f := In(l)
	if err := os.MkdirAll(f.dir, 0o700); err != nil {
		return err
	}
	ca, err := f.ensureCA()
	if err != nil {
		return err
	}
	if err := f.ensureServiceAccountKey(); err != nil {
		return err
	}
	for _, request := range f.requests(t) {
		if err := f.ensureSigned(ca, request); err != nil {
			return fmt.Errorf("certificate %s: %w", request.name, err)
		}
		if request.usage != x509.ExtKeyUsageClientAuth || request.name == KubeletClient {
			continue
		}
		path := f.Kubeconfig(request.name)
		if request.name == Admin {
			path = l.Kubeconfig()
		}
		if err := f.writeKubeconfig(path, request.name, t.APIServer()); err != nil {
			return fmt.Errorf("kubeconfig %s: %w", request.name, err)
		}
	}
	return nil
}

type request struct {
	name      string
	user      string
	groups    []string
	usage     x509.ExtKeyUsage
	dns       []string
	addresses []netip.Addr
}

func (f Files) requests(t topology.Topology) []request {
	requests := []request{
		{name: Admin, user: "localkube-admin", groups: []string{"system:masters"}},
		{name: ControllerManager, user: "system:kube-controller-manager"},
		{name: Scheduler, user: "system:kube-scheduler"},
		{name: Proxy, user: "system:kube-proxy"},
		{name: Provisioner, user: ProvisionerUser},
		{name: KubeletClient, user: "localkube-apiserver", groups: []string{"system:masters"}},
	}
	for i := range requests {
		requests[i].usage = x509.ExtKeyUsageClientAuth
	}
	requests = append(requests, request{
		name: APIServer, user: APIServer, usage: x509.ExtKeyUsageServerAuth,
		dns: []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc." + topology.ClusterDomain},
		addresses: []netip.Addr{
			t.ControlPlane(), netip.MustParseAddr(topology.APIServerServiceIP), netip.MustParseAddr("127.0.0.1"),
		},
	})
	for _, node := range t.AllNodes() {
		requests = append(requests,
			request{name: node.Name, user: "system:node:" + node.Name, groups: []string{"system:nodes"}, usage: x509.ExtKeyUsageClientAuth},
			request{
				name: KubeletServer(node.Name), user: "system:node:" + node.Name, groups: []string{"system:nodes"},
				usage: x509.ExtKeyUsageServerAuth, dns: []string{node.Name}, addresses: []netip.Addr{node.Address},
			})
	}
	return requests
}

type authority struct {
	certificate *x509.Certificate
	key         crypto.Signer
}

func (f Files) ensureCA() (authority, error) {
	certificate, err := f.load("ca")
	if err == nil && time.Until(certificate.NotAfter) > renewBefore {
		key, err := loadKey(f.Key("ca"))
		if err == nil {
			return authority{certificate, key}, nil
		}
	}
	key, err := newKey()
	if err != nil {
		return authority{}, err
	}
	template, err := template("localkube-ca", nil)
	if err != nil {
		return authority{}, err
	}
	template.IsCA = true
	template.BasicConstraintsValid = true
	template.NotAfter = time.Now().Add(10 * lifetime)
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return authority{}, fmt.Errorf("make the certificate authority: %w", err)
	}
	if err := f.save("ca", der, key); err != nil {
		return authority{}, err
	}
	certificate, err = x509.ParseCertificate(der)
	return authority{certificate, key}, err
}

func (f Files) ensureServiceAccountKey() error {
	if _, err := loadKey(f.ServiceAccountKey()); err == nil {
		return nil
	}
	key, err := newKey()
	if err != nil {
		return err
	}
	return saveKey(f.ServiceAccountKey(), key)
}

func (f Files) ensureSigned(ca authority, r request) error {
	if old, err := f.load(r.name); err == nil && r.matches(old) && old.CheckSignatureFrom(ca.certificate) == nil {
		if _, err := loadKey(f.Key(r.name)); err == nil {
			return nil
		}
	}
	key, err := newKey()
	if err != nil {
		return err
	}
	template, err := template(r.user, r.groups)
	if err != nil {
		return err
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{r.usage}
	template.DNSNames = r.dns
	for _, address := range r.addresses {
		template.IPAddresses = append(template.IPAddresses, net.IP(address.AsSlice()))
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.certificate, key.Public(), ca.key)
	if err != nil {
		return err
	}
	return f.save(r.name, der, key)
}

func (r request) matches(c *x509.Certificate) bool {
	var addresses []netip.Addr
	for _, ip := range c.IPAddresses {
		if address, ok := netip.AddrFromSlice(ip); ok {
			addresses = append(addresses, address.Unmap())
		}
	}
	return time.Until(c.NotAfter) > renewBefore && slices.Equal(addresses, r.addresses)
}

func template(user string, groups []string) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: user, Organization: groups},
		NotBefore:    time.Now().Add(-backdate),
		NotAfter:     time.Now().Add(lifetime),
	}, nil
}

func newKey() (*ecdsa.PrivateKey, error) {
	return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
}

func (f Files) save(name string, der []byte, key *ecdsa.PrivateKey) error {
	if err := saveKey(f.Key(name), key); err != nil {
		return err
	}
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return layout.WriteFile(f.Certificate(name), block, 0o600)
}

func saveKey(path string, key *ecdsa.PrivateKey) error {
	// SEC 1 form: kube-apiserver reads the key of service accounts in it.
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return layout.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), 0o600)
}

func (f Files) load(name string) (*x509.Certificate, error) {
	block, err := loadPEM(f.Certificate(name))
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(block.Bytes)
}

func loadKey(path string) (*ecdsa.PrivateKey, error) {
	block, err := loadPEM(path)
	if err != nil {
		return nil, err
	}
	return x509.ParseECPrivateKey(block.Bytes)
}

func loadPEM(path string) (*pem.Block, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(content)
	if block == nil {
		return nil, fmt.Errorf("%s: no PEM block", path)
	}
	return block, nil
}

// writeKubeconfig embeds the credentials, so that the file works wherever it
// is seen from.
func (f Files) writeKubeconfig(path, name, server string) error {
	var contents [3][]byte
	for i, file := range []string{f.CA(), f.Certificate(name), f.Key(name)} {
		content, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		contents[i] = content
	}
	config := clientcmdapi.NewConfig()
	config.Clusters[ContextName] = &clientcmdapi.Cluster{Server: server, CertificateAuthorityData: contents[0]}
	config.AuthInfos[name] = &clientcmdapi.AuthInfo{ClientCertificateData: contents[1], ClientKeyData: contents[2]}
	config.Contexts[ContextName] = &clientcmdapi.Context{Cluster: ContextName, AuthInfo: name}
	config.CurrentContext = ContextName
	content, err := clientcmd.Write(*config)
	if err != nil {
		return err
	}
	if old, err := os.ReadFile(path); err == nil && string(old) == string(content) {
		return nil
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return layout.WriteFile(path, content, 0o600)
}
