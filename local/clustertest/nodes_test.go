package clustertest

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const namespace = "localkube-test"

// database is a PostgreSQL on a claim of the default StorageClass, non-root
// with an fsGroup, behind a headless Service and a NodePort.
const database = `
apiVersion: v1
kind: Namespace
metadata: {name: localkube-test, labels: {pod-security.kubernetes.io/enforce: restricted}}
---
apiVersion: v1
kind: Service
metadata: {name: database, namespace: localkube-test}
spec: {type: NodePort, selector: {app: database}, ports: [{port: 5432}]}
---
apiVersion: v1
kind: Service
metadata: {name: database-headless, namespace: localkube-test}
spec: {clusterIP: None, selector: {app: database}, ports: [{port: 5432}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: database, namespace: localkube-test}
spec:
  serviceName: database-headless
  selector: {matchLabels: {app: database}}
  template:
    metadata: {labels: {app: database}}
    spec:
      terminationGracePeriodSeconds: 30
      securityContext: {runAsNonRoot: true, runAsUser: 999, runAsGroup: 999, fsGroup: 999, seccompProfile: {type: RuntimeDefault}}
      containers:
        - name: postgres
          image: localhost/postgres:17
          imagePullPolicy: Never
          env:
            - {name: POSTGRES_PASSWORD, value: only-for-this-test}
            - {name: PGDATA, value: /data/pgdata}
          ports: [{containerPort: 5432}]
          readinessProbe: {exec: {command: [pg_isready, --host=127.0.0.1, --username=postgres]}, periodSeconds: 1}
          securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
          volumeMounts:
            - {name: data, mountPath: /data}
  volumeClaimTemplates:
    - metadata: {name: data}
      spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
`

func query(t *testing.T, sql string) string {
	t.Helper()
	return strings.TrimSpace(kubectl(t, "exec", "--namespace="+namespace, "database-0", "--",
		"psql", "--username=postgres", "--no-align", "--tuples-only", "--quiet", "--command="+sql))
}

func waitForDatabase(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool {
		out, err := tryKubectl("wait", "--namespace="+namespace, "pod/database-0", "--for=condition=Ready", "--timeout=60s")
		if err != nil {
			t.Log(strings.TrimSpace(out))
		}
		return err == nil
	}, 2*eventually, tick)
}

func TestThreeNodes(t *testing.T) {
	up(t, "--nodes", "3")
	manifest := filepath.Join(t.TempDir(), "database.yaml")
	require.NoError(t, os.WriteFile(manifest, []byte(database), 0o600))
	t.Cleanup(func() { kubectl(t, "delete", "--ignore-not-found", "--filename="+manifest, "--timeout=120s") })
	kubectl(t, "apply", "--filename="+manifest)
	waitForDatabase(t)
	query(t, "create table kept as select generate_series(1, 1000) as n")
	nodeOf := func() string {
		return kubectl(t, "get", "pod", "--namespace="+namespace, "database-0", "--output=jsonpath={.spec.nodeName}")
	}

	t.Run("all pods together weigh as three machines", func(t *testing.T) {
		found := 0
		for pattern, weight := range map[string]string{"cpu*/localkube/cpu.shares": "3072", "localkube/cpu.weight": "300"} {
			files, err := filepath.Glob(filepath.Join("/sys/fs/cgroup", pattern))
			require.NoError(t, err)
			found += len(files)
			for _, file := range files {
				written, err := os.ReadFile(file)
				require.NoError(t, err)
				require.Equal(t, weight, strings.TrimSpace(string(written)), file)
			}
		}
		require.NotZero(t, found, "control groups have no weights here")
	})

	t.Run("every node is Ready and answers on the NodePort", func(t *testing.T) {
		port := kubectl(t, "get", "service", "--namespace="+namespace, "database", "--output=jsonpath={.spec.ports[0].nodePort}")
		for _, node := range ask(t).Topology.AllNodes() {
			require.Eventually(t, func() bool {
				err := dial(node.Address.String(), port)
				if err != nil {
					t.Log(err)
				}
				return err == nil
			}, eventually, tick, node.Name)
		}
	})
	t.Run("a pod's stable name resolves inside pods", func(t *testing.T) {
		name := "database-0.database-headless." + namespace + ".svc.cluster.local"
		require.Eventually(t, func() bool {
			out, err := tryKubectl("exec", "--namespace="+namespace, "database-0", "--", "getent", "hosts", name)
			if err != nil {
				t.Log(out)
			}
			return err == nil && strings.Contains(out, "10.244.")
		}, eventually, tick)
	})
	t.Run("the claim grows", func(t *testing.T) {
		kubectl(t, "patch", "pvc", "--namespace="+namespace, "data-database-0", "--patch",
			`{"spec":{"resources":{"requests":{"storage":"2Gi"}}}}`)
		require.Eventually(t, func() bool {
			return kubectl(t, "get", "pvc", "--namespace="+namespace, "data-database-0", "--output=jsonpath={.status.capacity.storage}") == "2Gi"
		}, eventually, tick)
	})
	t.Run("a pod moves to another node with its volume", func(t *testing.T) {
		before := nodeOf()
		kubectl(t, "drain", before, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=120s")
		t.Cleanup(func() { kubectl(t, "uncordon", before) })
		waitForDatabase(t)
		require.NotEqual(t, before, nodeOf())
		require.Equal(t, "1000", query(t, "select count(*) from kept"))
	})
	t.Run("the volume is there after everything was killed", func(t *testing.T) {
		killAll(t)
		up(t)
		waitForDatabase(t)
		require.Equal(t, "1000", query(t, "select count(*) from kept"))
	})
	t.Run("down stops the server cleanly", func(t *testing.T) {
		out, err := localkube(checkout, "down")
		require.NoError(t, err, out)
		up(t)
		waitForDatabase(t)
		logs := kubectl(t, "logs", "--namespace="+namespace, "database-0")
		require.Contains(t, logs, "database system was shut down at")
		require.NotContains(t, logs, "not properly shut down")
	})
	t.Run("back to one node", func(t *testing.T) {
		up(t, "--nodes", "1")
		require.Equal(t, "node-1", strings.TrimSpace(kubectl(t, "get", "nodes", "--output=jsonpath={.items[*].metadata.name}")))
		waitForDatabase(t)
		require.Equal(t, "1000", query(t, "select count(*) from kept"))
	})
}

// dial opens a connection and closes it. A node that is cut off would keep one that
// has no deadline waiting for minutes.
func dial(address, port string) error {
	conn, err := net.DialTimeout("tcp", net.JoinHostPort(address, port), 2*time.Second)
	if err != nil {
		return err
	}
	return conn.Close()
}

// leaveGroups makes control groups such as those of containers that were killed with their node.
func leaveGroups(t *testing.T, node string) []string {
	t.Helper()
	var left []string
	for _, pattern := range []string{"/sys/fs/cgroup/*/localkube", "/sys/fs/cgroup/localkube"} {
		parents, err := filepath.Glob(filepath.Join(pattern, node, "kubepods"))
		require.NoError(t, err)
		for _, parent := range parents {
			left = append(left, filepath.Join(parent, "left"))
			require.NoError(t, os.Mkdir(left[len(left)-1], 0o755))
		}
	}
	require.NotEmpty(t, left)
	return left
}

func TestNodesGoAwayAndComeBack(t *testing.T) {
	up(t, "--nodes", "2")
	node := ask(t).Topology.Node(2)
	reachable := func() bool { return dial(node.Address.String(), "10250") == nil }
	require.Eventually(t, reachable, eventually, tick, "the kubelet of %s", node.Name)
	for _, c := range []struct{ away, back string }{{"disconnect", "connect"}, {"crash", "start"}} {
		before := ask(t).Machines[2].PID
		left := leaveGroups(t, node.Name)
		out, err := localkube(checkout, "node", c.away, node.Name)
		require.NoError(t, err, out)
		require.False(t, reachable(), c.away)
		status, err := localkube(checkout, "status")
		require.NoError(t, err, status)
		require.Contains(t, status, c.away+"ed")
		// Nobody brings it back by itself.
		time.Sleep(3 * time.Second)
		require.False(t, reachable(), c.away)
		out, err = localkube(checkout, "node", c.back, node.Name)
		require.NoError(t, err, out)
		require.Eventually(t, reachable, eventually, tick, c.back)
		require.Equal(t, c.away == "disconnect", ask(t).Machines[2].PID == before)
		for _, group := range left {
			if c.away == "disconnect" {
				require.NoError(t, os.Remove(group))
			}
			require.NoDirExists(t, group, "a machine that starts has no groups of containers that ran before")
		}
	}
	out, err := localkube(checkout, "node", "crash", "node-3")
	require.Error(t, err)
	require.Contains(t, out, `node "node-3": expected one of node-1, node-2`)
	out, err = localkube(checkout, "node", "crash", node.Name)
	require.NoError(t, err, out)
	up(t, "--nodes", "2")
	require.Eventually(t, reachable, eventually, tick, "up brings back what was away")
	up(t, "--nodes", "1")
}
