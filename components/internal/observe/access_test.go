package observe

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

func TestKindsThatMayNotBeReadAreNamedTogether(t *testing.T) {
	t.Parallel()
	client := fake.NewClientset()
	for _, resource := range []string{"secrets", "persistentvolumeclaims", "namespaces", "persistentvolumes"} {
		forbid(client, resource)
	}
	_, err := lookIn(client, Query{Namespace: "codewizard", Volume: "pv-1", CertificateSecret: "postgres-tls"})
	require.EqualError(t, err, "these credentials may not read persistentvolumeclaims, secrets in namespace codewizard: "+
		`persistentvolumeclaims "postgredb-postgres-0" is forbidden: no right to get it`)
}

// answer is an API server that gives every request the same answer.
func answer(t *testing.T, code int, reason, message string) *rest.Config {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		parts := strings.Split(r.URL.Path, "/")
		status := `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"` + reason + `","message":"` + message +
			`","details":{"kind":"` + parts[len(parts)-2] + `"}}`
		_, err := w.Write([]byte(status))
		if err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(server.Close)
	return &rest.Config{Host: server.URL}
}

// closed is an address on which nothing listens.
func closed(t *testing.T) *rest.Config {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	return &rest.Config{Host: "http://" + listener.Addr().String()}
}

func TestThreeReasonsNotToSeeTheClusterAreToldApart(t *testing.T) {
	t.Parallel()
	plugin := closed(t)
	plugin.ExecProvider = &clientcmdapi.ExecConfig{
		Command: "/nonexistent/login", APIVersion: "client.authentication.k8s.io/v1", InteractiveMode: clientcmdapi.NeverExecInteractiveMode,
	}
	for _, test := range []struct {
		name    string
		config  *rest.Config
		begins  string
		details string
		advice  string
	}{
		{
			"no rights", answer(t, http.StatusForbidden, "Forbidden", "jane cannot get it"),
			"these credentials may not read configmaps, persistentvolumeclaims, secrets, services, statefulsets in namespace shop: ", "jane cannot get it",
			"ask for the ClusterRole admin in this namespace, or correct the namespace, kubernetes:context or kubernetes:kubeconfig; see: kubectl auth can-i --list --namespace=shop",
		},
		{
			"credentials that have run out", answer(t, http.StatusUnauthorized, "Unauthorized", "Unauthorized"),
			"the cluster at SERVER does not know these credentials: ", "Unauthorized",
			"log in to it again, or correct kubernetes:context or kubernetes:kubeconfig; see: kubectl auth whoami",
		},
		{
			"no credentials", plugin,
			"the cluster at SERVER does not know these credentials: ", "/nonexistent/login",
			"log in to it again, or correct kubernetes:context or kubernetes:kubeconfig; see: kubectl auth whoami",
		},
		{
			"nobody there", closed(t),
			"the cluster at SERVER did not answer: ", "connection refused",
			"start the cluster, or correct kubernetes:context or kubernetes:kubeconfig; see: kubectl cluster-info",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			clients, err := Connect(test.config)
			require.NoError(t, err)
			_, err = Cluster(context.Background(), clients, Query{Namespace: "shop"})
			line := explained(err, test.config.Host).Error()
			require.True(t, strings.HasPrefix(line, strings.ReplaceAll(test.begins, "SERVER", test.config.Host)), line)
			require.Contains(t, line, test.details)
			require.True(t, strings.HasSuffix(line, "; nothing was changed; "+test.advice), line)
			require.NotContains(t, line, "\n")
		})
	}
}
