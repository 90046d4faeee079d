package cycle_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"stateful-postgres/internal/contract"
	"stateful-postgres/verify/internal/kubernetes"
	"stateful-postgres/verify/internal/pgtest"
	"stateful-postgres/verify/internal/report"
)

func details(r *report.Report, name string) []string {
	var found []string
	for _, c := range r.Checks {
		if c.Name == name {
			found = append(found, c.Detail)
		}
	}
	return found
}

func TestCycleGoesThroughAListOfReplicas(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.cycle.Through = []int{1, 0, 1, 0, 1}
	r := b.run(t.Context())
	require.Equal(t, report.ExitProven, r.ExitCode, r.Summary)
	require.Contains(t, r.Summary, "through 1,0,1,0,1 replicas")
	require.Equal(t, []int{2, 2}, []int{b.scales, b.restores})
	require.Len(t, r.Cycle.Steps, 5)
	for i, step := range r.Cycle.Steps {
		require.Equal(t, i+1, step.Step)
		require.NotNil(t, step.UnavailableMS)
	}
	require.Equal(t, []int{1, 0}, []int{r.Cycle.Steps[1].From, r.Cycle.Steps[1].To})
	require.Greater(t, *r.Cycle.Steps[1].UnavailableMS, int64(90), "the hold period alone takes longer")
	require.Positive(t, r.Cycle.Steps[2].Acknowledged)
	require.Empty(t, r.Cycle.UnavailableMS)
	require.Len(t, details(r, "down"), 2)
	require.Len(t, details(r, "last shutdown"), 2)
	require.Empty(t, details(r, "put back"), "the last step is what the settings say")
	require.Contains(t, b.out.String(), "step 2   1 to 0, no write acknowledged for")
}

func TestCycleThroughPutsReplicasBackWhereItDoesNotEndThere(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.cycle.Through = []int{0}
	r := b.run(t.Context())
	require.Equal(t, report.ExitProven, r.ExitCode, r.Summary)
	require.Equal(t, []string{"replicas are 1 again"}, details(r, "put back"))
	require.True(t, b.running)
}

func TestCycleThroughFindsWhatWasLostInAStep(t *testing.T) {
	t.Parallel()
	b := setup(t)
	backup := b.server.DataDirectory + ".backup"
	b.server.StopFast(t)
	b.server.CopyData(t, b.server.DataDirectory, backup)
	b.server.Run(t)
	b.whileDown = func() { b.server.ReplaceData(t, backup) }
	b.cycle.Through = []int{0, 1, 0, 1}
	r := b.run(t.Context())
	require.Equal(t, report.ExitViolated, r.ExitCode)
	require.Contains(t, find(t, r, "check: earlier rows").Detail, "lost")
	require.Len(t, r.Cycle.Steps, 2, "no step after it")
}

// members scales two real servers on a fake cluster, as Patroni would run them.
type members struct {
	*bundle
	standby *pgtest.Server
}

func (m *members) Restore(ctx context.Context) error { return m.Scale(ctx, 2) }

func (m *members) Scale(_ context.Context, replicas int) error {
	ctx := context.Background()
	pods, slices, configs := m.clients.CoreV1().Pods("ns"), m.clients.DiscoveryV1().EndpointSlices("ns"), m.clients.CoreV1().ConfigMaps("ns")
	existing, err := pods.List(ctx, metav1.ListOptions{})
	require.NoError(m.t, err)
	before := len(existing.Items)
	for _, pod := range existing.Items {
		require.NoError(m.t, pods.Delete(ctx, pod.Name, metav1.DeleteOptions{}))
	}
	all, err := slices.List(ctx, metav1.ListOptions{})
	require.NoError(m.t, err)
	for _, slice := range all.Items {
		require.NoError(m.t, slices.Delete(ctx, slice.Name, metav1.DeleteOptions{}))
	}
	if before > 1 && replicas < 2 {
		m.server.WaitFor(m.t, "")
		m.standby.StopFast(m.t)
	}
	if before > 0 && replicas == 0 {
		m.server.StopFast(m.t)
	}
	if before == 0 && replicas > 0 && m.scales > 0 {
		// Patroni starts every server as a standby, and promotes the one that leads.
		require.NoError(m.t, m.server.WriteFile("standby.signal", ""))
		m.server.Run(m.t)
		m.server.Promote(m.t)
	}
	if before < 2 && replicas == 2 {
		if m.scales > 0 {
			m.standby.Run(m.t)
		}
		m.server.WaitFor(m.t, `"postgres-1"`)
	}
	m.scales++
	m.setReplicas(int32(replicas))
	names := map[string][]string{}
	for ordinal := range replicas {
		created := pod()
		created.Name = fmt.Sprintf("postgres-%d", ordinal)
		role, service := contract.RolePrimary, "postgres"
		if ordinal > 0 {
			role, service = contract.RoleReplica, "postgres-replicas"
		}
		created.Labels = map[string]string{contract.LabelRole: role}
		_, err := pods.Create(ctx, created, metav1.CreateOptions{})
		require.NoError(m.t, err)
		names[service] = append(names[service], created.Name)
	}
	for service, targets := range names {
		created := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Name: service + "-abc", Namespace: "ns", Labels: map[string]string{discoveryv1.LabelServiceName: service}}}
		for i, target := range targets {
			created.Endpoints = append(created.Endpoints, discoveryv1.Endpoint{Addresses: []string{fmt.Sprintf("10.1.0.%d", i)}, TargetRef: &corev1.ObjectReference{Kind: "Pod", Name: target}})
		}
		_, err := slices.Create(ctx, created, metav1.CreateOptions{})
		require.NoError(m.t, err)
	}
	for name, annotations := range map[string]map[string]string{
		contract.MembersLeader: {contract.MembersLeaderKey: "postgres-0"},
		contract.MembersSync:   {contract.MembersLeaderKey: "postgres-0"},
		contract.MembersConfig: {contract.MembersConfigKey: fmt.Sprintf(`{"synchronous_mode": true, "synchronous_mode_strict": %t}`, replicas > 1)},
	} {
		object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "ns", Annotations: annotations}}
		if _, err := configs.Update(ctx, object, metav1.UpdateOptions{}); err != nil {
			_, err = configs.Create(ctx, object, metav1.CreateOptions{})
			require.NoError(m.t, err)
		}
	}
	return nil
}

func TestCycleGoesThroughSeveralServers(t *testing.T) {
	t.Parallel()
	b := setup(t)
	m := &members{bundle: b, standby: b.server.Standby(t, "postgres-1")}
	for _, ordinal := range []string{"0", "1"} {
		_, err := b.clients.CoreV1().PersistentVolumeClaims("ns").Create(t.Context(), &corev1.PersistentVolumeClaim{
			ObjectMeta: metav1.ObjectMeta{Name: "postgredb-postgres-" + ordinal, Namespace: "ns", UID: "claim-uid"}, Status: corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimBound},
		}, metav1.CreateOptions{})
		require.NoError(t, err)
	}
	_, err := b.clients.CoreV1().Services("ns").Create(t.Context(), &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "postgres-replicas", Namespace: "ns"}}, metav1.CreateOptions{})
	require.NoError(t, err)
	require.NoError(t, m.Restore(t.Context()))
	two := 2
	b.cycle.Subject.Desired = &two
	b.cycle.Subject.Objects = kubernetes.Objects{Namespace: "ns", StatefulSet: "postgres", Service: "postgres", Claim: "postgredb-postgres-0", HighAvailability: true, Replicas: "postgres-replicas"}
	b.cycle.Subject.Cluster.OpenLog = func(context.Context, *corev1.Pod) (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(b.server.Log())), nil
	}
	b.cycle.Subject.Cluster.ForwardPort = func(ctx context.Context, pod *corev1.Pod, _ int) (string, error) {
		to := b.server
		if pod.Name == "postgres-1" {
			to = m.standby
		}
		forwards := &pgtest.Forwards{To: net.JoinHostPort("127.0.0.1", strconv.Itoa(to.Port))}
		return forwards.Forward(ctx)
	}
	b.cycle.Deployer, b.cycle.Through, b.cycle.Settle = m, []int{2, 1, 2, 0, 2, 0, 1, 2}, 10*time.Second
	r := b.run(t.Context())
	require.Equal(t, report.ExitProven, r.ExitCode, r.Summary)
	require.Len(t, r.Cycle.Steps, 8)
	require.Equal(t, "postgres-0", r.Cycle.Steps[7].Pod)
	require.Len(t, r.Members, 2)
	same := details(r, "same database")
	require.Contains(t, same[len(same)-1], "timeline 3, primary postgres-0")
	require.Contains(t, strings.Join(same, "\n"), "timeline 2 (it was 1), primary postgres-0, server started anew")
	require.NotContains(t, same[0], "started anew")
	require.Len(t, details(r, "down"), 2)
}
