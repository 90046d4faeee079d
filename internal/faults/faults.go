package faults

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
)

// Fault is something that happens to servers.
type Fault struct {
	// Name is how it is chosen. Kind is the name without the role of the servers that it happens to; a
	// process is a process, whichever is killed, and so is a node, however many.
	Name, Kind string
	// Does says what happens, for a report.
	Does string
	// OfNodes says that it happens to nodes, with all that runs there. Only the local
	// cluster can do that.
	OfNodes bool
	// Total says that nobody takes writes until it is undone.
	Total bool
	// CutsOff says that a server goes on that no other one hears from.
	CutsOff bool
	// Lasts is how long it has to last at least until it is undone, for others to notice it.
	Lasts time.Duration
	// members is how many servers it needs that follow each other, nodes how many nodes. local says that
	// only the local cluster can do it, also where it happens to no node.
	members, nodes int
	local          bool
	// Strike lets it happen. What was struck is not nil also after an error when there
	// is something to undo.
	Strike func(context.Context, *Servers) (*Struck, error)
}

// Struck is what a fault happened to.
type Struck struct {
	// Victims are pods or nodes.
	Victims []string
	// Undo brings back what was taken away; nil when the cluster does that by itself.
	Undo func(context.Context) error
}

// act is a kind of fault, which may happen to servers of some roles.
type act struct {
	name string
	// kind is as in Fault where it is not the name.
	kind string
	// does says what happens to %s.
	does string
	// roles are those that it may happen to.
	roles []role
	// ofNodes, local, cutsOff, lasts, members and nodes are as in Fault. total is of a fault that happens to
	// whoever takes the writes.
	ofNodes, local, cutsOff, total bool
	lasts                          time.Duration
	members, nodes                 int
	strike                         func(ctx context.Context, s *Servers, pods []string) (*Struck, error)
}

// role says which servers a fault happens to.
type role struct {
	prefix, whose string
	members       int
	choose        func(ctx context.Context, s *Servers) ([]string, error)
}

var (
	anyone = role{"", "a server", 0, func(ctx context.Context, s *Servers) ([]string, error) {
		return []string{s.Pod(s.Random.IntN(s.Replicas))}, nil
	}}
	leader = role{"leader-", "the primary", 0, func(ctx context.Context, s *Servers) ([]string, error) {
		primary, err := s.Primary(ctx)
		return []string{primary}, err
	}}
	standby = role{"standby-", "a synchronous standby", 2, func(ctx context.Context, s *Servers) ([]string, error) {
		pod, err := s.standby(ctx)
		return []string{pod}, err
	}}
	// writes is whoever takes the writes, where only that one can be meant.
	writes   = role{"", "the primary", 0, leader.choose}
	everyone = role{"all-", "all servers", 2, func(_ context.Context, s *Servers) ([]string, error) { return s.Pods(), nil }}
)

// acts are all that happen to servers of a role.
var acts = []act{
	{name: "pod-delete", does: "the pod of %s is deleted", roles: []role{anyone, leader, standby, everyone}, strike: deletePods},
	{name: "pod-kill", does: "the pod of %s is deleted by force", roles: []role{anyone, leader, standby, everyone}, strike: forcePods},
	{name: "evict", does: "the pod of %s is evicted", roles: []role{anyone, leader, standby}, strike: evict},
	{name: "process-kill", does: "the postmaster of %s is killed", roles: []role{anyone, leader, standby, everyone}, strike: killPostmasters},
	{name: "backend-kill", kind: "process-kill", does: "SIGKILL of a backend of %s", roles: []role{writes}, strike: killBackend},
	{name: "patroni-kill", kind: "process-kill", does: "SIGKILL of Patroni of %s", roles: []role{leader, standby}, members: 2, strike: killPatroni},
	{name: "drain", does: "the node of %s is drained", roles: []role{anyone, leader, standby}, nodes: 2, strike: drain},
	{name: "claim-empty", does: "the volume of %s is emptied, and its pod deleted", roles: []role{standby}, members: 2, strike: emptyClaim},
	{name: "disk-full", does: "the volume of %s is full, until somebody makes room", roles: []role{anyone, leader, standby}, total: true, strike: fillDisk},
	{name: "slow-disk", does: "the disk of %s stands still for most of each half second", roles: []role{anyone, leader, standby}, local: true, lasts: diskIsSlow, strike: slowDisk},
	{name: "node-kill", does: "the node of %s loses power, and comes back", roles: []role{anyone, leader, standby}, ofNodes: true, lasts: nodeAway, strike: onNodes("crash", "start")},
	{name: "partition", does: "the node of %s is cut off from everybody, and connected again", roles: []role{anyone, leader, standby}, ofNodes: true, cutsOff: true, lasts: nodeAway, strike: onNodes("disconnect", "connect")},
	{name: "kubelet-stop", does: "the kubelet of the node of %s stands still, and goes on", roles: []role{anyone, leader, standby}, ofNodes: true, lasts: kubeletStops, strike: stopKubelet},
}

const (
	// nodeAway is longer than the others wait for a primary that they do not hear from (20 s, Patroni's ttl).
	nodeAway = 25 * time.Second
	// diskIsSlow is longer than Patroni leaves between two looks at its server (10 s, loop_wait).
	diskIsSlow = 15 * time.Second
	// kubeletStops is longer than Kubernetes waits for a node (40 s, node-monitor-grace-period).
	kubeletStops = time.Minute
	// apiServerStops is longer than the primary may go without renewing its lock (20 s, Patroni's ttl), and
	// shorter than Kubernetes waits for nodes (40 s, node-monitor-grace-period): all of them would be given
	// up at once, which is another fault.
	apiServerStops = 30 * time.Second
)

// orders are those in which three nodes come back.
var orders = [][]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}}

// APIServerStop is the fault that every stack of a cluster meets at once.
const APIServerStop = "apiserver-stop"

// All are all faults that servers of any stack can meet, but for those that need Pulumi.
func All() []Fault {
	var all []Fault
	for _, a := range acts {
		for _, r := range a.roles {
			all = append(all, Fault{
				Name: r.prefix + a.name, Kind: cmp.Or(a.kind, a.name), Does: fmt.Sprintf(a.does, r.whose),
				OfNodes: a.ofNodes, CutsOff: a.cutsOff, Lasts: a.lasts, Total: a.total && r.prefix != standby.prefix,
				members: max(a.members, r.members), nodes: a.nodes, local: a.local,
				Strike: func(ctx context.Context, s *Servers) (*Struck, error) {
					pods, err := r.choose(ctx, s)
					if err != nil {
						return nil, err
					}
					return a.strike(ctx, s, pods)
				},
			})
		}
	}
	all = append(all,
		Fault{Name: "switchover", Kind: "switchover", Does: "the primary hands over, as before an update", members: 2, Strike: switchover},
		Fault{Name: "restart", Kind: "restart", Does: "one pod after the other is restarted (kubectl rollout restart)", Strike: restart},
		Fault{Name: APIServerStop, Kind: APIServerStop, Does: "the API server stands still, and goes on", OfNodes: true, Lasts: apiServerStops, Strike: stopAPIServer},
	)
	for _, order := range orders {
		all = append(all, allNodes(order))
	}
	return all
}

// Possible says why a fault cannot happen to these servers, on a cluster with so many
// nodes; "" when it can.
func (f Fault) Possible(s *Servers, nodes int) string {
	switch {
	case f.members > 1 && (!s.HighAvailability || s.Replicas < f.members):
		return fmt.Sprintf("it needs %d servers with highAvailability", f.members)
	case (f.OfNodes || f.local) && s.Localkube == nil:
		return "it needs the local cluster, whose nodes are its own"
	case nodes < f.nodes:
		return fmt.Sprintf("it needs %d nodes", f.nodes)
	}
	return ""
}

func deletePods(ctx context.Context, s *Servers, pods []string) (*Struck, error) {
	before, err := s.uids(ctx, pods...)
	if err != nil {
		return nil, err
	}
	return &Struck{Victims: pods}, s.delete(ctx, before)
}

// delete deletes the pods with these UIDs, by name, and waits until they are gone. kubectl itself may wait for ever when several pods
// of a StatefulSet are deleted at once, because it looks for one by its name, and finds the next one
// (kubernetes/kubernetes#135562).
func (s *Servers) delete(ctx context.Context, uids map[string]string) error {
	if _, err := s.Output(ctx, append([]string{"delete", "pods", "--wait=false"}, slices.Sorted(maps.Keys(uids))...)...); err != nil {
		return err
	}
	return s.untilGone(ctx, uids)
}

// forcePods deletes pods without waiting for their servers, which live on for a moment,
// and waits until others have taken their places.
func forcePods(ctx context.Context, s *Servers, pods []string) (*Struck, error) {
	before, err := s.uids(ctx, pods...)
	if err == nil {
		_, err = s.Output(ctx, append([]string{"delete", "pods", "--force", "--grace-period=0", "--wait=false"}, pods...)...)
	}
	if err == nil {
		err = s.untilReady(ctx, before, pods...)
	}
	return &Struck{Victims: pods}, err
}

// evict asks as a drain does.
func evict(ctx context.Context, s *Servers, pods []string) (*Struck, error) {
	before, err := s.uids(ctx, pods...)
	if err != nil {
		return nil, err
	}
	if err := s.evict(ctx, pods[0]); err != nil {
		return nil, err
	}
	return &Struck{Victims: pods}, s.untilReady(ctx, before, pods...)
}

// evict evicts a pod. A budget for disruptions may have it wait.
func (s *Servers) evict(ctx context.Context, pod string) error {
	eviction, err := json.Marshal(map[string]any{
		"apiVersion": "policy/v1", "kind": "Eviction", "metadata": map[string]any{"name": pod, "namespace": s.Namespace},
	})
	if err != nil {
		return err
	}
	return Until(ctx, "pod "+pod+" to be evicted", settleTimeout, func(ctx context.Context) (string, bool) {
		_, err := s.kubectl(ctx, string(eviction), "create", "--raw=/api/v1/namespaces/"+s.Namespace+"/pods/"+pod+"/eviction", "--filename=-")
		return fmt.Sprint(err), err == nil
	})
}

// killPostmaster kills the process that all others of a server are children of. Nobody in a container can
// kill its process 1, which is told to end at once, without a checkpoint.
const killPostmaster = `pid=$(head -n 1 "$PGDATA/postmaster.pid") && if [ "$pid" = 1 ]; then kill -QUIT 1; else kill -KILL "$pid"; fi`

// killPostmasters kills the postmasters of servers, all at once.
func killPostmasters(ctx context.Context, s *Servers, pods []string) (*Struck, error) {
	errs := make([]error, len(pods))
	var group sync.WaitGroup
	for i, pod := range pods {
		group.Go(func() { errs[i] = killIn(ctx, s, pod, killPostmaster) })
	}
	group.Wait()
	return &Struck{Victims: pods}, errors.Join(errs...)
}

// killIn runs a command that may end the container that it runs in, and kubectl's session with it.
func killIn(ctx context.Context, s *Servers, pod, command string) error {
	const begun = "begun"
	said, err := s.InPod(ctx, pod, "echo "+begun+"; { "+command+"; } || echo failed")
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case said == begun:
		return nil
	case err == nil:
		err = fmt.Errorf("pod %s: %s: %s", pod, command, said)
	}
	return err
}

// killBackend kills the process of a client's session: the server ends all others, and recovers.
func killBackend(ctx context.Context, s *Servers, pods []string) (*Struck, error) {
	pid, err := s.Psql(ctx, pods[0], "select pid from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid() order by state = 'active' desc, random() limit 1")
	if err != nil {
		return nil, err
	}
	if _, err := strconv.Atoi(pid); err != nil {
		return nil, fmt.Errorf("pod %s: no client is connected whose process could be killed", pods[0])
	}
	return &Struck{Victims: pods}, killIn(ctx, s, pods[0], "kill -KILL "+pid)
}

// killPatroni kills the process that looks after the server; process 1 only passes
// signals on to it. With it the container ends.
func killPatroni(ctx context.Context, s *Servers, pods []string) (*Struck, error) {
	const kill = `for p in /proc/[0-9]*; do p=${p#/proc/}; [ "$p" = 1 ] || ! grep -q patroni "/proc/$p/cmdline" || kill -KILL "$p"; done; true`
	return &Struck{Victims: pods}, killIn(ctx, s, pods[0], kill)
}

// drain takes the servers from a node as kubectl drain does, and nobody else: that would take the pods of
// other namespaces, too.
func drain(ctx context.Context, s *Servers, pods []string) (*Struck, error) {
	node, err := s.Node(ctx, pods[0])
	if err != nil {
		return nil, err
	}
	before, err := s.uids(ctx, pods...)
	if err != nil {
		return nil, err
	}
	struck := &Struck{Victims: []string{node}, Undo: func(ctx context.Context) error {
		if _, err := s.Output(ctx, "uncordon", node); err != nil {
			return err
		}
		return s.untilReady(ctx, before, pods...)
	}}
	if _, err := s.Output(ctx, "cordon", node); err != nil {
		return struck, err
	}
	for _, pod := range s.Pods() {
		on, err := s.Node(ctx, pod)
		if err == nil && on == node {
			err = s.evict(ctx, pod)
		}
		if err != nil {
			return struck, err
		}
	}
	return struck, nil
}

// emptyVolume takes everything away, what the server writes meanwhile, too.
const emptyVolume = `for attempt in 1 2 3 4 5 6 7 8 9 10; do find "${PGDATA%/*}" -mindepth 1 -delete && break; done`

// emptyClaim takes everything from the volume of a standby, as a new disk in its
// place would. A server without its files is no fault that is left behind: its pod
// is deleted in any case.
func emptyClaim(ctx context.Context, s *Servers, pods []string) (*Struck, error) {
	before, err := s.uids(ctx, pods...)
	if err != nil {
		return nil, err
	}
	_, err = s.InPod(ctx, pods[0], emptyVolume)
	return &Struck{Victims: pods}, errors.Join(err, s.delete(ctx, before))
}

const (
	sizeOfVolume = `df --output=size --block-size=1 "${PGDATA%/*}" | tail -n 1`
	fillVolume   = `cat /dev/zero >"${PGDATA%/*}/filler"`
	makeRoom     = `rm -f "${PGDATA%/*}/filler"`
	// ownShare is how many times its claim a volume with a file system of its own may have.
	ownShare = 2
)

// fillDisk fills a volume that has a file system of its own.
func fillDisk(ctx context.Context, s *Servers, pods []string) (*Struck, error) {
	claim, err := s.claim(ctx, pods[0])
	if err != nil {
		return nil, err
	}
	asked, err := s.Output(ctx, "get", "pvc", claim, "--output=jsonpath={.status.capacity.storage}")
	if err != nil {
		return nil, err
	}
	capacity, err := resource.ParseQuantity(asked)
	if err != nil {
		return nil, fmt.Errorf("claim %s: %w", claim, err)
	}
	printed, err := s.InPod(ctx, pods[0], sizeOfVolume)
	if err != nil {
		return nil, err
	}
	size, err := strconv.ParseInt(printed, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("size of the volume of %s: %w", pods[0], err)
	}
	if size > ownShare*capacity.Value() {
		return nil, fmt.Errorf("the volume of %s has no file system of its own (%d bytes, claimed %s): to fill it would fill the disk of a node", pods[0], size, asked)
	}
	struck := &Struck{Victims: pods, Undo: func(ctx context.Context) error {
		return Until(ctx, "room on the volume of "+pods[0], settleTimeout, func(ctx context.Context) (string, bool) {
			_, err := s.InPod(ctx, pods[0], makeRoom)
			return fmt.Sprint(err), err == nil
		})
	}}
	// It fails when there is no room left.
	said, err := s.InPod(ctx, pods[0], fillVolume)
	if err == nil {
		err = fmt.Errorf("pod %s: its volume has no end: %s", pods[0], said)
	} else if ctx.Err() == nil {
		err = nil
	}
	return struck, err
}

// slowDisk makes the volume of a server slow that has a disk of its own.
func slowDisk(ctx context.Context, s *Servers, pods []string) (*Struck, error) {
	node, err := s.Node(ctx, pods[0])
	if err != nil {
		return nil, err
	}
	claim, err := s.claim(ctx, pods[0])
	if err != nil {
		return nil, err
	}
	volume, err := s.Output(ctx, "get", "pvc", claim, "--output=jsonpath={.spec.volumeName}")
	if err != nil {
		return nil, err
	}
	return &Struck{Victims: pods, Undo: func(ctx context.Context) error { return s.localkube(ctx, "volume", "fast", node, volume) }},
		s.localkube(ctx, "volume", "slow", node, volume)
}

// onNode tells the local cluster what happens to a node. One that comes back is waited for.
func (s *Servers) onNode(ctx context.Context, does, node string) error {
	arguments := []string{"node", does, node}
	if err := s.localkube(ctx, arguments...); err != nil || TakesAway(arguments) {
		return err
	}
	return s.untilNodeIsReady(ctx, node)
}

func (s *Servers) localkube(ctx context.Context, arguments ...string) error {
	if s.Localkube == nil {
		return errors.New("only the local cluster can do that: its nodes are its own")
	}
	return s.Localkube(ctx, arguments...)
}

func (s *Servers) untilNodeIsReady(ctx context.Context, node string) error {
	return Until(ctx, node+" to be Ready", settleTimeout, func(ctx context.Context) (string, bool) {
		seen, err := s.Output(ctx, "wait", "node", node, "--for=condition=Ready", "--timeout=5s")
		return fmt.Sprint(seen, err), err == nil
	})
}

// TakesAway says whether nobody comes through a node any more after this command of the local cluster.
func TakesAway(arguments []string) bool {
	return arguments[0] == "node" && (arguments[1] == "crash" || arguments[1] == "disconnect")
}

// BringsBack says whether clients come through a node again after it.
func BringsBack(arguments []string) bool { return arguments[0] == "node" && !TakesAway(arguments) }

// onNodes takes away the node of a pod.
func onNodes(take, back string) func(context.Context, *Servers, []string) (*Struck, error) {
	return func(ctx context.Context, s *Servers, pods []string) (*Struck, error) {
		node, err := s.Node(ctx, pods[0])
		if err != nil {
			return nil, err
		}
		return &Struck{Victims: []string{node}, Undo: func(ctx context.Context) error { return s.onNode(ctx, back, node) }}, s.onNode(ctx, take, node)
	}
}

// stopKubelet stops the kubelet of a pod's node: what runs there goes on, and nobody looks after it.
func stopKubelet(ctx context.Context, s *Servers, pods []string) (*Struck, error) {
	node, err := s.Node(ctx, pods[0])
	if err != nil {
		return nil, err
	}
	return &Struck{Victims: []string{node}, Undo: func(ctx context.Context) error {
		if err := s.localkube(ctx, "process", "start", node, "kubelet"); err != nil {
			return err
		}
		return s.untilNodeIsReady(ctx, node)
	}}, s.localkube(ctx, "process", "stop", node, "kubelet")
}

// stopAPIServer stops the server that everything in the cluster asks.
func stopAPIServer(ctx context.Context, s *Servers) (*Struck, error) {
	const machine, component = "control-plane", "kube-apiserver"
	return &Struck{Victims: []string{component}, Undo: func(ctx context.Context) error {
		if err := s.localkube(ctx, "process", "start", machine, component); err != nil {
			return err
		}
		return Until(ctx, "the API server to answer", settleTimeout, func(ctx context.Context) (string, bool) {
			seen, err := s.Output(ctx, "get", "--raw=/readyz", "--request-timeout=5s")
			return fmt.Sprint(seen, err), err == nil
		})
	}}, s.localkube(ctx, "process", "stop", machine, component)
}

// switchover asks as Patroni's own commands do.
func switchover(ctx context.Context, s *Servers) (*Struck, error) {
	primary, err := s.Primary(ctx)
	if err != nil {
		return nil, err
	}
	candidate, err := s.standby(ctx)
	if err != nil {
		return nil, err
	}
	return &Struck{Victims: []string{primary}}, s.HandOver(ctx, primary, candidate)
}

// restart restarts all pods as an update does.
func restart(ctx context.Context, s *Servers) (*Struck, error) {
	struck := &Struck{Victims: s.Pods()}
	if _, err := s.Output(ctx, "rollout", "restart", "statefulset/"+s.StatefulSet); err != nil {
		return nil, err
	}
	_, err := s.Output(ctx, "rollout", "status", "statefulset/"+s.StatefulSet, "--timeout="+settleTimeout.String())
	return struck, err
}

// allNodes takes all nodes away at once, and brings back one at a time: those of
// the pods in an order.
func allNodes(order []int) Fault {
	name := "all-node-kill"
	for _, ordinal := range order {
		name += fmt.Sprintf("-%d", ordinal)
	}
	return Fault{
		Name: name, Kind: "node-kill", Does: fmt.Sprintf("all nodes lose power, and come back one at a time, those of the pods %v", order),
		OfNodes: true, Total: true, members: len(order), nodes: len(order),
		Strike: func(ctx context.Context, s *Servers) (*Struck, error) {
			var nodes []string
			for _, ordinal := range order {
				node, err := s.Node(ctx, s.Pod(ordinal))
				if err != nil {
					return nil, err
				}
				nodes = append(nodes, node)
			}
			struck := &Struck{Victims: nodes, Undo: func(ctx context.Context) error {
				for i, node := range nodes {
					if err := s.onNode(ctx, "start", node); err != nil {
						return err
					}
					// Long enough to take the writes, for one that may.
					if i < len(nodes)-1 {
						if err := s.untilRuns(ctx, s.Pod(order[i])); err != nil {
							return err
						}
					}
				}
				return nil
			}}
			for _, node := range nodes {
				if err := s.onNode(ctx, "crash", node); err != nil {
					return struck, err
				}
			}
			return struck, nil
		},
	}
}

// untilRuns returns when Patroni in a pod answers.
func (s *Servers) untilRuns(ctx context.Context, pod string) error {
	return Until(ctx, "Patroni in "+pod, settleTimeout, func(ctx context.Context) (string, bool) {
		_, err := s.Output(ctx, "exec", pod, "--", "python3", "-c",
			`import urllib.request; urllib.request.urlopen("http://127.0.0.1:8008/liveness", timeout=5)`)
		return fmt.Sprint(err), err == nil
	})
}
