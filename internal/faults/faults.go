package faults

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"stateful-postgres/internal/contract"
)

// Fault is something that happens to the servers of a site, and comes to its end.
type Fault struct {
	// Name is how it is chosen.
	Name string
	// Does says what happens, for a report.
	Does string
	// OfNodes says that it happens to nodes, with all that runs there. Only the local
	// cluster can do that.
	OfNodes bool
	// Total says that nobody takes writes until it heals.
	Total bool
	// Strike lets it happen.
	Strike func(context.Context, *Site) error
	// Heal brings back what was taken away; nil when the cluster does that by itself.
	// It returns the rows that were acknowledged meanwhile by a server that nobody
	// else could reach.
	Heal func(context.Context, *Site) ([]int64, error)
}

// All are all faults that servers of any stack can meet.
func All() []Fault {
	faults := []Fault{
		{Name: "switchover", Does: "the primary hands over, as before an update", Strike: switchover},
		{Name: "pod-deleted", Does: "the primary's pod is deleted", Strike: onPrimary(func(ctx context.Context, s *Site, primary string) error {
			return s.Kubectl(ctx, "delete", "pod", primary).Err()
		})},
		{Name: "pod-forced", Does: "the primary's pod is deleted by force", Strike: onPrimary(func(ctx context.Context, s *Site, primary string) error {
			return s.force(ctx, primary)
		})},
		{Name: "postmaster-killed", Does: "SIGKILL of the primary's postmaster", Strike: onPrimary(func(ctx context.Context, s *Site, primary string) error {
			return s.Kubectl(ctx, "exec", primary, "--", "sh", "-c", `kill -KILL "$(head -n 1 "$PGDATA/postmaster.pid")"`).Err()
		})},
		{Name: "patroni-killed", Does: "SIGKILL of the primary's Patroni", Strike: onPrimary(killPatroni)},
		{Name: "node-drained", Does: "the primary's node is drained", Strike: onPrimary(drain)},
		{Name: "all-forced", Does: "all pods are deleted by force", Strike: func(ctx context.Context, s *Site) error {
			var pods []string
			for ordinal := range s.Replicas {
				pods = append(pods, contract.PodName(ordinal))
			}
			return s.force(ctx, pods...)
		}},
		{Name: "claim-emptied", Does: "a standby's volume is emptied, and its pod deleted", Strike: emptyStandby},
		nodeFault("node-crashed", "the primary's node loses power, and comes back", "crash", "start", (*Site).Primary),
		nodeFault("standby-node-crashed", "the synchronous standby's node loses power, and comes back", "crash", "start", (*Site).standby),
		partition(),
	}
	for _, order := range [][]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}} {
		faults = append(faults, allNodes(order))
	}
	return faults
}

func onPrimary(strike func(ctx context.Context, s *Site, primary string) error) func(context.Context, *Site) error {
	return func(ctx context.Context, s *Site) error {
		primary, err := s.Primary(ctx)
		if err != nil {
			return err
		}
		return strike(ctx, s, primary)
	}
}

// force deletes pods without waiting for their servers, which live on for a moment,
// and waits until others have taken their places.
func (s *Site) force(ctx context.Context, pods ...string) error {
	before := map[string]string{}
	for _, pod := range pods {
		var err error
		if before[pod], err = s.kubectl(ctx, "get", "pod", pod, "--output=jsonpath={.metadata.uid}"); err != nil {
			return err
		}
	}
	if err := s.Kubectl(ctx, append([]string{"delete", "pods", "--force", "--grace-period=0"}, pods...)...).Err(); err != nil {
		return err
	}
	return Until(ctx, "other pods in their places", settleTimeout, func(ctx context.Context) (string, bool) {
		for _, pod := range pods {
			seen, err := s.kubectl(ctx, "get", "pod", pod, `--output=jsonpath={.metadata.uid} {.status.conditions[?(@.type=="Ready")].status}`)
			uid, ready, _ := strings.Cut(seen, " ")
			if err != nil || uid == before[pod] || ready != "True" {
				return fmt.Sprintf("%s %s %v", pod, seen, err), false
			}
		}
		return "", true
	})
}

// standby is one that may take the writes.
func (s *Site) standby(ctx context.Context) (string, error) {
	trusted, err := s.Trusted(ctx)
	if err == nil && len(trusted) == 0 {
		err = errors.New("no standby has every acknowledged write")
	}
	if err != nil {
		return "", err
	}
	return trusted[0], nil
}

// switchover asks as Patroni's own commands do.
func switchover(ctx context.Context, s *Site) error {
	primary, err := s.Primary(ctx)
	if err != nil {
		return err
	}
	candidate, err := s.standby(ctx)
	if err != nil {
		return err
	}
	return s.HandOver(ctx, primary, candidate)
}

// HandOver lets a server that has every acknowledged write take the writes over
// from the primary. Patroni forgets a wish that it cannot fulfil at once, so it is
// told again.
func (s *Site) HandOver(ctx context.Context, primary, candidate string) error {
	return Until(ctx, candidate+" to take the writes", primaryTimeout, func(ctx context.Context) (string, bool) {
		wish, err := s.kubectl(ctx, "get", "configmap", contract.MembersFailover, "--output=jsonpath={.metadata.annotations."+contract.MembersCandidateKey+"}")
		if err == nil && wish == "" {
			err = s.Kubectl(ctx, "annotate", "configmap", contract.MembersFailover, "--overwrite",
				contract.MembersLeaderKey+"="+primary, contract.MembersCandidateKey+"="+candidate).Err()
		}
		if err != nil {
			return err.Error(), false
		}
		seen, err := s.SeenPrimary(ctx)
		return fmt.Sprint(seen, err), seen == candidate
	})
}

// MakePrimary lets a pod take the writes over, once it has every acknowledged one:
// until then it waits its turn as a synchronous standby.
func (s *Site) MakePrimary(ctx context.Context, pod string) error {
	for {
		primary, err := s.Primary(ctx)
		if err != nil || primary == pod {
			return err
		}
		trusted, err := s.Trusted(ctx)
		switch {
		case err != nil:
			return err
		case slices.Contains(trusted, pod):
			return s.HandOver(ctx, primary, pod)
		}
		// The synchronous one goes away for a moment, and another takes its place.
		standby, err := s.standby(ctx)
		if err != nil {
			return err
		}
		if err := s.Kubectl(ctx, "delete", "pod", standby).Err(); err != nil {
			return err
		}
		if err := s.UntilSettled(ctx); err != nil {
			return err
		}
	}
}

// killPatroni kills the process that looks after the server; process 1 only passes
// signals on to it. With it the container ends, and kubectl's session.
func killPatroni(ctx context.Context, s *Site, primary string) error {
	const kill = `for p in /proc/[0-9]*; do p=${p#/proc/}; [ "$p" = 1 ] || ! grep -q patroni "/proc/$p/cmdline" || kill -KILL "$p"; done`
	s.Kubectl(ctx, "exec", primary, "--", "sh", "-c", kill)
	return ctx.Err()
}

func drain(ctx context.Context, s *Site, primary string) error {
	node, err := s.Node(ctx, primary)
	if err != nil {
		return err
	}
	return errors.Join(
		s.Run(ctx, "kubectl", "drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=2m", "--pod-selector="+contract.LabelMembers).Err(),
		s.Run(ctx, "kubectl", "uncordon", node).Err())
}

// emptyStandby takes everything from the volume of a standby, as a new disk in its
// place would.
func emptyStandby(ctx context.Context, s *Site) error {
	standby, err := s.standby(ctx)
	if err != nil {
		return err
	}
	if err := s.Kubectl(ctx, "exec", standby, "--", "sh", "-c", `find "${PGDATA%/*}" -mindepth 1 -delete`).Err(); err != nil {
		return err
	}
	return s.Kubectl(ctx, "delete", "pod", standby).Err()
}

// onNode tells the local cluster what happens to a node.
func (s *Site) onNode(ctx context.Context, does, node string) error {
	away := does == "crash" || does == "disconnect"
	if away {
		s.setAway(node, true)
	}
	if err := s.Run(ctx, "localkube", "node", does, node).Err(); err != nil {
		return err
	}
	if away {
		return nil
	}
	return Until(ctx, node+" to be Ready", settleTimeout, func(ctx context.Context) (string, bool) {
		result := s.Run(ctx, "kubectl", "wait", "node", node, "--for=condition=Ready", "--timeout=5s")
		s.setAway(node, !result.OK())
		return result.String(), result.OK()
	})
}

// nodeFault takes away the node of a pod.
func nodeFault(name, does, take, back string, of func(*Site, context.Context) (string, error)) Fault {
	var node string
	return Fault{
		Name: name, Does: does, OfNodes: true,
		Strike: func(ctx context.Context, s *Site) error {
			pod, err := of(s, ctx)
			if err != nil {
				return err
			}
			if node, err = s.Node(ctx, pod); err != nil {
				return err
			}
			return s.onNode(ctx, take, node)
		},
		Heal: func(ctx context.Context, s *Site) ([]int64, error) { return nil, s.onNode(ctx, back, node) },
	}
}

const (
	// writeInside writes rows with negative numbers over the server's socket, and
	// keeps which were acknowledged. A COMMIT that nobody but the primary has comes
	// with a warning.
	writeInside = `cd /tmp && rm -f inside.* && number=0
while [ ! -e inside.stop ]; do
    number=$((number + 1))
    said=$(psql --no-psqlrc --quiet --username="$POSTGRES_USER" --dbname="$POSTGRES_DB" --set=ON_ERROR_STOP=1 \
        --command="insert into ` + Table + ` values (-$number)" 2>&1) && [ -z "$said" ] && echo "-$number" >>inside.acknowledged
    sleep 0.05
done`
	startInside = `nohup sh -c "$1" >/dev/null 2>&1 </dev/null &`
	readInside  = `touch /tmp/inside.stop; cat /tmp/inside.acknowledged`
)

// partition cuts the primary's node off while somebody writes on the primary
// itself.
func partition() Fault {
	var pod string
	cut := nodeFault("node-cut-off", "the primary's node is cut off from everybody, and connected again", "disconnect", "connect",
		func(s *Site, ctx context.Context) (_ string, err error) {
			pod, err = s.Primary(ctx)
			if err != nil {
				return "", err
			}
			if err := s.Kubectl(ctx, "exec", pod, "--", "sh", "-c", startInside, "sh", writeInside).Err(); err != nil {
				return "", err
			}
			return pod, Until(ctx, "acknowledged writes on the primary itself", primaryTimeout, func(ctx context.Context) (string, bool) {
				result := s.Kubectl(ctx, "exec", pod, "--", "grep", "--count", "", "/tmp/inside.acknowledged")
				return result.String(), result.OK()
			})
		})
	connect := cut.Heal
	cut.Heal = func(ctx context.Context, s *Site) (acknowledged []int64, err error) {
		if _, err := connect(ctx, s); err != nil {
			return nil, err
		}
		var read string
		err = Until(ctx, "what was acknowledged on the node that was cut off", settleTimeout, func(ctx context.Context) (string, bool) {
			read, err = s.kubectl(ctx, "exec", pod, "--", "sh", "-c", readInside)
			return fmt.Sprint(err), err == nil
		})
		if err != nil {
			return nil, err
		}
		for word := range strings.FieldsSeq(read) {
			number, err := strconv.ParseInt(word, 10, 64)
			if err != nil {
				return nil, fmt.Errorf("rows acknowledged on %s: %w", pod, err)
			}
			acknowledged = append(acknowledged, number)
		}
		return acknowledged, nil
	}
	return cut
}

// allNodes takes all nodes away at once, and brings back one at a time: those of
// the pods in an order.
func allNodes(order []int) Fault {
	name := "all-crashed"
	for _, ordinal := range order {
		name += fmt.Sprintf("-%d", ordinal)
	}
	var nodes []string
	return Fault{
		Name: name, Does: fmt.Sprintf("all nodes lose power, and come back one at a time, those of the pods %v", order), OfNodes: true, Total: true,
		Strike: func(ctx context.Context, s *Site) error {
			nodes = nil
			for _, ordinal := range order {
				node, err := s.Node(ctx, contract.PodName(ordinal))
				if err != nil {
					return err
				}
				nodes = append(nodes, node)
			}
			for _, node := range nodes {
				if err := s.onNode(ctx, "crash", node); err != nil {
					return err
				}
			}
			return nil
		},
		Heal: func(ctx context.Context, s *Site) ([]int64, error) {
			for i, node := range nodes {
				if err := s.onNode(ctx, "start", node); err != nil {
					return nil, err
				}
				// Long enough to take the writes, for one that may.
				if i < len(nodes)-1 {
					if err := s.untilRuns(ctx, contract.PodName(order[i])); err != nil {
						return nil, err
					}
				}
			}
			return nil, nil
		},
	}
}

// untilRuns returns when Patroni in a pod answers.
func (s *Site) untilRuns(ctx context.Context, pod string) error {
	return Until(ctx, "Patroni in "+pod, settleTimeout, func(ctx context.Context) (string, bool) {
		result := s.Kubectl(ctx, "exec", pod, "--", "python3", "-c",
			`import urllib.request; urllib.request.urlopen("http://127.0.0.1:8008/liveness", timeout=5)`)
		return result.String(), result.OK()
	})
}
