package e2e

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// forcedDeletions is how often a pod is deleted by force, half of them while its
// checkpointer stands still.
var forcedDeletions = flag.Int("forced-deletions", 4, "how often TestForcedDeletionLosesNothing deletes a pod by force")

// accounts is how many rows are updated, and not checkpointed, before each.
const accounts = 600_000

// standstill is how long the old server's checkpointer stands still, as on a disk
// that stalls.
const standstill = 10 * time.Second

// TestForcedDeletionLosesNothing deletes a pod by force under load. The API
// server forgets the pod at once, and its server goes on for seconds while the
// next pod starts on the same volume. What psql was told is all that counts.
func TestForcedDeletionLosesNothing(t *testing.T) {
	t.Parallel()
	f := setup(t, "force")
	f.dirty()
	f.up(1)
	f.sql(fmt.Sprintf("create table account as select id, 0 as balance from generate_series(1, %d) id", accounts))
	f.sql("create table written (id int)")

	var acknowledged []string
	for round := 1; round <= *forcedDeletions; round++ {
		acknowledged = append(acknowledged, f.forceDeletion(round, round%2 == 0)...)
		require.Equal(t, fmt.Sprintf("%d %d", accounts, accounts*round), f.sql("select count(*) || ' ' || sum(balance) from account"))
		f.requireWritten(acknowledged)
	}
	t.Logf("%d forced deletions, %d acknowledged rows, all there", *forcedDeletions, len(acknowledged))
}

// TestForcedDeletionOnAnotherNode is the same on a volume that two nodes can
// write to, with the next pod on the other node.
func TestForcedDeletionOnAnotherNode(t *testing.T) {
	t.Parallel()
	f := setup(t, "nodes")
	nodes := f.needsNodes(2)
	label := "example.com/" + f.Name
	place := func(node, value string) { f.ok(f.Run(f.ctx, "kubectl", "label", "node", node, label+value)) }
	t.Cleanup(func() {
		for _, node := range nodes[:2] {
			if err := exec.Command("kubectl", "label", "node", node, label+"-").Run(); err != nil {
				t.Errorf("removing label %s of node %s: %v", label, node, err)
			}
		}
	})
	f.dirty()
	f.ok(f.SetPath(f.ctx, "accessModes[0]", "ReadWriteMany"))
	f.ok(f.SetPath(f.ctx, fmt.Sprintf("nodeSelector[%q]", label), "here"))
	place(nodes[0], "=here")
	f.up(1)
	f.sql(fmt.Sprintf("create table account as select id, 0 as balance from generate_series(1, %d) id", accounts))
	f.sql("create table written (id int)")
	node := func() string { return f.kubectl("get", "pod", pod, "--output=jsonpath={.spec.nodeName}") }
	require.Equal(t, nodes[0], node())

	// A label that goes leaves the pod where it is.
	place(nodes[0], "-")
	place(nodes[1], "=here")
	acknowledged := f.forceDeletion(1, true)
	require.Equal(t, nodes[1], node())
	require.Equal(t, fmt.Sprintf("%d %d", accounts, accounts), f.sql("select count(*) || ' ' || sum(balance) from account"))
	f.requireWritten(acknowledged)
}

// dirty lets what is written stay unwritten until a checkpoint is asked for.
func (f *fixture) dirty() {
	f.t.Helper()
	f.ok(f.Set(f.ctx, "storage", "4Gi"))
	for name, value := range map[string]string{
		"shared_buffers": "256MB", "checkpoint_timeout": "1h", "max_wal_size": "4GB", "bgwriter_lru_maxpages": "0",
	} {
		f.ok(f.SetPath(f.ctx, "parameters."+name, value))
	}
}

// forceDeletion updates all accounts, lets a client write rows, deletes the pod
// by force, and returns the numbers of the rows that the client was told of.
func (f *fixture) forceDeletion(round int, standsStill bool) (acknowledged []string) {
	f.t.Helper()
	before := f.kubectl("get", "pod", pod, "--output=jsonpath={.metadata.uid}")
	f.sql("update account set balance = balance + 1")
	// psql prints the number when the server has said that it is committed.
	writer := f.Command(f.ctx, "kubectl", "--namespace", f.Namespace, "exec", pod, "--", "sh", "-c",
		`i=$0; while i=$((i + 1)); do echo "insert into written values ($i) returning id;"; done |
			psql --no-psqlrc --quiet --tuples-only --no-align --username="$POSTGRES_USER" --dbname="$POSTGRES_DB"`,
		fmt.Sprint(round*10_000_000))
	var told bytes.Buffer
	writer.Stdout = &told
	require.NoError(f.t, writer.Start())
	f.eventually("the client to write", 3*time.Minute, func() (string, bool) {
		seen := f.sql(fmt.Sprintf("select count(*) > 100 from written where id > %d", round*10_000_000))
		return seen, seen == "t"
	})
	if standsStill {
		checkpointer := f.sql("select pid from pg_stat_activity where backend_type = 'checkpointer'")
		still := f.Command(f.ctx, "kubectl", "--namespace", f.Namespace, "exec", pod, "--", "sh", "-c",
			fmt.Sprintf("kill -STOP %[1]s && echo stopped && sleep %[2]d && kill -CONT %[1]s", checkpointer, standstill/time.Second))
		output, err := still.StdoutPipe()
		require.NoError(f.t, err)
		still.Stderr = still.Stdout
		require.NoError(f.t, still.Start())
		line, err := bufio.NewReader(output).ReadString('\n')
		require.NoError(f.t, err, "%s", line)
		require.Equal(f.t, "stopped\n", line)
		defer func() { _ = still.Wait() }()
	}
	f.kubectl("delete", "pod", pod, "--force", "--grace-period=0")
	// It ends when the old server does.
	_ = writer.Wait()

	f.eventually("the next pod to be ready", 4*time.Minute, func() (string, bool) {
		seen := f.Kubectl(f.ctx, "get", "pod", pod, `--output=jsonpath={.metadata.uid} {.status.conditions[?(@.type=="Ready")].status}`)
		uid, ready, _ := strings.Cut(seen.Stdout, " ")
		return seen.String(), seen.OK() && uid != before && ready == "True"
	})
	log := f.kubectl("logs", pod)
	waited := regexp.MustCompile(`start: waiting for the volume: pod postgres-0 \(uid ` + before + `\) on node \S+ since \S+ still lives on it`).MatchString(log)
	if standsStill {
		require.True(f.t, waited, "the next pod waited: %s", log)
	}
	f.t.Logf("round %d: %d rows acknowledged, the next pod waited: %t", round, len(strings.Fields(told.String())), waited)
	require.Equal(f.t, 0, f.restarts())
	require.NotContains(f.t, log, "PANIC")
	return strings.Fields(told.String())
}

// requireWritten requires that every row is there that a client was told of.
func (f *fixture) requireWritten(acknowledged []string) {
	f.t.Helper()
	require.NotEmpty(f.t, acknowledged)
	there := map[string]bool{}
	for _, id := range strings.Fields(f.sql("select id from written")) {
		there[id] = true
	}
	var lost []string
	for _, id := range acknowledged {
		if !there[id] {
			lost = append(lost, id)
		}
	}
	require.Empty(f.t, lost, "%d of %d acknowledged rows", len(lost), len(acknowledged))
}
