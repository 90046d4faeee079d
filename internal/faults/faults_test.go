package faults

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

// answers are what a kubectl of a test says: the first one whose key is in the command line.
type answers []struct {
	to, says string
	err      error
}

func servers(t *testing.T, replicas int, says answers) (*Servers, *[]string) {
	t.Helper()
	var typed []string
	return &Servers{
		Namespace: "shop", StatefulSet: "postgres", Replicas: replicas, HighAvailability: replicas > 1, Random: rand.New(rand.NewPCG(1, 1)),
		Kubectl: func(ctx context.Context, _ string, arguments ...string) (string, error) {
			line := strings.Join(arguments, " ")
			typed = append(typed, line)
			for _, answer := range says {
				if strings.Contains(line, answer.to) {
					return answer.says, answer.err
				}
			}
			return "", fmt.Errorf("unexpected: kubectl %s", line)
		},
	}, &typed
}

func named(t *testing.T, name string) Fault {
	t.Helper()
	for _, fault := range All() {
		if fault.Name == name {
			return fault
		}
	}
	require.Fail(t, "no such fault", name)
	return Fault{}
}

func TestFaultsHaveNamesOfTheirOwn(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, fault := range All() {
		require.False(t, seen[fault.Name], fault.Name)
		seen[fault.Name] = true
		require.NotContains(t, fault.Does, "%", fault.Name)
	}
}

func TestFaultsThatAreNotPossibleSayWhy(t *testing.T) {
	t.Parallel()
	one, _ := servers(t, 1, nil)
	three, _ := servers(t, 3, nil)
	local, _ := servers(t, 3, nil)
	local.Localkube = func(context.Context, ...string) error { return nil }
	for _, c := range []struct {
		fault string
		s     *Servers
		nodes int
		why   string
	}{
		{"pod-kill", one, 1, ""},
		{"switchover", one, 1, "it needs 2 servers with highAvailability"},
		{"standby-pod-kill", one, 1, "it needs 2 servers with highAvailability"},
		{"switchover", three, 1, ""},
		{"drain", three, 1, "it needs 2 nodes"},
		{"drain", three, 2, ""},
		{"leader-node-kill", three, 3, "it needs the local cluster, whose nodes are its own"},
		{"leader-node-kill", local, 3, ""},
		{"all-node-kill-2-0-1", local, 2, "it needs 3 nodes"},
		{"slow-disk", one, 1, "it needs the local cluster, whose nodes are its own"},
		{"leader-slow-disk", local, 1, ""},
		{"apiserver-stop", three, 3, "it needs the local cluster, whose nodes are its own"},
	} {
		require.Equal(t, c.why, named(t, c.fault).Possible(c.s, c.nodes), c.fault)
	}
}

func TestDrainedNodeIsGivenBackAlsoWhenTheDrainFailed(t *testing.T) {
	t.Parallel()
	s, typed := servers(t, 1, answers{
		{to: "spec.nodeName", says: "node-2"}, {to: "conditions", says: "later True"}, {to: "metadata.uid", says: "before"},
		{to: "uncordon"}, {to: "cordon", err: errors.New("may not")},
	})
	struck, err := named(t, "drain").Strike(t.Context(), s)
	require.ErrorContains(t, err, "may not")
	require.Equal(t, []string{"node-2"}, struck.Victims)
	require.NoError(t, struck.Undo(t.Context()))
	require.Contains(t, *typed, "uncordon node-2")
}

// Pods of others on the node, whose labels may be the same, are none of its business.
func TestDrainTakesOnlyTheServers(t *testing.T) {
	t.Parallel()
	s, typed := servers(t, 1, answers{
		{to: "spec.nodeName", says: "node-2"}, {to: "metadata.uid", says: "before"}, {to: "cordon"}, {to: "eviction"},
	})
	_, err := named(t, "drain").Strike(t.Context(), s)
	require.NoError(t, err)
	require.Contains(t, *typed, "cordon node-2")
	require.Contains(t, strings.Join(*typed, "\n"), "/namespaces/"+s.Namespace+"/pods/"+s.Pod(0)+"/eviction")
	require.NotContains(t, strings.Join(*typed, "\n"), "drain")
}

func TestKillIsNotTakenForDoneWhenItFailed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, said string
		err        error
		want       string
	}{
		{name: "the container ended with it", said: "begun\n", err: errors.New("exit code 137")},
		{name: "the session outlived it", said: "begun\n"},
		{name: "nobody was killed", said: "begun\nfailed\n", want: "failed"},
		{name: "the pod is not there", err: errors.New("not found"), want: "not found"},
	} {
		s, _ := servers(t, 1, answers{{to: "kill", says: c.said, err: c.err}})
		_, err := named(t, "process-kill").Strike(t.Context(), s)
		if c.want == "" {
			require.NoError(t, err, c.name)
		} else {
			require.ErrorContains(t, err, c.want, c.name)
		}
	}
}

func TestSlowDiskIsMadeFastAgainAlsoWhenThatFailed(t *testing.T) {
	t.Parallel()
	s, _ := servers(t, 1, answers{{to: "spec.nodeName", says: "node-2"}, {to: "claimName", says: "data-0"}, {to: "pvc data-0", says: "pv-7"}})
	var local []string
	s.Localkube = func(_ context.Context, arguments ...string) error {
		local = append(local, strings.Join(arguments, " "))
		if arguments[1] == "slow" {
			return errors.New("others write to it")
		}
		return nil
	}
	struck, err := named(t, "slow-disk").Strike(t.Context(), s)
	require.ErrorContains(t, err, "others write to it")
	require.NoError(t, struck.Undo(t.Context()))
	require.Equal(t, []string{"volume slow node-2 pv-7", "volume fast node-2 pv-7"}, local)
}

func TestServerWithoutItsFilesIsNotLeftBehind(t *testing.T) {
	t.Parallel()
	s, typed := servers(t, 3, answers{{to: "configmap", says: "postgres-2"}, {to: "find", err: errors.New("directory not empty")}, {to: "delete pods"},
		{to: "--ignore-not-found"}, {to: "metadata.uid", says: "before"}})
	_, err := named(t, "standby-claim-empty").Strike(t.Context(), s)
	require.ErrorContains(t, err, "directory not empty")
	require.Contains(t, *typed, "delete pods --wait=false postgres-2")
}

// A pod of a StatefulSet has a successor of the same name at once.
func TestDeletedPodIsGoneWhenItsNameBelongsToAnother(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, typed := servers(t, 3, nil)
		looks := 0
		s.Kubectl = func(_ context.Context, _ string, arguments ...string) (string, error) {
			*typed = append(*typed, strings.Join(arguments, " "))
			if slices.Contains(arguments, "--ignore-not-found") {
				if looks++; looks > 4 {
					return "next", nil
				}
			}
			return "before", nil
		}
		struck, err := named(t, "all-pod-delete").Strike(t.Context(), s)
		require.NoError(t, err)
		require.Equal(t, s.Pods(), struck.Victims)
		require.Equal(t, 7, looks, "4 that saw the same pod, and one for each of three")
		require.Contains(t, *typed, "delete pods --wait=false postgres-0 postgres-1 postgres-2")
	})
}

func TestCommandThatDoesNotEndIsEnded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, _ := servers(t, 1, nil)
		s.Kubectl = func(ctx context.Context, _ string, _ ...string) (string, error) {
			<-ctx.Done()
			return "", errors.New("signal: interrupt")
		}
		_, err := s.Output(t.Context(), "delete", "pods", "postgres-0")
		require.EqualError(t, err, "kubectl delete pods postgres-0 did not end within 5m0s: signal: interrupt")
	})
}

// A volume that is a folder of the node's own disk is never filled.
func TestDiskOfANodeIsNotFilled(t *testing.T) {
	t.Parallel()
	s, typed := servers(t, 1, answers{
		{to: "claimName", says: "postgredb-postgres-0"}, {to: "capacity", says: "1Gi"}, {to: "df", says: fmt.Sprint(200 << 30)},
	})
	_, err := named(t, "leader-disk-full").Strike(t.Context(), s)
	require.ErrorContains(t, err, "no file system of its own")
	require.NotContains(t, strings.Join(*typed, "\n"), "/dev/zero")
}
