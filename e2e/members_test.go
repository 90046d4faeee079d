package e2e

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stateful-postgres/internal/contract"
	"stateful-postgres/internal/site"
)

// members is a stack with highAvailability, and a client that writes all the time.
type members struct {
	*fixture
	site *site.Site
	// struck is when the last fault came, or the client began.
	struck time.Time
}

// setupMembers makes a stack of some servers, each on a node of its own. Its tests
// need nodes for three of them.
func setupMembers(t *testing.T, subject string, replicas int) *members {
	t.Helper()
	return openMembers(t, setupFor(t, subject, 2*testTimeout), replicas)
}

func openMembers(t *testing.T, f *fixture, replicas int) *members {
	t.Helper()
	f.needsNodes(3)
	f.ok(f.Set(f.ctx, "highAvailability", "true"))
	f.ok(f.Set(f.ctx, "separateNodes", "true"))
	f.up(1)
	if replicas > 1 {
		f.up(replicas)
	}
	site, err := site.Open(f.ctx, f.Stack, replicas)
	require.NoError(t, err)
	t.Cleanup(site.Writer.Halt)
	m := &members{fixture: f, site: site, struck: time.Now()}
	m.progress()
	return m
}

// longestPause is the longest time without an acknowledged write since the last
// call.
func (m *members) longestPause() time.Duration {
	pause := m.site.Writer.LongestPause(m.struck)
	m.struck = time.Now()
	return pause.Round(100 * time.Millisecond)
}

// progress waits until the client has written more.
func (m *members) progress() {
	m.t.Helper()
	require.NoError(m.t, m.site.UntilWritten(m.ctx, 20))
}

// primary is the pod that takes the writes.
func (m *members) primary() string {
	m.t.Helper()
	primary, err := m.site.Primary(m.ctx)
	require.NoError(m.t, err)
	return primary
}

// query asks the primary, with psql alone.
func (m *members) query(statement string) string {
	m.t.Helper()
	answer, err := m.site.Query(m.ctx, statement)
	require.NoError(m.t, err)
	return answer
}

// requireEverything compares what was acknowledged, also these rows besides, with
// what psql sees.
func (m *members) requireEverything(besides ...int64) {
	m.t.Helper()
	lost, of, err := m.site.Lost(m.ctx, besides...)
	require.NoError(m.t, err)
	require.Empty(m.t, lost, "of %d acknowledged rows these are lost", of)
	require.NotZero(m.t, of)
}

// leader is the server that takes the writes, or took them last.
func (m *members) leader() string {
	m.t.Helper()
	return m.kubectl("get", "configmap", contract.MembersSync, "--output=jsonpath={.metadata.annotations."+contract.MembersLeaderKey+"}")
}

// trusted are the servers besides the primary that have every acknowledged write.
func (m *members) trusted() []string {
	m.t.Helper()
	trusted, err := m.site.Trusted(m.ctx)
	require.NoError(m.t, err)
	return trusted
}

// settled waits until as many servers follow the primary as there should, and one
// of them has every write.
func (m *members) settled(replicas int) {
	m.t.Helper()
	m.site.Replicas = replicas
	require.NoError(m.t, m.site.UntilSettled(m.ctx))
}

// handOver moves the writes to a pod.
func (m *members) handOver(to string) {
	m.t.Helper()
	require.NoError(m.t, m.site.MakePrimary(m.ctx, to))
}

// transition is from a number of servers, with the primary in one of the pods, to
// another number.
type transition struct{ from, primary, to int }

// transitions are all between 0 and 3, in an order in which each begins where the
// one before has ended. Where servers stop, the first one takes the writes.
var transitions = []transition{
	{1, 0, 2}, {2, 0, 3}, {3, 0, 2}, {2, 1, 3}, {3, 1, 2}, {2, 0, 1}, {1, 0, 3}, {3, 2, 2}, {2, 1, 1}, {1, 0, 2}, {2, 0, 0},
	{0, 0, 2}, {2, 1, 0}, {0, 0, 3}, {3, 0, 1}, {1, 0, 3}, {3, 1, 1}, {1, 0, 3}, {3, 2, 1}, {1, 0, 0}, {0, 0, 3}, {3, 0, 0},
	{0, 0, 3}, {3, 1, 0}, {0, 0, 3}, {3, 2, 0}, {0, 0, 1},
}

// someTransitions are one of each kind, for a run that has not the time for all.
var someTransitions = []transition{{1, 0, 3}, {3, 0, 2}, {2, 1, 3}, {3, 2, 1}, {1, 0, 0}, {0, 0, 3}, {3, 1, 0}, {0, 0, 1}}

var everyTransition = flag.Bool("every-transition", false, "go through all transitions between 0 and 3 servers in TestMembersGrowAndShrinkUnderLoad, instead of one of each kind")

func TestMembersGrowAndShrinkUnderLoad(t *testing.T) {
	t.Parallel()
	for from := range 4 {
		for primary := range max(from, 1) {
			for to := range 4 {
				if to != from {
					require.Contains(t, transitions, transition{from, primary, to})
				}
			}
		}
	}
	m := openMembers(t, setupFor(t, "scale", 3*testTimeout), 1)
	steps := someTransitions
	if *everyTransition {
		steps = transitions
	}
	for i, step := range steps {
		if i > 0 {
			require.Equal(t, steps[i-1].to, step.from)
		}
		if step.from > 1 {
			m.settled(step.from)
			m.handOver(contract.PodName(step.primary))
			m.settled(step.from)
			m.progress()
		}
		m.longestPause()
		m.up(step.to)
		switch {
		case step.to == 0:
			require.Equal(t, pod, m.leader())
			m.verify(proven)
			continue
		case step.to < step.from:
			require.Equal(t, pod, m.primary())
		}
		m.progress()
		pause := m.longestPause()
		m.requireEverything()
		m.verify(proven)
		t.Logf("%+v: %s without an acknowledged write", step, pause)
	}
	m.ok(m.Up(m.ctx, "--expect-no-changes"))
}

// Without Pulumi, nobody but the pods themselves sees to it that the writes go to one
// that stays.
func TestMembersAreScaledByHand(t *testing.T) {
	t.Parallel()
	m := openMembers(t, setupFor(t, "byhand", 2*testTimeout), 3)
	last := contract.PodName(2)
	scale := func(replicas int) {
		m.settled(3)
		m.handOver(last)
		m.settled(3)
		m.progress()
		m.kubectl("scale", "statefulset", contract.StatefulSet, fmt.Sprintf("--replicas=%d", replicas))
		m.kubectl("wait", "pod/"+last, "--for=delete", "--timeout=2m")
	}
	m.longestPause()
	scale(1)
	require.Equal(t, pod, m.primary())
	m.requireEverything()
	// Strict, because nobody told Patroni that one is enough: the writes wait.
	m.up(3)
	m.progress()
	m.requireEverything()

	scale(0)
	m.kubectl("wait", "pods", "--selector="+contract.LabelMembers, "--for=delete", "--timeout=2m")
	require.Equal(t, last, m.leader())
	// As if no other one had had everything at the end.
	m.kubectl("annotate", "configmap", contract.MembersSync, contract.MembersStandbysKey+"-")
	m.ok(m.Set(m.ctx, "replicas", "2"))
	m.refused(`replicas: got "2", expected at least 3, because of the servers that were stopped only postgres-2 has every acknowledged write; ` +
		`set it with: pulumi config set replicas 3`)
	// Somebody else has the volume of the only one that has everything.
	m.holdVolume(2)
	m.ok(m.Set(m.ctx, "replicas", "3"))
	m.upUntil("no server takes the writes: only postgres-2 has every acknowledged one (ConfigMap postgres-ha-sync)")
	m.letGo()
	m.upAfterKill()
	m.progress()
	m.requireEverything()
	m.verify(proven)
}

func TestMembersCopyWhatTheyLost(t *testing.T) {
	t.Parallel()
	m := setupMembers(t, "copy", 3)
	m.settled(3)
	standby := contract.PodName(2)
	if m.primary() == standby {
		standby = contract.PodName(1)
	}
	claim := strings.Replace(standby, contract.StatefulSet, contract.ClaimTemplate+"-"+contract.StatefulSet, 1)
	copies := func() {
		m.kubectl("delete", "pod", standby)
		m.eventually("a new pod", 4*time.Minute, func() (string, bool) {
			seen := m.Kubectl(m.ctx, "wait", "pod", standby, "--for=condition=Ready", "--timeout=10s")
			return seen.String(), seen.OK()
		})
		m.settled(3)
		m.requireEverything()
	}
	m.kubectl("delete", "pvc", claim, "--wait=false")
	copies()

	// Everything is taken from the volume of a server that runs, also what says that it is a member's, and Patroni
	// copies by itself. It is a member's again, and its pod starts with it.
	m.kubectl("exec", standby, "--", "sh", "-c", `read -r server <"$PGDATA/postmaster.pid"
		for attempt in 1 2 3 4 5; do find "${PGDATA%/*}" -mindepth 1 -delete && break; done
		kill -KILL "$server" || echo "the server ended by itself"`)
	m.eventually("a copy", 2*time.Minute, func() (string, bool) {
		seen := m.Kubectl(m.ctx, "exec", standby, "--", "sh", "-c", `[ -s "$PGDATA/PG_VERSION" ] && exit
			ls -A "$PGDATA" && rm -f "$PGDATA/standby.signal"; exit 1`)
		return seen.String(), seen.OK()
	})
	m.settled(3)
	copies()

	// A server that runs goes on for a while with the files that it has open. Patroni copies into a folder that is
	// empty. Where it was about to restart the server it leaves a file there, and copies nothing.
	// The server may end by itself meanwhile, at the first file that it misses.
	m.kubectl("exec", standby, "--", "sh", "-c", `read -r server <"$PGDATA/postmaster.pid"
		for attempt in 1 2 3 4 5; do find "$PGDATA" -mindepth 1 -delete && : >"$PGDATA/standby.signal" && break; done
		kill -KILL "$server" || echo "the server ended by itself"
		[ "$(ls -A "$PGDATA")" = standby.signal ]`)
	m.eventually("the probe's word", 2*time.Minute, func() (string, bool) {
		events := m.Kubectl(m.ctx, "get", "events", "--field-selector=involvedObject.name="+standby, "--output=jsonpath={.items[*].message}")
		return events.String(), strings.Contains(events.Stdout, "the server's files are gone from its volume; delete the pod, and it copies the primary's")
	})
	copies()
}

// A node that lost power gives its pods other addresses. Until Patroni has started, a pod tells the old one, at
// which somebody else may answer.
func TestMembersStartWhoseOldAddressBelongsToAnother(t *testing.T) {
	t.Parallel()
	m := setupMembers(t, "address", 2)
	m.settled(2)
	primary, standby := m.primary(), contract.PodName(1)
	if primary == standby {
		standby = contract.PodName(0)
	}
	patroni := func(signal string) {
		m.kubectl("exec", standby, "--", "sh", "-c", `for p in /proc/[0-9]*; do
			p=${p#/proc/}
			[ "$p" = 1 ] || ! grep -q "[p]atroni" "/proc/$p/cmdline" || kill -`+signal+` "$p"
		done; true`)
	}
	restarts := func() string {
		return m.kubectl("get", "pod", standby, "--output=jsonpath={.status.containerStatuses[0].restartCount}")
	}
	require.Equal(t, "0", restarts())
	// It tells nothing by itself any more.
	patroni("STOP")
	address := m.kubectl("get", "pod", primary, "--output=jsonpath={.status.podIP}")
	m.kubectl("annotate", "pod", standby, "--overwrite", fmt.Sprintf(`status={"api_url":"http://%s:8008/patroni"}`, address))
	patroni("KILL")
	m.eventually("a restart", time.Minute, func() (string, bool) { seen := restarts(); return seen, seen != "0" })
	m.settled(2)
	require.NoError(t, m.site.UntilReady(m.ctx))
	require.Equal(t, "1", restarts())
	m.requireEverything()
}

// Patroni compares a standby with a new primary once, by what it has replayed. One that replays the rest later
// asks for the log of a timeline that has ended, and is told so, for good.
func TestMembersThatWereAheadFollowTheNewPrimary(t *testing.T) {
	t.Parallel()
	m := setupMembers(t, "ahead", 3)
	m.settled(3)
	primary, next := m.primary(), m.trusted()[0]
	pods := slices.DeleteFunc(m.site.Pods(), func(pod string) bool { return pod == primary || pod == next })
	require.Len(t, pods, 1)
	ahead := pods[0]
	process := func(pod, kind string) string {
		pid, err := m.site.Psql(m.ctx, pod, "select pid from pg_stat_activity where backend_type = '"+kind+"'")
		require.NoError(t, err)
		return pid
	}
	replay, receiver := process(ahead, "startup"), process(next, "walreceiver")
	m.kubectl("exec", ahead, "--", "sh", "-c", "kill -STOP "+replay)
	m.kubectl("exec", next, "--", "sh", "-c", "kill -STOP "+receiver)
	m.eventually("a write that only one has", time.Minute, func() (string, bool) {
		seen, err := m.site.Psql(m.ctx, primary, "select max(flush_lsn) > min(flush_lsn) from pg_stat_replication")
		return fmt.Sprint(seen, err), seen == "t"
	})

	// The primary sends nothing more, and does not come back before another one took the writes.
	m.kubectl("exec", primary, "--", "sh", "-c", "kill -STOP -1")
	free := m.needsNodes(3)
	for _, pod := range []string{ahead, next} {
		node, err := m.site.Node(m.ctx, pod)
		require.NoError(t, err)
		free = slices.DeleteFunc(free, func(name string) bool { return name == node })
	}
	t.Cleanup(func() { m.Kubectl(context.Background(), append([]string{"uncordon"}, free...)...) })
	m.kubectl(append([]string{"cordon"}, free...)...)
	m.kubectl("delete", "pod", primary, "--grace-period=0", "--force")
	m.kubectl("exec", next, "--", "sh", "-c", "kill "+receiver+"; kill -CONT "+receiver)
	m.eventually("another primary", 2*time.Minute, func() (string, bool) {
		seen, err := m.site.SeenPrimary(m.ctx)
		return fmt.Sprint(seen, err), seen == next
	})
	m.eventually("Patroni to compare", time.Minute, func() (string, bool) {
		log := m.Kubectl(m.ctx, "logs", ahead, "--since=1m").Stdout
		return "no word of it in the log", strings.Contains(log, "primary: history=")
	})
	m.kubectl("exec", ahead, "--", "sh", "-c", "kill -CONT "+replay)
	m.kubectl(append([]string{"uncordon"}, free...)...)
	m.settled(3)
	m.requireEverything()
	m.verify(proven)
}

func TestMembersAreSwitchedOnAndOff(t *testing.T) {
	t.Parallel()
	m := setupMembers(t, "switch", 3)
	m.settled(3)
	// It goes with highAvailability only.
	m.ok(m.Unset(m.ctx, "separateNodes"))
	m.ok(m.Set(m.ctx, "highAvailability", "false"))
	m.refused(`replicas: got "3", expected 0 (stopped, data kept) or 1, because more servers need highAvailability; ` +
		`set it with: pulumi config set replicas 1, or have them follow each other with: pulumi config set highAvailability true`)
	m.ok(m.Set(m.ctx, "replicas", "1"))
	require.Contains(t, m.Preview(m.ctx).Output, "highAvailability: got \"false\", expected true, because it can be switched off only when postgres-0 alone takes the writes")
	m.ok(m.Set(m.ctx, "highAvailability", "true"))
	m.up(1)
	m.ok(m.Set(m.ctx, "highAvailability", "false"))
	m.up(1)
	m.progress()
	require.Empty(t, m.sql("select slot_name from pg_replication_slots"), "a slot that nobody uses fills the volume")
	m.verify(proven)
	// What the others have is from before.
	m.ok(m.Set(m.ctx, "highAvailability", "true"))
	m.ok(m.Set(m.ctx, "replicas", "3"))
	m.refused(`replicas: got "3", expected 1 when highAvailability is switched on, because only postgres-0 has the rows; ` +
		`set it with: pulumi config set replicas 1, run pulumi up, and then set more`)
	m.up(1)
	m.up(3)
	m.settled(3)
	m.requireEverything()
	m.verify(proven)
}

func TestMembersTrustNobodyWithoutTheSyncKey(t *testing.T) {
	t.Parallel()
	m := setupMembers(t, "sync", 2)
	m.settled(2)
	m.up(0)
	m.kubectl("annotate", "configmap", contract.MembersSync, "leader-", "sync_standby-")
	m.ok(m.Set(m.ctx, "replicas", "2"))
	m.upUntil("ConfigMap postgres-ha-sync does not say who has every acknowledged write",
		"kubectl -n "+m.Namespace+" annotate --overwrite configmap postgres-ha-sync leader=postgres-N")
	m.kubectl("annotate", "configmap", contract.MembersSync, "leader=postgres-0")
	m.upAfterKill()
	m.progress()
	m.requireEverything()
}

func TestImageWithoutPatroniIsRefused(t *testing.T) {
	t.Parallel()
	f := setup(t, "nopatroni")
	f.ok(f.Set(f.ctx, "image", "localhost/postgres:15"))
	f.up(1)
	before := f.server()
	f.ok(f.Set(f.ctx, "highAvailability", "true"))
	result := f.Up(f.ctx)
	require.False(t, result.OK())
	require.Contains(t, result.Output, "check: the image has no program patroni, which highAvailability needs, and the server was left as it is.")
	require.Equal(t, before, f.server())
}
