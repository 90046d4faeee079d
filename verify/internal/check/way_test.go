package check_test

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"stateful-postgres/verify/internal/check"
	"stateful-postgres/verify/internal/ledger"
	"stateful-postgres/verify/internal/pgtest"
	"stateful-postgres/verify/internal/report"
)

// forwarding is what the API server does for a pod.
func forwarding(f *pgtest.Forwards) func(context.Context, *corev1.Pod, int) (string, error) {
	return func(ctx context.Context, _ *corev1.Pod, _ int) (string, error) { return f.Forward(ctx) }
}

var nodes atomic.Int32

// newNodes are loopback addresses that no other test uses.
func newNodes(count int) []string {
	var all []string
	for range count {
		all = append(all, fmt.Sprintf("127.0.1.%d", nodes.Add(1)))
	}
	return all
}

// behindAFirewall is a world whose nodes do not answer.
func behindAFirewall(t *testing.T) (*world, *pgtest.Forwards) {
	t.Helper()
	w := newWorld(t)
	f := &pgtest.Forwards{To: net.JoinHostPort("127.0.0.1", strconv.Itoa(int(w.port)))}
	w.nodes, w.forward = newNodes(2), forwarding(f)
	for _, node := range w.nodes {
		pgtest.BlackHole(t, node, int(w.port))
	}
	return w, f
}

func TestNodeThatSwallowsPacketsKeepsNobodyFromTheOthers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.nodes = append(newNodes(3), "127.0.0.1")
	for _, node := range w.nodes[:3] {
		pgtest.BlackHole(t, node, int(w.port))
	}
	started := time.Now()
	r := w.look(t, newWitness(t, w.dsn), 1, 30*time.Second)
	require.Equal(t, report.ExitProven, r.ExitCode, r.Summary)
	requireCheck(t, r, "connection", report.Passed, "nodeport 127.0.0.1:")
	require.Less(t, time.Since(started), 4*time.Second, "no node's time-out was waited for")
}

func TestPortIsForwardedWhereNoNodeAnswersAndNotLongerThanNeeded(t *testing.T) {
	t.Parallel()
	w, f := behindAFirewall(t)
	witness := newWitness(t, w.dsn)
	r := w.look(t, witness, 1, 30*time.Second)
	require.Equal(t, report.ExitProven, r.ExitCode, r.Summary)
	require.Equal(t, "port-forward", r.Target.Via)
	c := requireCheck(t, r, "connection", report.Passed, "port-forward 127.0.0.1:")
	require.Contains(t, c.Hint, "the nodeport did not answer from this machine")

	// The ledger knows now which way it went.
	for range 3 {
		started := time.Now()
		r = w.look(t, witness, 1, 30*time.Second)
		require.Equal(t, report.ExitProven, r.ExitCode, r.Summary)
		require.Less(t, time.Since(started), 3*time.Second)
	}
	f.Wait()
	require.Equal(t, 4, f.Total(), "every look ended what it had forwarded")

	// The nodes answer again: they are the way to prefer.
	w.nodes = []string{"127.0.0.1"}
	r = w.look(t, witness, 1, 30*time.Second)
	require.Equal(t, "nodeport", r.Target.Via)
}

func TestFillGoesOnThroughAPortThatIsForwardedAnew(t *testing.T) {
	t.Parallel()
	w, f := behindAFirewall(t)
	lost, cut := context.WithCancel(t.Context())
	w.forward = func(ctx context.Context, _ *corev1.Pod, _ int) (string, error) {
		if f.Total() > 0 {
			return f.Forward(ctx)
		}
		// The first one breaks, as when its pod goes.
		both, end := context.WithCancel(ctx)
		context.AfterFunc(lost, end)
		return f.Forward(both)
	}
	witness := newWitness(t, w.dsn)
	witness.change = func(c *check.Checker) { c.Fill = &check.Fill{Rows: 100_000, Batch: 500} }
	go func() {
		defer cut()
		// In the middle of the writing.
		for t.Context().Err() == nil {
			if state, err := ledger.Read(witness.path); err == nil && state.Required() > 10_000 {
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	r := w.look(t, witness, 1, 60*time.Second)
	require.Equal(t, report.ExitProven, r.ExitCode, r.Summary)
	require.Greater(t, f.Total(), 1)
	f.Wait()
}

func TestSilenceShowsNothingUnlessTheServerOnceAnsweredThere(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		// before is the look while the server is up; nil is none.
		before func(t *testing.T, w *world, witness *witness)
		status report.Status
		detail string
		code   int
	}{
		"nothing is known": {nil, report.Unknown, "not shown: ", report.ExitUnknown},
		"it answered there": {func(t *testing.T, w *world, witness *witness) {
			require.Equal(t, report.ExitProven, w.look(t, witness, 1, 30*time.Second).ExitCode)
		}, report.Passed, "where the server answered before", report.ExitProven},
		"it answered through a forwarded port only": {func(t *testing.T, w *world, witness *witness) {
			f := &pgtest.Forwards{To: net.JoinHostPort("127.0.0.1", strconv.Itoa(int(pgPort(w))))}
			nodes := w.nodes
			w.nodes, w.forward = newNodes(1), forwarding(f)
			pgtest.BlackHole(t, w.nodes[0], int(w.port))
			require.Equal(t, "port-forward", w.look(t, witness, 1, 30*time.Second).Target.Via)
			w.nodes = nodes
		}, report.Skipped, "not shown: ", report.ExitProven},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			witness := newWitness(t, w.dsn)
			// A proxy in front of the server, which a firewall can take the place of.
			front := &pgtest.Forwards{To: net.JoinHostPort("127.0.0.1", strconv.Itoa(int(w.port)))}
			up, down := context.WithCancel(t.Context())
			address, err := front.Forward(up)
			require.NoError(t, err)
			_, port, err := net.SplitHostPort(address)
			require.NoError(t, err)
			number, err := strconv.Atoi(port)
			require.NoError(t, err)
			w.port = int32(number)
			if test.before != nil {
				test.before(t, w, witness)
			}
			down()
			front.Wait()
			w.scaleToZero()
			w.port = int32(number)
			pgtest.BlackHole(t, "127.0.0.1", number)
			r := w.look(t, witness, 0, 30*time.Second)
			requireCheck(t, r, "unreachable", test.status, test.detail)
			require.Equal(t, test.code, r.ExitCode, r.Summary)
		})
	}
}

func TestRefusalAtOneNodeIsEnough(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	witness := newWitness(t, w.dsn)
	require.Equal(t, report.ExitProven, w.look(t, witness, 1, 30*time.Second).ExitCode)
	w.scaleToZero()
	w.nodes = append(newNodes(1), "127.0.0.1")
	_, port, err := net.SplitHostPort(pgtest.BlackHole(t, w.nodes[0], 0))
	require.NoError(t, err)
	number, err := strconv.Atoi(port)
	require.NoError(t, err)
	w.port = int32(number)
	r := w.look(t, witness, 0, 30*time.Second)
	c := requireCheck(t, r, "unreachable", report.Passed, "connection refused")
	require.Contains(t, c.Detail, "nothing is shown by "+w.nodes[0]+":"+port)
}
