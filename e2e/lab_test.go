package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stateful-postgres/internal/contract"
	"stateful-postgres/internal/stack"
)

func TestRowsSurviveScalingToZeroAndBack(t *testing.T) {
	t.Parallel()
	f := setup(t, "lab")
	f.up(1)
	f.verify(proven)
	rows := f.sql("select count(*) from verify.rows")
	require.NotEqual(t, "0", rows)
	content := f.content()
	volume := f.kubectl("get", "pvc", contract.ClaimName(0), "--output=jsonpath={.metadata.uid} {.spec.volumeName}")

	f.up(0)
	// The check's pod has ended, and is no server.
	require.Empty(t, f.kubectl("get", "pod", "--selector="+contract.LabelName+"="+contract.NameValue, "--output=name"))
	down := f.verify(proven)
	require.Contains(t, down, "refused")
	require.Equal(t, volume,
		f.kubectl("get", "pvc", contract.ClaimName(0), "--output=jsonpath={.metadata.uid} {.spec.volumeName}"))

	f.up(1)
	f.verify(proven)
	require.Equal(t, volume,
		f.kubectl("get", "pvc", contract.ClaimName(0), "--output=jsonpath={.metadata.uid} {.spec.volumeName}"))
	require.Subset(t, f.content(), content, "the rows of the first check")
	require.NotEqual(t, rows, f.sql("select count(*) from verify.rows"), "rows of the second check")
}

// content is the rows that verify wrote.
func (f *fixture) content() []string {
	f.t.Helper()
	return strings.Split(f.sql("select run, seq, payload from verify.rows order by run, seq"), "\n")
}

func TestOutputsAreEnoughToConnect(t *testing.T) {
	t.Parallel()
	f := setup(t, "outputs")
	f.up(1)
	outputs := f.outputs()
	for name, value := range map[string]any{
		"namespace": f.Namespace, "statefulSet": "postgres", "service": "postgres",
		"headlessService": "postgres-headless", "claim": "postgredb-postgres-0",
		"configMap": "postgres-config", "secret": "postgres-credentials",
		"database": "codewizard", "user": "codewizard",
		"replicas": 1.0, "serviceType": "NodePort", "port": 5432.0,
		"tls": false, "requireTls": false, "caCertificate": "", "tlsServerName": "",
		"context": "", "cluster": "", "kubeconfig": "",
	} {
		require.Equal(t, value, outputs[name], name)
	}
	require.NotEmpty(t, outputs["password"])
	require.Equal(t, f.kubectl("get", "service", contract.Service, "--output=jsonpath={.spec.ports[0].nodePort}"),
		text(outputs["nodePort"]))
	require.Equal(t, true, outputs["dataExpected"])
	require.NotEmpty(t, outputs["clusterUid"])
	require.Len(t, outputs, len(contract.OutputNames()))

	for kind, name := range map[string]string{
		"statefulset": "statefulSet", "service": "service", "pvc": "claim", "configmap": "configMap", "secret": "secret",
	} {
		f.kubectl("get", kind, outputs[name].(string))
	}
	f.kubectl("get", "service", outputs["headlessService"].(string))
}

func TestDNSNameOfThePodResolvesInsideTheCluster(t *testing.T) {
	t.Parallel()
	f := setup(t, "dns")
	f.up(1)
	address := f.kubectl("get", "pod", pod, "--output=jsonpath={.status.podIP}")
	host := pod + "." + contract.HeadlessService + "." + f.Namespace + ".svc.cluster.local"
	// The name is published with the pod's readiness, which DNS servers see a
	// moment after the update has.
	f.eventually(host+" to resolve to "+address, 30*time.Second, func() (string, bool) {
		result := f.Kubectl(f.ctx, "exec", pod, "--", "getent", "hosts", host)
		return result.String(), result.OK() && strings.HasPrefix(result.Stdout, address+" ")
	})
}

func TestClusterIPServiceIsReachedThroughTheAPI(t *testing.T) {
	t.Parallel()
	f := setup(t, "clusterip")
	f.ok(f.Set(f.ctx, "serviceType", "ClusterIP"))
	f.up(1)
	require.Equal(t, 0.0, f.outputs()["nodePort"])
	f.verify(proven)
	f.up(0)
	f.verify(proven)
	f.up(1)
	f.verify(proven)
}

func TestNewPasswordReplacesTheOldOne(t *testing.T) {
	t.Parallel()
	f := setup(t, "rotate")
	f.up(1)
	f.verify(proven)
	old := f.outputs()["password"].(string)
	log := f.followLog()

	f.ok(f.SetSecret(f.ctx, "password", "another one: ' \" $x \\ ü"))
	generation, begun := f.generation(), time.Now()
	f.up(1)
	require.Equal(t, generation+1, f.generation(), "restarted once")
	log.after(t, begun, "database system is shut down")
	require.Contains(t, f.kubectl("logs", pod), "database system was shut down at")
	require.Equal(t, "another one: ' \" $x \\ ü", f.outputs()["password"])
	f.verify(proven)

	f.ok(f.login("another one: ' \" $x \\ ü"))
	refused := f.login(old)
	require.False(t, refused.OK(), "the old password still works")
	require.Contains(t, refused.Output, "password authentication failed")

	// Nothing weaker than SCRAM is stored, or let in.
	require.Equal(t, "t", f.sql("select bool_and(rolpassword like 'SCRAM-SHA-256$%') from pg_authid where rolpassword is not null"))
	f.sql("set password_encryption = 'md5'; create role weak login superuser password 'weak'")
	result := f.Kubectl(f.ctx, "exec", pod, "--", "env", "PGPASSWORD=weak",
		"psql", "--no-psqlrc", "--host=127.0.0.1", "--username=weak", "--dbname=codewizard", "--command=select 1")
	require.Contains(t, result.Output, "password authentication failed", "%s", result)
}

// login connects as a client of the network does, with a password.
func (f *fixture) login(password string) stack.Result {
	return f.Kubectl(f.ctx, "exec", pod, "--", "env", "PGPASSWORD="+password,
		"psql", "--no-psqlrc", "--host=127.0.0.1", "--username=codewizard", "--dbname=codewizard", "--command=select 1")
}
