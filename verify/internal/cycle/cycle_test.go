package cycle_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"stateful-postgres/verify/internal/check"
	"stateful-postgres/verify/internal/cycle"
	"stateful-postgres/verify/internal/kubernetes"
	"stateful-postgres/verify/internal/ledger"
	"stateful-postgres/verify/internal/pgtest"
	"stateful-postgres/verify/internal/report"
	"stateful-postgres/verify/internal/server"
)

// deployer scales a real server on a fake cluster.
type deployer struct {
	t       *testing.T
	server  *pgtest.Server
	clients *fake.Clientset
	// stop ends the server; the default is a clean shutdown.
	stop func()
	// whileDown runs while the server is stopped.
	whileDown func()
	// scaleErr is what Scale fails with, after it has scaled.
	scaleErr, restoreErr error
	scales, restores     int
	running              bool
}

func (d *deployer) RestoreCommand() string { return "restore by hand" }

func (d *deployer) Scale(ctx context.Context, replicas int) error {
	d.scales++
	if d.stop != nil {
		d.stop()
	} else {
		d.server.StopFast(d.t)
	}
	d.running = false
	d.setReplicas(int32(replicas))
	require.NoError(d.t, d.clients.CoreV1().Pods("ns").Delete(context.WithoutCancel(ctx), "postgres-0", metav1.DeleteOptions{}))
	require.NoError(d.t, d.clients.DiscoveryV1().EndpointSlices("ns").Delete(context.WithoutCancel(ctx), "postgres-abc", metav1.DeleteOptions{}))
	if d.whileDown != nil {
		d.whileDown()
	}
	return d.scaleErr
}

func (d *deployer) Restore(ctx context.Context) error {
	d.restores++
	if d.restoreErr != nil {
		return d.restoreErr
	}
	if !d.running {
		d.server.Run(d.t)
		d.running = true
		d.setReplicas(1)
		_, err := d.clients.CoreV1().Pods("ns").Create(context.WithoutCancel(ctx), pod(), metav1.CreateOptions{})
		require.NoError(d.t, err)
		_, err = d.clients.DiscoveryV1().EndpointSlices("ns").Create(context.WithoutCancel(ctx), slice(), metav1.CreateOptions{})
		require.NoError(d.t, err)
	}
	return nil
}

func (d *deployer) setReplicas(replicas int32) {
	sets := d.clients.AppsV1().StatefulSets("ns")
	set, err := sets.Get(context.Background(), "postgres", metav1.GetOptions{})
	require.NoError(d.t, err)
	set.Spec.Replicas = &replicas
	set.Status = appsv1.StatefulSetStatus{Replicas: replicas, ReadyReplicas: replicas}
	_, err = sets.Update(context.Background(), set, metav1.UpdateOptions{})
	require.NoError(d.t, err)
}

func pod() *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "postgres-0", Namespace: "ns", OwnerReferences: []metav1.OwnerReference{{Kind: "StatefulSet", Name: "postgres"}}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "postgres"}}},
		Status:     corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}},
	}
}

func slice() *discoveryv1.EndpointSlice {
	return &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Name: "postgres-abc", Namespace: "ns", Labels: map[string]string{discoveryv1.LabelServiceName: "postgres"}},
		Endpoints:  []discoveryv1.Endpoint{{Addresses: []string{"10.1.0.1"}}},
	}
}

type bundle struct {
	*deployer
	cycle *cycle.Cycle
	out   *bytes.Buffer
}

func setup(t *testing.T) *bundle {
	t.Helper()
	own := pgtest.Start(t)
	one := int32(1)
	set := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Name: "postgres", Namespace: "ns"}, Spec: appsv1.StatefulSetSpec{Replicas: &one},
		Status: appsv1.StatefulSetStatus{Replicas: 1, ReadyReplicas: 1}}
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "postgres", Namespace: "ns"}, Spec: corev1.ServiceSpec{
		Type: corev1.ServiceTypeNodePort, Ports: []corev1.ServicePort{{Port: 5432, NodePort: int32(own.Port)}}}}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-1"}, Status: corev1.NodeStatus{
		Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "127.0.0.1"}}}}
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "claim", Namespace: "ns", UID: "uid"},
		Spec: corev1.PersistentVolumeClaimSpec{VolumeName: "pv"}, Status: corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimBound}}
	volume := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pv"}, Status: corev1.PersistentVolumeStatus{Phase: corev1.VolumeBound},
		Spec: corev1.PersistentVolumeSpec{ClaimRef: &corev1.ObjectReference{UID: "uid"}}}
	clients := fake.NewClientset(set, pod(), slice(), service, node, claim, volume)
	config, err := pgx.ParseConfig(own.DSN("postgres"))
	require.NoError(t, err)
	entries, err := ledger.Open(t.Context(), filepath.Join(t.TempDir(), "ledger"), func(string) {})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, entries.Close()) })
	desired := 1
	b := &bundle{out: &bytes.Buffer{}, deployer: &deployer{t: t, server: own, clients: clients, running: true}}
	b.cycle = &cycle.Cycle{
		Subject: check.Subject{
			Cluster: &kubernetes.Cluster{
				Core: clients.CoreV1(), Apps: clients.AppsV1(), Discovery: clients.DiscoveryV1(),
				OpenLog: func(context.Context, *corev1.Pod) (io.ReadCloser, error) {
					return io.NopCloser(strings.NewReader(own.Log())), nil
				},
			},
			Objects: kubernetes.Objects{Namespace: "ns", StatefulSet: "postgres", Service: "postgres", Claim: "claim"},
			Desired: &desired, Via: kubernetes.ViaAuto, Port: 5432,
			Config: func(addresses []string) (*pgx.ConnConfig, error) {
				return server.Config(addresses, config.Database, config.User, "unused", nil)
			},
		},
		Deployer: b.deployer, Ledger: entries, Times: 1, Rows: 10, Hold: 100 * time.Millisecond,
		Sink:   report.NewSink("cycle", report.NewTable(b.out, report.Style{}), nil),
		Notice: func(text string) { b.out.WriteString(text + "\n") },
	}
	return b
}

func (b *bundle) run(ctx context.Context) *report.Report {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	require.NoError(b.t, b.cycle.Run(ctx))
	require.NoError(b.t, b.cycle.Sink.Finish(b.cycle.Summarize))
	b.t.Log(b.out.String())
	return b.cycle.Sink.Report
}

func find(t *testing.T, r *report.Report, name string) report.Check {
	t.Helper()
	for _, c := range r.Checks {
		if c.Name == name {
			return c
		}
	}
	require.Fail(t, "no check of that name", name)
	return report.Check{}
}

func TestCycleProvesThatNothingWasLost(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.cycle.Times = 2
	r := b.run(t.Context())
	require.Equal(t, report.ExitProven, r.ExitCode)
	require.Equal(t, []int{2, 2}, []int{b.scales, b.restores})
	require.Len(t, r.Cycle.UnavailableMS, 2)
	require.Greater(t, r.Cycle.UnavailableMS[0], int64(100), "the hold period alone takes longer")
	require.Len(t, r.Cycle.Phases, 12)
	// 2 x 2 checks with 10 rows each, and what the writer added.
	require.Greater(t, r.Rows.Intact, int64(30))
	require.Contains(t, b.out.String(), "restore by hand", "the way back is said before anything is done")
	for _, name := range []string{"check before", "down", "check after", "last shutdown", "same database", "writer"} {
		require.Equal(t, report.Passed, find(t, r, name).Status)
	}
}

func TestCycleFindsWhatWasLostOnTheWay(t *testing.T) {
	t.Parallel()
	b := setup(t)
	backup := b.server.DataDirectory + ".backup"
	b.server.StopFast(t)
	b.server.CopyData(t, b.server.DataDirectory, backup)
	b.server.Run(t)
	b.whileDown = func() { b.server.ReplaceData(t, backup) }
	r := b.run(t.Context())
	require.Equal(t, report.ExitViolated, r.ExitCode)
	require.Contains(t, find(t, r, "check after: write-ahead log").Detail, "older copy")
	require.Contains(t, find(t, r, "check after: earlier rows").Detail, "lost")
	require.Equal(t, 1, b.restores, "the server is up, as the settings say")
}

func TestCrashInsteadOfShutdownIsAViolation(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.stop = func() { b.server.StopImmediate(t) }
	r := b.run(t.Context())
	require.Equal(t, report.ExitViolated, r.ExitCode)
	require.Contains(t, find(t, r, "last shutdown").Detail, "not clean")
	require.Equal(t, report.Passed, find(t, r, "check after").Status, "no row was lost all the same")
}

func TestReplicasArePutBackWhateverHappens(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		prepare  func(*bundle) context.Context
		exitCode int
	}{
		"scaling fails": {func(b *bundle) context.Context {
			b.scaleErr = errors.New("the engine is on fire")
			return b.t.Context()
		}, report.ExitUnknown},
		"interrupted while down": {func(b *bundle) context.Context {
			ctx, cancel := context.WithCancelCause(b.t.Context())
			b.whileDown = func() { cancel(errors.New("interrupted")) }
			return ctx
		}, report.ExitInterrupted},
		"a server that is still up": {func(b *bundle) context.Context {
			// The data moves to another server that answers on the same port.
			b.whileDown = func() { b.server.Run(b.t); b.running = true }
			b.stop = func() { b.server.StopFast(b.t) }
			return b.t.Context()
		}, report.ExitViolated},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.t = t
			r := b.run(test.prepare(b))
			require.Equal(t, test.exitCode, r.ExitCode)
			require.Equal(t, report.Passed, find(t, r, "put back").Status)
			require.Equal(t, 1, b.restores)
			require.True(t, b.running)
		})
	}
}

func TestCommandIsPrintedWhenReplicasCannotBePutBack(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.scaleErr, b.restoreErr = errors.New("no"), errors.New("still no")
	r := b.run(t.Context())
	require.Equal(t, report.ExitUnknown, r.ExitCode)
	c := find(t, r, "put back")
	require.Equal(t, report.Unknown, c.Status)
	require.Equal(t, "run: restore by hand", c.Hint)
}

func TestNothingIsScaledWhenTheFirstCheckFails(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.server.StopFast(t)
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	r := b.run(ctx)
	require.Equal(t, report.ExitDeadline, r.ExitCode)
	require.Zero(t, b.scales)

	b = setup(t)
	b.cycle.To = 1
	r = b.run(t.Context())
	require.Equal(t, report.ExitUnknown, r.ExitCode)
	require.Contains(t, find(t, r, "replicas").Detail, "already 1")
	require.Zero(t, b.scales)
}

// The writer takes the way that the check before it found, and leaves nothing open.
func TestCycleGoesThroughAForwardedPortWhereNoNodeAnswers(t *testing.T) {
	t.Parallel()
	b := setup(t)
	address := "127.0.2.1"
	pgtest.BlackHole(t, address, b.server.Port)
	node, err := b.clients.CoreV1().Nodes().Get(t.Context(), "node-1", metav1.GetOptions{})
	require.NoError(t, err)
	node.Status.Addresses[0].Address = address
	_, err = b.clients.CoreV1().Nodes().Update(t.Context(), node, metav1.UpdateOptions{})
	require.NoError(t, err)
	f := &pgtest.Forwards{To: net.JoinHostPort("127.0.0.1", strconv.Itoa(b.server.Port))}
	b.cycle.Subject.Cluster.ForwardPort = func(ctx context.Context, _ *corev1.Pod, _ int) (string, error) { return f.Forward(ctx) }

	r := b.run(t.Context())
	require.Equal(t, report.ExitProven, r.ExitCode)
	require.Equal(t, "port-forward", r.Target.Via)
	require.Equal(t, report.Passed, find(t, r, "first write").Status)
	require.Greater(t, r.Rows.Intact, int64(10), "those of the first check, and the writer's")
	f.Wait()
	require.GreaterOrEqual(t, f.Total(), 3)
}
