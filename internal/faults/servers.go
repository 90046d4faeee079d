// Package faults breaks servers in the ways that a cluster breaks by itself.
// Everything it does it does with kubectl, psql and, for nodes, with the local
// cluster's own command.
package faults

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"stateful-postgres/internal/contract"
)

// Servers are those of one StatefulSet, which faults happen to.
type Servers struct {
	// Kubectl runs kubectl in the namespace of the servers, with some standard input, and returns
	// what it prints.
	Kubectl func(ctx context.Context, input string, arguments ...string) (string, error)
	// Localkube runs the local cluster's own command: node crash, start, disconnect or connect NODE, process
	// stop or start MACHINE COMPONENT, and volume slow or fast NODE VOLUME. It is nil for a cluster whose nodes are not ours.
	Localkube func(ctx context.Context, arguments ...string) error
	// Namespace and StatefulSet are their names.
	Namespace, StatefulSet string
	// Replicas is how many servers there are.
	Replicas int
	// HighAvailability says that Patroni runs them.
	HighAvailability bool
	// Random chooses among servers that are alike.
	Random *rand.Rand
}

// Output runs kubectl, and returns what it prints without the space around it.
func (s *Servers) Output(ctx context.Context, arguments ...string) (string, error) {
	printed, err := s.kubectl(ctx, "", arguments...)
	return strings.TrimSpace(printed), err
}

// kubectl gives kubectl a deadline: it has none of its own.
func (s *Servers) kubectl(ctx context.Context, input string, arguments ...string) (string, error) {
	limited, cancel := context.WithTimeoutCause(ctx, commandTimeout, fmt.Errorf("kubectl %s did not end within %s", strings.Join(arguments, " "), commandTimeout))
	defer cancel()
	printed, err := s.Kubectl(limited, input, arguments...)
	if err != nil && ctx.Err() == nil && limited.Err() != nil {
		err = fmt.Errorf("%w: %w", context.Cause(limited), err)
	}
	return printed, err
}

// InPod runs a shell command in a pod.
func (s *Servers) InPod(ctx context.Context, pod, command string, arguments ...string) (string, error) {
	return s.Output(ctx, append([]string{"exec", pod, "--", "sh", "-c", command, "sh"}, arguments...)...)
}

// Pod is the name of the pod of an ordinal.
func (s *Servers) Pod(ordinal int) string { return s.StatefulSet + "-" + strconv.Itoa(ordinal) }

// Pods are the names of all pods that there should be.
func (s *Servers) Pods() []string {
	var pods []string
	for ordinal := range s.Replicas {
		pods = append(pods, s.Pod(ordinal))
	}
	return pods
}

// Psql runs a statement in a pod, over its socket, and returns the rows, columns
// separated by a bar.
func (s *Servers) Psql(ctx context.Context, pod, statement string) (string, error) {
	return s.InPod(ctx, pod, Psql, statement)
}

// Psql is psql in a pod, over its socket; $1 is the statement.
const Psql = `exec ` + runPsql

const runPsql = `psql --no-psqlrc --quiet --tuples-only --no-align --set=ON_ERROR_STOP=1 --username="$POSTGRES_USER" --dbname="$POSTGRES_DB" --command="$1"`

// Primary is the pod that takes the writes.
func (s *Servers) Primary(ctx context.Context) (primary string, err error) {
	if !s.HighAvailability {
		return s.Pod(0), nil
	}
	return primary, Until(ctx, "a primary", primaryTimeout, func(ctx context.Context) (string, bool) {
		if primary, err = s.SeenPrimary(ctx); err != nil {
			return err.Error(), false
		}
		return strconv.Quote(primary), primary != "" && !strings.Contains(primary, " ")
	})
}

// SeenPrimary is the pod that takes the writes at the moment, "" for none. For a
// moment there may be two.
func (s *Servers) SeenPrimary(ctx context.Context) (string, error) {
	return s.Output(ctx, "get", "pods", "--selector="+contract.LabelRole+"="+contract.RolePrimary, "--output=jsonpath={.items[*].metadata.name}")
}

// follow runs the statement $1 each second until it returns $2, for some seconds: one command, where each
// look from outside takes several processes. It prints what it saw last.
const follow = `for look in 1 2 3 4 5 6 7 8 9 10; do
    seen=$(` + runPsql + `) || exit
    [ "$seen" = "$2" ] && break
    sleep 1
done
echo "$seen"`

// Query asks the primary, with psql alone.
func (s *Servers) Query(ctx context.Context, statement string) (answer string, err error) {
	return answer, Until(ctx, "an answer of the primary", primaryTimeout, func(ctx context.Context) (string, bool) {
		primary, err := s.Primary(ctx)
		if err != nil {
			return err.Error(), false
		}
		if answer, err = s.Psql(ctx, primary, statement); err != nil {
			return err.Error(), false
		}
		return "", true
	})
}

// Node is where a pod runs.
func (s *Servers) Node(ctx context.Context, pod string) (string, error) {
	return s.Output(ctx, "get", "pod", pod, "--output=jsonpath={.spec.nodeName}")
}

// claim is that of a pod's data.
func (s *Servers) claim(ctx context.Context, pod string) (string, error) {
	return s.Output(ctx, "get", "pod", pod, "--output=jsonpath={.spec.volumes[?(@.persistentVolumeClaim)].persistentVolumeClaim.claimName}")
}

// Trusted are the servers besides the primary that have every acknowledged write.
func (s *Servers) Trusted(ctx context.Context) ([]string, error) {
	names, err := s.Output(ctx, "get", "configmap", contract.MembersSync, "--output=jsonpath={.metadata.annotations."+contract.MembersStandbysKey+"}")
	return strings.FieldsFunc(names, func(r rune) bool { return r == ',' }), err
}

// standby is one that may take the writes.
func (s *Servers) standby(ctx context.Context) (string, error) {
	trusted, err := s.Trusted(ctx)
	if err == nil && len(trusted) == 0 {
		err = errors.New("no standby has every acknowledged write")
	}
	if err != nil {
		return "", err
	}
	return trusted[0], nil
}

// UntilSettled returns when every server is ready, all follow the primary, and one
// of them may take the writes.
func (s *Servers) UntilSettled(ctx context.Context) error {
	if !s.HighAvailability {
		return s.untilReady(ctx, nil, s.Pods()...)
	}
	if s.Replicas < 2 {
		_, err := s.Primary(ctx)
		return err
	}
	want := fmt.Sprintf("%d 1", s.Replicas-1)
	err := Until(ctx, "all servers to follow", settleTimeout, func(ctx context.Context) (string, bool) {
		primary, err := s.Primary(ctx)
		if err != nil {
			return err.Error(), false
		}
		seen, err := s.InPod(ctx, primary, follow,
			"select count(*) filter (where state = 'streaming') || ' ' || least(1, count(*) filter (where sync_state = 'sync')) from pg_stat_replication", want)
		if err != nil {
			return err.Error(), false
		}
		return fmt.Sprintf("%q of %q, streaming and synchronous", seen, want), seen == want
	})
	if err != nil {
		return err
	}
	// PostgreSQL takes the first that comes until Patroni has chosen one. Only who is
	// chosen may take the writes.
	return Until(ctx, "a server that may take the writes", settleTimeout, func(ctx context.Context) (string, bool) {
		trusted, err := s.Trusted(ctx)
		return fmt.Sprintf("%v %v", trusted, err), err == nil && len(trusted) > 0
	})
}

// UntilReady returns when the pods of all servers are ready. One that follows is, a moment later.
func (s *Servers) UntilReady(ctx context.Context) error { return s.untilReady(ctx, nil, s.Pods()...) }

// untilReady returns when pods are ready, and others than before.
func (s *Servers) untilReady(ctx context.Context, before map[string]string, pods ...string) error {
	return Until(ctx, "pods to be ready", settleTimeout, func(ctx context.Context) (string, bool) {
		for _, pod := range pods {
			seen, err := s.Output(ctx, "get", "pod", pod, `--output=jsonpath={.metadata.uid} {.status.conditions[?(@.type=="Ready")].status}`)
			uid, ready, _ := strings.Cut(seen, " ")
			if err == nil && uid != before[pod] && ready != "True" {
				// One command that waits, where each look takes a process.
				_, err = s.Output(ctx, "wait", "pod", pod, "--for=condition=Ready", "--timeout="+readyWait.String())
			}
			if err != nil || uid == before[pod] || ready != "True" {
				return fmt.Sprintf("%s %s %v", pod, seen, err), false
			}
		}
		return "", true
	})
}

// readyWait is how long one look waits for a pod.
const readyWait = 10 * time.Second

// untilGone returns when there are no pods with these UIDs, by name, any more.
func (s *Servers) untilGone(ctx context.Context, uids map[string]string) error {
	return Until(ctx, "pods to be gone", settleTimeout, func(ctx context.Context) (string, bool) {
		for pod, uid := range uids {
			seen, err := s.Output(ctx, "get", "pod", pod, "--ignore-not-found", "--output=jsonpath={.metadata.uid}")
			if err != nil || seen == uid {
				return fmt.Sprintf("%s %s %v", pod, seen, err), false
			}
		}
		return "", true
	})
}

// uids are those of pods.
func (s *Servers) uids(ctx context.Context, pods ...string) (map[string]string, error) {
	uids := map[string]string{}
	for _, pod := range pods {
		uid, err := s.Output(ctx, "get", "pod", pod, "--output=jsonpath={.metadata.uid}")
		if err != nil {
			return nil, err
		}
		uids[pod] = uid
	}
	return uids, nil
}

// HandOver lets a server that has every acknowledged write take the writes over
// from the primary. Patroni forgets a wish that it cannot fulfil at once, so it is
// told again.
func (s *Servers) HandOver(ctx context.Context, primary, candidate string) error {
	return Until(ctx, candidate+" to take the writes", primaryTimeout, func(ctx context.Context) (string, bool) {
		wish, err := s.Output(ctx, "get", "configmap", contract.MembersFailover, "--output=jsonpath={.metadata.annotations."+contract.MembersCandidateKey+"}")
		if err == nil && wish == "" {
			_, err = s.Output(ctx, "annotate", "configmap", contract.MembersFailover, "--overwrite",
				contract.MembersLeaderKey+"="+primary, contract.MembersCandidateKey+"="+candidate)
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
func (s *Servers) MakePrimary(ctx context.Context, pod string) error {
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
		if _, err := s.Output(ctx, "delete", "pod", standby); err != nil {
			return err
		}
		if err := s.UntilSettled(ctx); err != nil {
			return err
		}
	}
}
