package pki

import (
	"crypto/tls"
	"crypto/x509"
	"net/netip"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/client-go/tools/clientcmd"

	"stateful-postgres/local/internal/layout"
	"stateful-postgres/local/internal/topology"
)

func setup(t *testing.T) (layout.Layout, topology.Topology) {
	t.Helper()
	l := layout.Layout{Root: t.TempDir()}
	plan := topology.Topology{Subnet: netip.MustParsePrefix("10.231.77.0/24"), Nodes: 2}
	require.NoError(t, Ensure(l, plan))
	return l, plan
}

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(content)
}

func TestServingCertificateIsGoodForTheAddressesInUse(t *testing.T) {
	t.Parallel()
	l, plan := setup(t)
	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM([]byte(read(t, In(l).CA()))))
	for name, host := range map[string]string{
		APIServer:               plan.ControlPlane().String(),
		KubeletServer("node-2"): plan.Node(2).Address.String(),
	} {
		pair, err := tls.LoadX509KeyPair(In(l).Certificate(name), In(l).Key(name))
		require.NoError(t, err)
		certificate, err := x509.ParseCertificate(pair.Certificate[0])
		require.NoError(t, err)
		_, err = certificate.Verify(x509.VerifyOptions{DNSName: host, Roots: roots})
		require.NoError(t, err)
		_, err = certificate.Verify(x509.VerifyOptions{DNSName: "192.0.2.1", Roots: roots})
		require.Error(t, err)
	}
}

func TestWhatFitsIsKeptAndWhatDoesNotIsMadeAnew(t *testing.T) {
	t.Parallel()
	l, plan := setup(t)
	files := In(l)
	ca, server, admin := read(t, files.CA()), read(t, files.Certificate(APIServer)), read(t, l.Kubeconfig())
	require.NoError(t, Ensure(l, plan))
	require.Equal(t, server, read(t, files.Certificate(APIServer)))
	require.Equal(t, admin, read(t, l.Kubeconfig()))

	plan.Subnet = netip.MustParsePrefix("172.29.177.0/24")
	require.NoError(t, Ensure(l, plan))
	require.Equal(t, ca, read(t, files.CA()))
	require.NotEqual(t, server, read(t, files.Certificate(APIServer)))
	require.Contains(t, read(t, l.Kubeconfig()), "https://172.29.177.2:6443")
}

func TestDamagedFileIsMadeAnew(t *testing.T) {
	t.Parallel()
	for _, damaged := range []string{"ca.key", "admin.crt", "service-account.key"} {
		t.Run(damaged, func(t *testing.T) {
			t.Parallel()
			l, plan := setup(t)
			require.NoError(t, os.WriteFile(In(l).dir+"/"+damaged, []byte("-----BEGIN"), 0o600))
			require.NoError(t, Ensure(l, plan))
			_, err := tls.LoadX509KeyPair(In(l).Certificate(Admin), In(l).Key(Admin))
			require.NoError(t, err)
			certificate, err := In(l).load(Admin)
			require.NoError(t, err)
			authority, err := In(l).load("ca")
			require.NoError(t, err)
			require.NoError(t, certificate.CheckSignatureFrom(authority))
		})
	}
}

func TestKubeconfigHoldsItsCredentials(t *testing.T) {
	t.Parallel()
	l, plan := setup(t)
	config, err := clientcmd.LoadFromFile(l.Kubeconfig())
	require.NoError(t, err)
	require.Equal(t, ContextName, config.CurrentContext)
	require.Equal(t, plan.APIServer(), config.Clusters[ContextName].Server)
	require.NotEmpty(t, config.AuthInfos[Admin].ClientKeyData)
}
