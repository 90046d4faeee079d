package e2e

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"stateful-postgres/internal/contract"
)

// pauseBound is how long a change may keep writes from being acknowledged. The
// primary changes at most twice.
const pauseBound = 15 * time.Second

func TestMembersTakeChanges(t *testing.T) {
	t.Parallel()
	m := openMembers(t, setupFor(t, "change", 3*testTimeout), 3)
	m.settled(3)
	watch := m.watchReady()
	change := func(name string, do func()) {
		t.Helper()
		m.longestPause()
		watch.restart()
		began := time.Now()
		do()
		took := time.Since(began)
		m.progress()
		m.settled(3)
		m.requireEverything()
		m.verify(proven)
		pause, ready := m.longestPause(), watch.least()
		t.Logf("%s: %s without an acknowledged write, at least %d of 3 servers ready, %s in all",
			name, pause, ready, took.Round(time.Second))
		require.Less(t, pause, pauseBound, name)
		require.GreaterOrEqual(t, ready, 2, "%s: one at a time", name)
	}
	up := func() { t.Helper(); m.ok(m.Up(m.ctx)) }
	// Once for every pod: new, the last one first, and none by a crash.
	rolled := func(name string, do func()) {
		t.Helper()
		before := m.servers()
		change(name, do)
		after := m.servers()
		for i := range after {
			require.NotEqual(t, before[i].Pod, after[i].Pod, "%s: %s", name, contract.PodName(i))
			require.Zero(t, after[i].Restarts, "%s: %s", name, contract.PodName(i))
		}
		require.False(t, after[2].Created.After(after[1].Created), name)
		require.False(t, after[1].Created.After(after[0].Created), name)
		require.NotEqual(t, pod, m.primary(), "%s: the primary was the last one to restart, and handed over", name)
	}

	change("password", func() {
		old, next, before := m.outputs()["password"].(string), rand.Text(), m.servers()
		m.ok(m.SetSecret(m.ctx, "password", next))
		up()
		require.Equal(t, before, m.servers(), "nobody restarts")
		m.site.Use(next)
		require.NoError(t, m.connect(nil))
		var refused *pgconn.PgError
		require.ErrorAs(t, m.connectAs(nil, func(c *pgx.ConnConfig) { c.Password = old }, func(*pgx.Conn) {}), &refused)
		require.Equal(t, "28P01", refused.Code)
		for _, host := range []string{"postgres-0.postgres-headless", "postgres-1.postgres-headless", "postgres-2.postgres-headless", contract.ReplicasService} {
			m.eventually("the new password at "+host, 10*time.Second, func() (string, bool) {
				said := m.login(host, next)
				return said, said == "1"
			})
			require.Contains(t, m.login(host, old), "password authentication failed", host)
		}
	})

	change("a parameter to reload", func() {
		before := m.servers()
		m.ok(m.SetPath(m.ctx, "parameters.work_mem", "9MB"))
		up()
		m.everywhere("work_mem", "9MB", reloadTimeout)
		require.Equal(t, before, m.servers())
	})

	for _, step := range []struct{ name, value string }{{"raised", "120"}, {"lowered", "60"}} {
		change("max_connections "+step.name, func() {
			before, primary := m.servers(), m.primary()
			m.ok(m.SetPath(m.ctx, "parameters.max_connections", step.value))
			up()
			m.everywhere("max_connections", step.value, time.Second)
			require.Equal(t, primary, m.primary(), "it restarts in place")
			for i, after := range m.servers() {
				require.Equal(t, before[i].Container, after.Container)
				require.NotEqual(t, before[i].Started, after.Started)
			}
		})
	}

	rolled("a parameter to restart", func() {
		m.ok(m.SetPath(m.ctx, "parameters.max_files_per_process", "900"))
		up()
		m.everywhere("max_files_per_process", "900", time.Second)
		m.everywhere("max_connections", "60", time.Second)
	})

	m.ok(m.Set(m.ctx, "tls", "true"))
	m.ok(m.Set(m.ctx, "requireTls", "true"))
	require.Contains(t, m.Preview(m.ctx).Output, `requireTls: got "true", expected false until all 3 servers offer TLS`)
	m.ok(m.Set(m.ctx, "requireTls", "false"))
	rolled("TLS", func() {
		up()
		outputs := m.outputs()
		require.NoError(t, m.connect(trusting(t, outputs["caCertificate"].(string), outputs["tlsServerName"].(string))))
	})
	m.eventually("standbys that follow with TLS", 3*time.Minute, func() (string, bool) {
		seen := m.query("select count(*) from pg_stat_replication join pg_stat_ssl using (pid) where ssl")
		return seen, seen == "2"
	})

	change("larger volumes", func() {
		before := m.servers()
		m.ok(m.Set(m.ctx, "storage", "2Gi"))
		up()
		m.eventually("larger volumes", 3*time.Minute, func() (string, bool) {
			seen := m.kubectl("get", "pvc", "--output=jsonpath={.items[*].status.capacity.storage}")
			return seen, seen == "2Gi 2Gi 2Gi"
		})
		require.Equal(t, before, m.servers())
	})

	rolled("resources", func() {
		m.ok(m.SetPath(m.ctx, "resources.requests.cpu", "20m"))
		up()
	})

	rolled("image", func() {
		image := m.kubectl("get", "pod", pod, "--output=jsonpath={.status.containerStatuses[0].imageID}")
		m.ok(m.Set(m.ctx, "image", image))
		up()
		require.Equal(t, strings.Join([]string{image, image, image}, " "),
			m.kubectl("get", "pods", "--selector="+contract.LabelMembers, "--output=jsonpath={.items[*].spec.containers[0].image}"))
	})
	m.ok(m.Up(m.ctx, "--expect-no-changes"))
}

// member is a server with what tells whether it was restarted.
type member struct {
	server
	Created time.Time
}

// servers are those of all members, by ordinal.
func (m *members) servers() (servers []member) {
	m.t.Helper()
	type live struct {
		Metadata struct {
			Name, UID         string
			CreationTimestamp time.Time
		}
		Status struct {
			ContainerStatuses []struct {
				ContainerID  string
				RestartCount int
			}
		}
	}
	var list struct{ Items []live }
	require.NoError(m.t, json.Unmarshal([]byte(m.kubectl("get", "pods", "--selector="+contract.LabelMembers, "--output=json")), &list))
	slices.SortFunc(list.Items, func(a, b live) int { return strings.Compare(a.Metadata.Name, b.Metadata.Name) })
	for _, item := range list.Items {
		require.Len(m.t, item.Status.ContainerStatuses, 1)
		servers = append(servers, member{Created: item.Metadata.CreationTimestamp, server: server{
			Pod: item.Metadata.UID, Container: item.Status.ContainerStatuses[0].ContainerID, Restarts: item.Status.ContainerStatuses[0].RestartCount,
			Started: m.show(item.Metadata.Name, "select pg_postmaster_start_time()"),
		}})
	}
	return servers
}

// show asks one server.
func (m *members) show(pod, statement string) (result string) {
	m.t.Helper()
	m.eventually("an answer of "+pod, 3*time.Minute, func() (string, bool) {
		asked := m.psql(pod, statement)
		result = strings.TrimSpace(asked.Stdout)
		return asked.String(), asked.OK()
	})
	return result
}

// everywhere waits until all servers have a parameter.
func (m *members) everywhere(name, value string, timeout time.Duration) {
	m.t.Helper()
	for ordinal := range 3 {
		m.eventually(fmt.Sprintf("%s of %s", name, contract.PodName(ordinal)), timeout, func() (string, bool) {
			seen := m.show(contract.PodName(ordinal), "show "+name)
			return seen, seen == value
		})
	}
}

// login asks a server as a client of the cluster does, and returns what it says.
func (m *members) login(host, password string) string {
	m.t.Helper()
	asked := m.Kubectl(m.ctx, "exec", pod, "--", "sh", "-c",
		`PGPASSWORD="$1" exec psql --no-psqlrc --tuples-only --no-align --host="$2" --username="$POSTGRES_USER" --dbname="$POSTGRES_DB" --command='select 1' 2>&1`,
		"psql", password, host)
	return strings.TrimSpace(asked.Stdout)
}

// readiness counts the servers that are ready.
type readiness struct {
	mu     sync.Mutex
	ready  map[string]bool
	fewest int
}

// watchReady counts from now on.
func (m *members) watchReady() *readiness {
	m.t.Helper()
	ctx, cancel := context.WithCancel(m.ctx)
	r := &readiness{ready: map[string]bool{}}
	command := m.Command(ctx, "kubectl", "--namespace", m.Namespace, "get", "pods", "--selector="+contract.LabelMembers, "--watch",
		`--output=jsonpath={.metadata.name} {.status.conditions[?(@.type=="Ready")].status}{"\n"}`)
	lines, err := command.StdoutPipe()
	require.NoError(m.t, err)
	require.NoError(m.t, command.Start())
	done := make(chan struct{})
	m.t.Cleanup(func() { cancel(); <-done })
	go func() {
		defer close(done)
		for scanner := bufio.NewScanner(lines); scanner.Scan(); {
			name, ready, _ := strings.Cut(scanner.Text(), " ")
			r.mu.Lock()
			r.ready[name] = ready == "True"
			r.fewest = min(r.fewest, r.count())
			r.mu.Unlock()
		}
		_ = command.Wait()
	}()
	m.eventually("all servers to be seen ready", 3*time.Minute, func() (string, bool) {
		r.mu.Lock()
		defer r.mu.Unlock()
		return fmt.Sprint(r.ready), r.count() == 3
	})
	return r
}

func (r *readiness) count() (count int) {
	for _, ready := range r.ready {
		if ready {
			count++
		}
	}
	return count
}

// restart forgets what was.
func (r *readiness) restart() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fewest = r.count()
}

// least is how many were ready at the worst moment since then.
func (r *readiness) least() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.fewest
}
