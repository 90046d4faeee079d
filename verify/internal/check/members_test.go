package check_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"stateful-postgres/internal/contract"
	"stateful-postgres/verify/internal/check"
	"stateful-postgres/verify/internal/kubernetes"
	"stateful-postgres/verify/internal/ledger"
	"stateful-postgres/verify/internal/pgtest"
	"stateful-postgres/verify/internal/report"
	"stateful-postgres/verify/internal/server"
)

// several is a fake cluster of several real servers, one in each pod.
type several struct {
	t *testing.T
	// servers are those of the pods by ordinal; nil for a pod that is not there.
	servers []*pgtest.Server
	primary int
	// roles are the labels of the pods; those that are missing follow from primary.
	roles map[int]string
	// endpoints are the pods that Services lead to; those that are missing follow from primary.
	endpoints map[string][]string
	// config, leader and sync are what the ConfigMaps say; leader and sync follow from primary when
	// they are empty. without are the ConfigMaps that do not exist.
	config, leader, sync string
	standbys             []int
	without              []string
	// down are the ordinals whose pods are not ready, and whose servers nobody can ask.
	down []int
	// forbidden are the resources that the user may not get.
	forbidden []string
	// claims is how many ordinals have one; change is applied to them.
	claims int
	change func([]*corev1.PersistentVolumeClaim, []*corev1.PersistentVolume) []*corev1.PersistentVolumeClaim
	// clientsPort is where the Service's node port leads; 0 is the primary.
	clientsPort int
	// noForward says why no port is forwarded.
	noForward error
	// deadline is that of a look; 0 is more than enough.
	deadline time.Duration
	witness  *witness
}

const strict = `{"synchronous_mode": true, "synchronous_mode_strict": true, "synchronous_node_count": 1}`

// newSeveral starts a primary with standbys, for the first of which its commits wait.
func newSeveral(t *testing.T, standbys int) *several {
	t.Helper()
	primary := pgtest.Start(t)
	s := &several{t: t, servers: []*pgtest.Server{primary}, roles: map[int]string{}, endpoints: map[string][]string{}, config: strict, claims: standbys + 1, witness: newWitness(t, "")}
	for ordinal := 1; ordinal <= standbys; ordinal++ {
		s.servers = append(s.servers, primary.Standby(t, fmt.Sprintf("postgres-%d", ordinal)))
	}
	if standbys > 0 {
		primary.WaitFor(t, `"postgres-1"`)
		s.standbys = []int{1}
	}
	s.witness.change = func(c *check.Checker) { c.Settle = 700 * time.Millisecond }
	return s
}

func podName(ordinal int) string { return fmt.Sprintf("postgres-%d", ordinal) }

func (s *several) replicas() (count int) {
	for _, server := range s.servers {
		if server != nil {
			count++
		}
	}
	return count
}

// objects are what there is in the cluster now.
func (s *several) objects() []runtime.Object {
	named := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Name: name, Namespace: "ns"} }
	replicas := int32(s.replicas())
	list := []runtime.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "kube-system", UID: "cluster-uid"}},
		&appsv1.StatefulSet{ObjectMeta: named("postgres"), Spec: appsv1.StatefulSetSpec{Replicas: &replicas}, Status: appsv1.StatefulSetStatus{Replicas: replicas, ReadyReplicas: replicas}},
	}
	var standbys []string
	port := 1
	for ordinal, server := range s.servers {
		if server == nil {
			continue
		}
		pod := &corev1.Pod{ObjectMeta: named(podName(ordinal)), Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "postgres"}}},
			Status: corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}}}
		pod.OwnerReferences = []metav1.OwnerReference{{Kind: "StatefulSet", Name: "postgres"}}
		role := contract.RoleReplica
		if ordinal == s.primary {
			role, port = contract.RolePrimary, server.Port
		} else if slices.Contains(s.down, ordinal) {
			pod.Status = corev1.PodStatus{Phase: corev1.PodPending}
		} else {
			standbys = append(standbys, pod.Name)
		}
		if other, set := s.roles[ordinal]; set {
			role = other
		}
		pod.Labels = map[string]string{contract.LabelRole: role, contract.LabelMembers: contract.MembersScope}
		list = append(list, pod)
	}
	service := func(name string, spec corev1.ServiceSpec, pods []string) {
		if other, set := s.endpoints[name]; set {
			pods = other
		}
		slice := &discoveryv1.EndpointSlice{ObjectMeta: named(name + "-abc")}
		slice.Labels = map[string]string{discoveryv1.LabelServiceName: name}
		for i, pod := range pods {
			slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{fmt.Sprintf("10.1.0.%d", i+1)}, TargetRef: &corev1.ObjectReference{Kind: "Pod", Name: pod}})
		}
		list = append(list, &corev1.Service{ObjectMeta: named(name), Spec: spec}, slice)
	}
	var primary []string
	if replicas > 0 {
		primary = []string{podName(s.primary)}
	}
	if s.clientsPort != 0 {
		port = s.clientsPort
	}
	service("postgres", corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, Ports: []corev1.ServicePort{{Port: 5432, NodePort: int32(port)}}}, primary)
	service("postgres-replicas", corev1.ServiceSpec{}, standbys)
	service("postgres-headless", corev1.ServiceSpec{}, append(primary, standbys...))
	list = append(list, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-1"}, Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "127.0.0.1"}}}})
	list = append(list, s.agreement()...)
	var claims []*corev1.PersistentVolumeClaim
	var volumes []*corev1.PersistentVolume
	for ordinal := range s.claims {
		name, uid := fmt.Sprintf("postgredb-postgres-%d", ordinal), types.UID(fmt.Sprintf("claim-%d", ordinal))
		claim := &corev1.PersistentVolumeClaim{ObjectMeta: named(name), Spec: corev1.PersistentVolumeClaimSpec{VolumeName: fmt.Sprintf("pv-%d", ordinal)},
			Status: corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimBound}}
		claim.UID = uid
		claims = append(claims, claim)
		volumes = append(volumes, &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: claim.Spec.VolumeName}, Status: corev1.PersistentVolumeStatus{Phase: corev1.VolumeBound},
			Spec: corev1.PersistentVolumeSpec{ClaimRef: &corev1.ObjectReference{Name: name, UID: uid}}})
	}
	if s.change != nil {
		claims = s.change(claims, volumes)
	}
	for _, claim := range claims {
		list = append(list, claim)
	}
	for _, volume := range volumes {
		list = append(list, volume)
	}
	return list
}

// agreement are the ConfigMaps of Patroni.
func (s *several) agreement() []runtime.Object {
	var standbys []string
	for _, ordinal := range s.standbys {
		standbys = append(standbys, podName(ordinal))
	}
	leader, sync := s.leader, s.sync
	if leader == "" {
		leader = podName(s.primary)
	}
	if sync == "" {
		sync = podName(s.primary)
	}
	var list []runtime.Object
	for name, annotations := range map[string]map[string]string{
		contract.MembersLeader: {contract.MembersLeaderKey: leader},
		contract.MembersSync:   {contract.MembersLeaderKey: sync, contract.MembersStandbysKey: strings.Join(standbys, ",")},
		contract.MembersConfig: {contract.MembersConfigKey: s.config},
	} {
		if !strings.Contains(strings.Join(s.without, " "), name) {
			list = append(list, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "ns", Annotations: annotations}})
		}
	}
	return list
}

func (s *several) look() *report.Report {
	s.t.Helper()
	clients := fake.NewClientset(s.objects()...)
	for _, resource := range s.forbidden {
		clients.PrependReactor("get", resource, func(clienttesting.Action) (bool, runtime.Object, error) {
			return true, nil, apierrors.NewForbidden(corev1.Resource(resource), "", errors.New("no"))
		})
	}
	desired := s.replicas()
	s.witness.subject = check.Subject{
		Cluster: &kubernetes.Cluster{Core: clients.CoreV1(), Apps: clients.AppsV1(), Discovery: clients.DiscoveryV1(), ForwardPort: s.forward,
			OpenLog: func(_ context.Context, pod *corev1.Pod) (io.ReadCloser, error) {
				return io.NopCloser(strings.NewReader(s.servers[kubernetes.Ordinal(pod.Name)].Log())), nil
			}},
		Objects: kubernetes.Objects{Namespace: "ns", StatefulSet: "postgres", Service: "postgres", Headless: "postgres-headless", Claim: "postgredb-postgres-0",
			HighAvailability: true, Replicas: "postgres-replicas"},
		Desired: &desired, Via: kubernetes.ViaAuto, Port: 5432,
		Config: func(addresses []string) (*pgx.ConnConfig, error) {
			return server.Config(addresses, "postgres", "verifier", "unused", nil)
		},
	}
	return s.witness.lookWithin(cmp.Or(s.deadline, 30*time.Second))
}

func (s *several) forward(ctx context.Context, pod *corev1.Pod, _ int) (string, error) {
	if s.noForward != nil {
		return "", s.noForward
	}
	if slices.Contains(s.down, kubernetes.Ordinal(pod.Name)) {
		return "", errors.New("pod is not running")
	}
	forwards := &pgtest.Forwards{To: net.JoinHostPort("127.0.0.1", strconv.Itoa(s.servers[kubernetes.Ordinal(pod.Name)].Port))}
	return forwards.Forward(ctx)
}

// proven takes a look that must prove everything, however slow this machine is now.
func (s *several) proven() *report.Report {
	s.t.Helper()
	change := s.witness.change
	s.witness.change = func(c *check.Checker) { change(c); c.Settle = 20 * time.Second }
	r := s.look()
	s.witness.change = change
	require.Equal(s.t, report.ExitProven, r.ExitCode, r.Summary)
	return r
}

// all returns the checks of a name.
func all(r *report.Report, name string) []report.Check {
	var found []report.Check
	for _, c := range r.Checks {
		if c.Name == name {
			found = append(found, c)
		}
	}
	return found
}

func TestSeveralServersAreProvenToHaveTheSameRows(t *testing.T) {
	t.Parallel()
	s := newSeveral(t, 2)
	s.proven()
	r := s.proven()
	requireCheck(t, r, "primary", report.Passed, "postgres-0 alone takes the writes, on timeline 1")
	requireCheck(t, r, "one database", report.Passed, "all have the system_identifier")
	requireCheck(t, r, "timelines", report.Passed, "all standbys follow timeline 1")
	requireCheck(t, r, "synchronous", report.Passed, "1 synchronous standby of 1 promised: postgres-1")
	requireCheck(t, r, "agreement", report.Passed, "after postgres-0 the writes go to postgres-1")
	services := all(r, "Service")
	require.Len(t, services, 2)
	require.Equal(t, "postgres leads to postgres-0, the primary", services[0].Detail)
	require.Equal(t, "postgres-replicas leads to postgres-1 and postgres-2, the standbys that are ready", services[1].Detail)
	claims := all(r, "claim")
	require.Len(t, claims, 3)
	require.Contains(t, claims[2].Detail, "postgredb-postgres-2 is Bound, UID and volume as recorded")
	standbys := all(r, "standby rows")
	require.Len(t, standbys, 2)
	require.Contains(t, standbys[1].Detail, "postgres-2 has the same 20 rows")

	require.Equal(t, "postgres-0", r.Target.Pod)
	require.Len(t, r.Members, 3)
	require.Equal(t, []string{"primary", "standby", "standby"}, []string{r.Members[0].Role, r.Members[1].Role, r.Members[2].Role})
	member := r.Members[1]
	require.Equal(t, []any{"postgres-1", "replica", "port-forward", "postgredb-postgres-1", "pv-1", int64(1), "sync", "postgres_1"},
		[]any{member.Pod, member.Label, member.Via, member.Claim, member.Volume, member.Timeline, member.SyncState, member.Slot})
	require.EqualValues(t, 20, *member.Rows)
	require.NotNil(t, member.LagBytes)
	require.True(t, *member.SlotActive)
	require.Nil(t, r.Members[0].LagBytes)

	state, err := ledger.Read(s.witness.path)
	require.NoError(t, err)
	require.Equal(t, "postgres-0", state.Sighting.Pod)
	require.NotEmpty(t, state.Sighting.ReplayedLSN)
	require.Equal(t, []ledger.Claim{{Ordinal: 1, UID: "claim-1", Volume: "pv-1"}, {Ordinal: 2, UID: "claim-2", Volume: "pv-2"}}, state.Sighting.Claims)
}

func TestTwoPrimariesAreAViolation(t *testing.T) {
	t.Parallel()
	s := newSeveral(t, 2)
	s.proven()
	s.servers[2].Promote(t)
	r := s.look()
	require.Equal(t, report.ExitViolated, r.ExitCode)
	requireCheck(t, r, "primary", report.Violated, "2 servers take writes: postgres-0 (timeline 1) and postgres-2 (timeline 2)")
	requireCheck(t, r, "new rows", report.Skipped, "violation")
}

func TestStandbyThatLagsIsNotComparedAndNotProven(t *testing.T) {
	t.Parallel()
	s := newSeveral(t, 2)
	s.proven()
	s.servers[2].Exec(t, s.servers[2].DSN("postgres"), "select pg_wal_replay_pause()")
	r := s.look()
	require.Equal(t, report.ExitUnknown, r.ExitCode, r.Summary)
	standbys := all(r, "standby rows")
	require.Len(t, standbys, 2)
	require.Equal(t, report.Passed, standbys[0].Status)
	require.Equal(t, report.Unknown, standbys[1].Status)
	require.Contains(t, standbys[1].Detail, "postgres-2 has replayed the log up to")
	require.Contains(t, standbys[1].Detail, "its rows could not be compared")

	s.servers[2].Exec(t, s.servers[2].DSN("postgres"), "select pg_wal_replay_resume()")
	s.proven()
}

// letGoItsOwnWay has the last server take writes of its own, and come back as a standby.
func (s *several) letGoItsOwnWay(statement string) {
	s.t.Helper()
	other := s.servers[2]
	other.Promote(s.t)
	// Further than the primary will have come.
	other.Exec(s.t, other.DSN("postgres"), statement, "select pg_switch_wal()", "create table further()", "checkpoint")
	other.StopFast(s.t)
	other.BeStandbyOf(s.t, s.servers[0], "postgres-2")
	other.Run(s.t)
}

// A copy that went its own way and comes back as a standby has the rows of its own way.
func TestStandbyWithOtherRowsIsAViolation(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		statement, finding string
		first              int64
	}{
		// The 10 rows of the second look have not come there.
		"a row is missing": {"delete from verify.rows where seq = 3", "11 lost", 3},
		"a row is altered": {"update verify.rows set payload = 'x' where seq = 3", "10 lost; 1 altered", 10},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSeveral(t, 2)
			s.proven()
			s.letGoItsOwnWay(test.statement)
			r := s.look()
			require.Equal(t, report.ExitViolated, r.ExitCode)
			requireCheck(t, r, "timelines", report.Unknown, "postgres-2 receives no log of the primary")
			requireCheck(t, r, "earlier rows", report.Passed, "10 acknowledged rows")
			standbys := all(r, "standby rows")
			require.Len(t, standbys, 2)
			require.Equal(t, report.Violated, standbys[1].Status)
			require.Contains(t, standbys[1].Detail, "postgres-2 has other rows than the primary")
			require.Contains(t, standbys[1].Detail, test.finding)
			require.NotEmpty(t, standbys[1].Rows)
			require.Equal(t, []any{"lost", test.first}, []any{standbys[1].Rows[0].Finding, standbys[1].Rows[0].Seq})
		})
	}
}

// writeAllTheTime lets another client write to the table, until the test ends.
func (s *several) writeAllTheTime() {
	s.t.Helper()
	conn, err := pgx.Connect(s.t.Context(), s.servers[s.primary].DSN("postgres"))
	require.NoError(s.t, err)
	ctx, stop := context.WithCancel(s.t.Context())
	ended := make(chan error, 1)
	go func() {
		for seq := 0; ; seq++ {
			if _, err := conn.Exec(ctx, "insert into verify.rows values (99, $1, 'x')", seq); err != nil {
				ended <- err
				return
			}
		}
	}()
	s.t.Cleanup(func() {
		require.Empty(s.t, ended, "it ended too early")
		stop()
		<-ended
		_ = conn.Close(context.Background())
	})
}

func TestRowsOfTheLedgerAreComparedWhileSomebodyElseWrites(t *testing.T) {
	t.Parallel()
	t.Run("all are there", func(t *testing.T) {
		t.Parallel()
		s := newSeveral(t, 2)
		s.proven()
		s.writeAllTheTime()
		// The client may be slow for a moment: then all rows are alike.
		var r *report.Report
		for count := 20; count <= 70; count += 10 {
			r = s.proven()
			standbys := all(r, "standby rows")
			require.Len(t, standbys, 2)
			if strings.Contains(standbys[0].Detail, "of this ledger") {
				for i, standby := range standbys {
					require.Equal(t, report.Passed, standby.Status)
					require.Contains(t, standby.Detail, fmt.Sprintf("%s has the same %d rows of this ledger", podName(i+1), count))
				}
				break
			}
			require.Less(t, count, 70, "all rows were alike each time")
		}
		require.Nil(t, r.Members[1].Rows, "how many there are was not counted")
	})
	t.Run("a row is missing", func(t *testing.T) {
		t.Parallel()
		s := newSeveral(t, 2)
		s.proven()
		s.letGoItsOwnWay("delete from verify.rows where seq = 3")
		s.writeAllTheTime()
		r := s.look()
		require.Equal(t, report.ExitViolated, r.ExitCode, r.Summary)
		standbys := all(r, "standby rows")
		require.Len(t, standbys, 2)
		require.Equal(t, report.Passed, standbys[0].Status)
		require.Equal(t, report.Violated, standbys[1].Status)
		require.Contains(t, standbys[1].Detail, "postgres-2 has other rows of this ledger")
		require.Equal(t, []any{"lost", int64(3)}, []any{standbys[1].Rows[0].Finding, standbys[1].Rows[0].Seq})
	})
}

// A commit that waits for postgres-1 is replayed by postgres-2 meanwhile, which shows its row first.
func TestRowWhoseCommitWaitsIsNoViolationOnAStandby(t *testing.T) {
	t.Parallel()
	s := newSeveral(t, 2)
	s.proven()
	replay := func(what string) {
		s.servers[1].Exec(t, s.servers[1].DSN("postgres"), "select pg_wal_replay_"+what+"()")
	}
	commitThatWaits := func(run int) <-chan error {
		replay("pause")
		committed := make(chan error, 1)
		go func() {
			committed <- s.servers[0].Server.Exec(t.Context(), s.servers[0].DSN("postgres"), "set synchronous_commit = remote_apply", fmt.Sprintf("insert into verify.rows values (%d, 0, 'x')", run))
		}()
		shows := func(server int) bool {
			return s.servers[server].Query(t, fmt.Sprintf("select count(*)::text from verify.rows where run = %d", run)) == "1"
		}
		require.Eventually(t, func() bool { return shows(2) }, 20*time.Second, 20*time.Millisecond)
		require.False(t, shows(0))
		return committed
	}

	committed := commitThatWaits(99)
	r := s.look()
	require.Equal(t, report.ExitUnknown, r.ExitCode, r.Summary)
	standbys := all(r, "standby rows")
	require.Len(t, standbys, 2)
	require.Equal(t, report.Unknown, standbys[1].Status)
	require.Contains(t, standbys[1].Detail, "postgres-2 has other rows than the primary")
	require.Contains(t, standbys[1].Detail, "1 transaction that may have written them did not end within")

	resumed := make(chan error, 1)
	time.AfterFunc(time.Second, func() {
		resumed <- s.servers[1].Server.Exec(t.Context(), s.servers[1].DSN("postgres"), "select pg_wal_replay_resume()")
	})
	s.proven()
	require.NoError(t, <-resumed)
	require.NoError(t, <-committed)

	// A row that is missing is lost all the same.
	committed = commitThatWaits(98)
	s.letGoItsOwnWay("delete from verify.rows where seq = 3")
	r = s.look()
	require.Equal(t, report.ExitViolated, r.ExitCode, r.Summary)
	require.Contains(t, all(r, "standby rows")[1].Detail, "lost")
	replay("resume")
	require.NoError(t, <-committed)
}

func TestMissingSynchronousStandby(t *testing.T) {
	t.Parallel()
	s := newSeveral(t, 2)
	s.proven()
	waiting := s.witness.change
	for name, test := range map[string]struct {
		config string
		change func(*several)
		status report.Status
		detail string
		code   int
	}{
		"the primary acknowledges alone": {`{"synchronous_mode": true, "synchronous_node_count": 1}`,
			func(s *several) { s.servers[0].WaitFor(s.t, "") }, report.Violated, "the primary acknowledges commits by itself", report.ExitViolated},
		"synchronous_mode is off": {`{}`,
			func(s *several) { s.servers[0].WaitFor(s.t, "") }, report.Violated, "synchronous_mode is off", report.ExitViolated},
		"commits wait": {strict, func(s *several) {
			s.servers[0].WaitFor(s.t, "")
			s.witness.change = func(c *check.Checker) { c.Rows, c.Settle = 0, 300*time.Millisecond }
		}, report.Warning, "commits wait until there is one", report.ExitProven},
		"fewer than promised": {`{"synchronous_mode": true, "synchronous_mode_strict": true, "synchronous_node_count": 5}`,
			func(*several) {}, report.Warning, "1 synchronous standby of 2 promised: postgres-1", report.ExitProven},
		"what is promised may not be read": {strict, func(s *several) { s.forbidden = []string{"configmaps"} },
			report.Passed, "1 synchronous standby of 1 promised", report.ExitProven},
	} {
		t.Run(name, func(t *testing.T) {
			s.servers[0].WaitFor(t, `"postgres-1"`)
			s.witness.change = waiting
			changed := *s
			changed.t, changed.config = t, test.config
			test.change(&changed)
			r := changed.look()
			requireCheck(t, r, "synchronous", test.status, test.detail)
			require.Equal(t, test.code, r.ExitCode, r.Summary)
		})
	}
}

func TestWhatTheUserMayNotSeeIsNoOutage(t *testing.T) {
	t.Parallel()
	s := newSeveral(t, 1)
	s.proven()
	s.forbidden, s.noForward = []string{"configmaps"}, errors.New(`pods "postgres-1" is forbidden: User "u" cannot create resource "pods/portforward"`)
	r := s.proven()
	requireCheck(t, r, "agreement", report.Warning, "may not read the ConfigMaps")
	requireCheck(t, r, "primary", report.Warning, "postgres-0 takes the writes")
	for _, member := range all(r, "member") {
		require.Equal(t, report.Warning, member.Status)
		require.Contains(t, member.Detail, "this user may not forward its port")
	}
	require.Empty(t, all(r, "standby rows"))

	s.noForward = errors.New("connection reset by peer")
	r = s.look()
	require.Equal(t, report.ExitUnknown, r.ExitCode)
	requireCheck(t, r, "member", report.Unknown, "connection reset by peer")
}

func TestServicesThatLeadToTheWrongPodsAreAViolation(t *testing.T) {
	t.Parallel()
	s := newSeveral(t, 1)
	for name, test := range map[string]struct {
		service string
		pods    []string
		detail  string
	}{
		"clients to a standby too": {"postgres", []string{"postgres-0", "postgres-1"}, "postgres leads to postgres-0 and postgres-1, expected postgres-0"},
		"readers to the primary":   {"postgres-replicas", []string{"postgres-0", "postgres-1"}, "expected postgres-1"},
		"readers nowhere":          {"postgres-replicas", nil, "postgres-replicas leads to no pod, expected postgres-1"},
	} {
		t.Run(name, func(t *testing.T) {
			changed := *s
			changed.t, changed.endpoints = t, map[string][]string{test.service: test.pods}
			r := changed.look()
			require.Equal(t, report.ExitViolated, r.ExitCode)
			found := false
			for _, service := range all(r, "Service") {
				found = found || service.Status == report.Violated && strings.Contains(service.Detail, test.detail)
			}
			require.True(t, found)
		})
	}
}

func TestConfigMapsThatNameAnotherServerAreNotProven(t *testing.T) {
	t.Parallel()
	s := newSeveral(t, 1)
	for name, test := range map[string]struct {
		change func(*several)
		detail string
	}{
		"another leader":           {func(s *several) { s.leader = "postgres-1" }, "postgres-0 takes the writes, and ConfigMap postgres-ha-leader names postgres-1"},
		"another one has all rows": {func(s *several) { s.sync = "postgres-1" }, "at the next failover one could win that lacks some"},
	} {
		t.Run(name, func(t *testing.T) {
			changed := *s
			changed.t = t
			test.change(&changed)
			r := changed.look()
			require.Equal(t, report.ExitUnknown, r.ExitCode)
			requireCheck(t, r, "agreement", report.Unknown, test.detail)
		})
	}
}

// failover stops the primary and promotes the first standby; the old primary follows it then.
func (s *several) failover(stop func(*pgtest.Server)) {
	s.t.Helper()
	old, next := s.servers[0], s.servers[1]
	stop(old)
	next.Promote(s.t)
	next.Exec(s.t, next.DSN("postgres"), "select pg_create_physical_replication_slot('postgres_0')", "alter system reset primary_conninfo", "alter system reset primary_slot_name")
	s.primary, s.standbys = 1, nil
}

func TestFailoverIsNoViolationAndSaysWhichPod(t *testing.T) {
	t.Parallel()
	s := newSeveral(t, 1)
	s.proven()
	s.failover(func(old *pgtest.Server) { old.StopFast(t) })
	s.servers[0].Follow(t, s.servers[1], "postgres-0")
	s.servers[1].WaitFor(t, `"postgres-0"`)
	s.standbys = []int{0}
	r := s.proven()
	requireCheck(t, r, "server", report.Passed, "in pod postgres-1, up since")
	requireCheck(t, r, "server", report.Passed, "at the last look postgres-0 took the writes")
	requireCheck(t, r, "write-ahead log", report.Passed, "timeline 2")
	requireCheck(t, r, "write-ahead log", report.Passed, "it was timeline 1, and the history is unbroken")
	require.Empty(t, all(r, "last shutdown"), "starts of two servers cannot be compared")
	requireCheck(t, r, "earlier rows", report.Passed, "10 acknowledged rows")
	require.Equal(t, "postgres-1", r.Target.Pod)
	requireCheck(t, s.proven(), "write-ahead log", report.Passed, "went on from")

	// The one before, alone: what was acknowledged since is not there.
	s.servers[1].StopFast(t)
	s.servers[0].StopFast(t)
	s.servers[0].Run(t)
	s.servers = s.servers[:1]
	s.servers[0].Promote(t)
	s.primary, s.standbys, s.config = 0, nil, `{"synchronous_mode": true}`
	requireCheck(t, s.look(), "write-ahead log", report.Passed, "it was timeline 2")
}

func TestOlderTimelineIsAViolation(t *testing.T) {
	t.Parallel()
	s := newSeveral(t, 1)
	s.proven()
	old := s.servers[0]
	s.failover(func(old *pgtest.Server) { old.StopFast(t) })
	s.servers[0] = nil
	s.config = `{"synchronous_mode": true}`
	s.servers[1].WaitFor(t, "")
	s.proven()

	// The old primary comes back as if nothing had been.
	s.servers[1].StopFast(t)
	s.servers, s.primary = []*pgtest.Server{old}, 0
	old.Run(t)
	old.WaitFor(t, "")
	r := s.look()
	require.Equal(t, report.ExitViolated, r.ExitCode)
	requireCheck(t, r, "write-ahead log", report.Violated, "went back to an earlier timeline: timeline 1")
	requireCheck(t, r, "earlier rows", report.Violated, "10 lost; 10 of 20")
}

func TestTimelineOfAnotherHistoryIsAViolation(t *testing.T) {
	t.Parallel()
	s := newSeveral(t, 2)
	s.proven()
	stranger := s.servers[2]
	stranger.StopFast(t)
	s.servers[0].Exec(t, s.servers[0].DSN("postgres"), "create table between()")
	s.failover(func(old *pgtest.Server) { old.StopFast(t) })
	s.servers = []*pgtest.Server{nil, s.servers[1]}
	s.config = `{"synchronous_mode": true}`
	s.servers[1].WaitFor(t, "")
	s.proven()

	// The other standby is promoted from the same timeline, further behind.
	s.servers[1].StopFast(t)
	stranger.Run(t)
	stranger.Promote(t)
	for range 2 {
		stranger.Exec(t, stranger.DSN("postgres"), "select pg_switch_wal()", "create table if not exists further()")
	}
	s.servers[1] = stranger
	r := s.look()
	require.Equal(t, report.ExitViolated, r.ExitCode)
	requireCheck(t, r, "write-ahead log", report.Violated, "another timeline of the same number")
	requireCheck(t, r, "earlier rows", report.Violated, "10 lost; 10 of 20")
}

// A timeline that was left before what all servers had is that of an older copy.
func TestHistoryThatLeavesOutWhatAllServersHadIsAViolation(t *testing.T) {
	t.Parallel()
	s := newSeveral(t, 0)
	s.config = `{"synchronous_mode": true}`
	s.proven()
	before, err := ledger.Read(s.witness.path)
	require.NoError(t, err)
	for range 2 {
		s.servers[0].StopFast(t)
		require.NoError(t, s.servers[0].WriteFile("standby.signal", ""))
		s.servers[0].Run(t)
		s.servers[0].Promote(t)
	}
	for name, test := range map[string]struct {
		change func(*ledger.Sighting)
		status report.Status
		detail string
		code   int
	}{
		"as it was":                      {func(*ledger.Sighting) {}, report.Passed, "the history is unbroken", report.ExitProven},
		"all servers had more":           {func(s *ledger.Sighting) { s.ReplayedLSN = "7/0" }, report.Violated, "and all servers had it up to 7/0", report.ExitViolated},
		"the primary alone had more":     {func(s *ledger.Sighting) { s.FlushedLSN = "7/0" }, report.Passed, "are given up", report.ExitProven},
		"the timeline began elsewhere":   {func(s *ledger.Sighting) { s.Timeline, s.TimelineBegan = 2, "0/7" }, report.Violated, "history broken: its timeline 2 began at", report.ExitViolated},
		"the timeline is not known":      {func(s *ledger.Sighting) { s.Timeline = 0 }, report.Passed, "went on from", report.ExitProven},
		"a timeline that is yet to come": {func(s *ledger.Sighting) { s.Timeline = 9 }, report.Violated, "went back to an earlier timeline", report.ExitViolated},
	} {
		t.Run(name, func(t *testing.T) {
			changed, sighting := *s, before.Sighting
			changed.t = t
			test.change(&sighting)
			entries, err := ledger.Open(t.Context(), s.witness.path, func(string) {})
			require.NoError(t, err)
			require.NoError(t, entries.Saw(sighting))
			require.NoError(t, entries.Close())
			r := changed.look()
			requireCheck(t, r, "write-ahead log", test.status, test.detail)
			require.Equal(t, test.code, r.ExitCode, r.Summary)
		})
	}
}

func TestRowThatNoStandbyHadAndThatWasNeverAcknowledgedMayGo(t *testing.T) {
	t.Parallel()
	for name, status := range map[string]ledger.Status{"never acknowledged": ledger.Seen, "acknowledged": ledger.Acknowledged} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSeveral(t, 1)
			s.proven()
			// The standby is cut off, the primary goes on and shows a commit that nobody has acknowledged.
			s.servers[1].StopFast(t)
			s.servers[0].WaitFor(t, "")
			single := *s
			single.servers = s.servers[:1]
			single.standbys = nil
			single.look()
			s.rewrite(status)
			// Nothing but the standby's log was replayed by all.
			s.servers[0].StopImmediate(t)
			s.servers[1].Run(t)
			s.failover(func(*pgtest.Server) {})
			s.servers[0] = nil
			s.config = `{"synchronous_mode": true}`
			s.servers[1].WaitFor(t, "")
			r := s.look()
			if status == ledger.Acknowledged {
				require.Equal(t, report.ExitViolated, r.ExitCode)
				requireCheck(t, r, "earlier rows", report.Violated, "10 lost; 10 of 20")
				return
			}
			require.Equal(t, report.ExitProven, r.ExitCode, r.Summary)
			requireCheck(t, r, "write-ahead log", report.Passed, "were on the server before alone and are given up")
			requireCheck(t, r, "withdrawn", report.Warning, "10 rows that were never acknowledged")
			require.EqualValues(t, 10, r.Rows.Withdrawn)
			require.EqualValues(t, 10, r.Rows.Required)
			require.Empty(t, all(s.proven(), "withdrawn"), "said once")
		})
	}
}

// rewrite gives the ledger's last 10 rows another status, and forgets that all servers had them.
func (s *several) rewrite(status ledger.Status) {
	s.t.Helper()
	entries, err := ledger.Open(s.t.Context(), s.witness.path, func(string) {})
	require.NoError(s.t, err)
	run := entries.State().Current()
	require.NoError(s.t, entries.Resolve(run.ID, run.Next()-10, 10, status))
	sighting := entries.State().Sighting
	sighting.ReplayedLSN = ""
	require.NoError(s.t, entries.Saw(sighting))
	require.NoError(s.t, entries.Close())
}

// stop leaves what a scale to 0 leaves.
func (s *several) stop() {
	for i := len(s.servers) - 1; i >= 0; i-- {
		s.servers[i].StopFast(s.t)
	}
	s.servers = nil
}

func TestAtZeroTheClaimsOfAllOrdinalsAreProven(t *testing.T) {
	t.Parallel()
	s := newSeveral(t, 2)
	s.proven()
	s.stop()
	r := s.proven()
	claims := all(r, "claim")
	require.Len(t, claims, 3)
	for ordinal, claim := range claims {
		require.Equal(t, fmt.Sprintf("postgredb-postgres-%d is Bound, UID and volume as recorded", ordinal), claim.Detail)
	}
	require.Len(t, all(r, "volume"), 3)
	requireCheck(t, r, "trusted", report.Passed, "postgres-0 and postgres-1 have every acknowledged write")
	requireCheck(t, r, "endpoints", report.Passed, "none of postgres, postgres-replicas and postgres-headless")

	for name, test := range map[string]struct {
		change       func(*several)
		name, detail string
		status       report.Status
		code         int
	}{
		"one claim is missing": {func(s *several) { s.claims = 2 }, "claim", "postgredb-postgres-2 is gone: it had the UID claim-2 and the volume pv-2", report.Violated, report.ExitViolated},
		"one claim is another": {func(s *several) {
			s.change = func(claims []*corev1.PersistentVolumeClaim, volumes []*corev1.PersistentVolume) []*corev1.PersistentVolumeClaim {
				claims[1].UID, volumes[1].Spec.ClaimRef.UID = "other", "other"
				return claims
			}
		}, "claim", "postgredb-postgres-1 is another one than before", report.Violated, report.ExitViolated},
		"one claim is lost": {func(s *several) {
			s.change = func(claims []*corev1.PersistentVolumeClaim, _ []*corev1.PersistentVolume) []*corev1.PersistentVolumeClaim {
				claims[2].Status.Phase = corev1.ClaimLost
				return claims
			}
		}, "claim", "postgredb-postgres-2 is Lost", report.Violated, report.ExitViolated},
		"nobody knows who has the rows": {func(s *several) { s.without = []string{contract.MembersSync} }, "trusted", "does not say who has every acknowledged write", report.Violated, report.ExitViolated},
		"the ConfigMap may not be read": {func(s *several) { s.forbidden = []string{"configmaps"} }, "trusted", "may not read ConfigMap", report.Warning, report.ExitProven},
	} {
		t.Run(name, func(t *testing.T) {
			changed := *s
			changed.t = t
			test.change(&changed)
			r := changed.look()
			require.Equal(t, test.code, r.ExitCode, r.Summary)
			found := false
			for _, c := range all(r, test.name) {
				found = found || c.Status == test.status && strings.Contains(c.Detail, test.detail)
			}
			require.True(t, found)
		})
	}
}

func TestClaimOfAStandbyMayBeMadeAnewWhileOthersRun(t *testing.T) {
	t.Parallel()
	s := newSeveral(t, 1)
	s.claims = 3
	s.proven()
	s.claims = 2
	s.change = func(claims []*corev1.PersistentVolumeClaim, volumes []*corev1.PersistentVolume) []*corev1.PersistentVolumeClaim {
		claims[1].UID, volumes[1].Spec.ClaimRef.UID = "other", "other"
		return claims
	}
	claims := all(s.proven(), "claim")
	require.Len(t, claims, 3)
	require.Equal(t, report.Warning, claims[1].Status)
	require.Contains(t, claims[1].Detail, "its server has copied the files of another one")
	require.Equal(t, report.Warning, claims[2].Status)
	require.Contains(t, claims[2].Detail, "postgredb-postgres-2 is gone")
	claims = all(s.proven(), "claim")
	require.Len(t, claims, 2)
	require.Equal(t, report.Passed, claims[1].Status)
}

func TestPortIsForwardedToThePrimary(t *testing.T) {
	t.Parallel()
	s := newSeveral(t, 1)
	s.failover(func(old *pgtest.Server) { old.StopFast(t) })
	s.servers[0].Follow(t, s.servers[1], "postgres-0")
	s.servers[1].WaitFor(t, `"postgres-0"`)
	s.standbys = []int{0}
	old := s.witness.change
	s.witness.change = func(c *check.Checker) { old(c); c.Subject.Via = kubernetes.ViaPortForward }
	r := s.proven()
	require.Equal(t, "port-forward", r.Target.Via)
	requireCheck(t, r, "server", report.Passed, "in pod postgres-1")
	requireCheck(t, r, "new rows", report.Passed, "10 rows acknowledged")
}

// While another server takes the writes over, the Service may lead to the one before for a moment.
func TestStandbyIsNotTakenForThePrimary(t *testing.T) {
	t.Parallel()
	s := newSeveral(t, 1)
	s.proven()
	s.clientsPort = s.servers[1].Port
	r := s.look()
	require.Equal(t, report.ExitUnknown, r.ExitCode)
	requireCheck(t, r, "primary", report.Unknown, "the connection for clients leads to a standby")
	requireCheck(t, r, "new rows", report.Unknown, "none written: the server is a standby")

	// Nothing answers there but the standby until another one takes its place.
	front, end := context.WithCancel(t.Context())
	defer end()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	first := true
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			to := s.servers[0].Port
			if first {
				to, first = s.servers[1].Port, false
			}
			go join(front, client, to)
		}
	}()
	s.clientsPort = listener.Addr().(*net.TCPAddr).Port
	s.witness.change = func(c *check.Checker) { c.Settle = 20 * time.Second }
	r = s.proven()
	requireCheck(t, r, "primary", report.Passed, "postgres-0 alone")
}

// join passes on what two ends say.
func join(ctx context.Context, client net.Conn, port int) {
	defer client.Close()
	server, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return
	}
	defer server.Close()
	defer context.AfterFunc(ctx, func() { client.Close(); server.Close() })()
	go func() { _, _ = io.Copy(server, client); server.Close() }()
	_, _ = io.Copy(client, server)
}

func TestStrangerThatCommitsWaitForIsAWarning(t *testing.T) {
	t.Parallel()
	s := newSeveral(t, 1)
	s.servers[0].Standby(t, "stranger")
	s.servers[0].WaitFor(t, `FIRST 2 ("postgres-1", stranger)`)
	require.Eventually(t, func() bool {
		return s.servers[0].Query(t, "select count(*)::text from pg_stat_replication where sync_state = 'sync'") == "2"
	}, 10*time.Second, 20*time.Millisecond)
	found := all(s.proven(), "synchronous")
	require.Len(t, found, 2)
	require.Equal(t, report.Passed, found[0].Status)
	require.Equal(t, report.Warning, found[1].Status)
	require.Contains(t, found[1].Detail, "stranger, none of the servers")
}

func TestServerOfAnotherDatabaseIsAViolation(t *testing.T) {
	t.Parallel()
	s := newSeveral(t, 1)
	s.servers = append(s.servers, pgtest.Start(t))
	s.claims = 3
	r := s.look()
	require.Equal(t, report.ExitViolated, r.ExitCode)
	requireCheck(t, r, "one database", report.Violated, "postgres-2 has the system_identifier")
	requireCheck(t, r, "primary", report.Violated, "2 servers take writes")
}

func TestStandbyWithoutItsSlotIsAWarning(t *testing.T) {
	t.Parallel()
	s := newSeveral(t, 2)
	s.servers[2].StopFast(t)
	s.servers[0].Exec(t, s.servers[0].DSN("postgres"), "select pg_drop_replication_slot('postgres_2')")
	require.NoError(t, s.servers[2].WriteFile("postgresql.auto.conf", fmt.Sprintf("primary_conninfo = 'host=127.0.0.1 port=%d user=verifier application_name=postgres-2'\n", s.servers[0].Port)))
	s.servers[2].Run(t)
	members := all(s.proven(), "member")
	require.Len(t, members, 3)
	require.Equal(t, report.Passed, members[1].Status)
	require.Equal(t, report.Warning, members[2].Status)
	require.Contains(t, members[2].Detail, "no replication slot postgres_2")
}

func TestCommitWhoseWaitWasGivenUpIsCountedApart(t *testing.T) {
	t.Parallel()
	s := newSeveral(t, 1)
	s.proven()
	primary := s.servers[0]
	// No server of that name follows.
	primary.Exec(t, primary.DSN("postgres"), `alter system set synchronous_standby_names = '"postgres-9"'`, "select pg_reload_conf()")
	require.Eventually(t, func() bool { return primary.Query(t, "show synchronous_standby_names") == `"postgres-9"` }, 10*time.Second, 20*time.Millisecond)
	over := make(chan struct{})
	defer func() { <-over }()
	looked, end := context.WithCancel(t.Context())
	defer end()
	go func() {
		defer close(over)
		for looked.Err() == nil {
			_ = primary.Server.Exec(looked, primary.DSN("postgres"), "select pg_cancel_backend(pid) from pg_stat_activity where wait_event = 'SyncRep'")
			time.Sleep(20 * time.Millisecond)
		}
	}()
	r := s.proven()
	requireCheck(t, r, "synchronous", report.Warning, "0 synchronous standbys of 1 promised: commits wait until there is one")
	requireCheck(t, r, "new rows", report.Warning, "on this server only: the wait for the synchronous standby was given up")
	state, err := ledger.Read(s.witness.path)
	require.NoError(t, err)
	require.EqualValues(t, 10, state.Count(ledger.AcknowledgedLocally))
	require.EqualValues(t, 10, state.Count(ledger.Acknowledged))
	require.Empty(t, state.Sighting.ReplayedLSN, "no synchronous standby had them")
}

// Patroni lets nobody take the writes who lacks one.
func TestRowsAreLookedAtWithOneServerDown(t *testing.T) {
	t.Parallel()
	s := newSeveral(t, 2)
	s.proven()
	s.down = []int{2}
	r := s.look()
	require.Equal(t, report.ExitUnknown, r.ExitCode, r.Summary)
	requireCheck(t, r, "pod", report.Unknown, "waited in vain: pod postgres-2 is pending and not ready")
	require.Len(t, all(r, "pod"), 3, "and the two that are ready")
	require.NotNil(t, r.Rows)
	require.Equal(t, int64(check.DefaultRows), r.Rows.Required)
	require.Equal(t, r.Rows.Required, r.Rows.Intact)
	require.Equal(t, int64(check.DefaultRows), r.Rows.Added, "the primary takes writes")

	s.down = nil
	require.Equal(t, int64(2*check.DefaultRows), s.proven().Rows.Required)
}

func TestServerThatAllOthersWaitForIsNamed(t *testing.T) {
	t.Parallel()
	s := newSeveral(t, 0)
	s.roles[0], s.leader, s.sync, s.standbys = contract.RoleReplica, "postgres-2", "postgres-2", []int{3}
	s.deadline = 500 * time.Millisecond
	r := s.look()
	require.Equal(t, report.ExitDeadline, r.ExitCode)
	requireCheck(t, r, "pod", report.Unknown, "no server takes the writes: only postgres-2 or postgres-3 has every acknowledged one")

	s.sync = "postgres-0"
	requireCheck(t, s.look(), "pod", report.Unknown, "no pod has the role primary")
}
