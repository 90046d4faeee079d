package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stateful-postgres/internal/buffer"
	"stateful-postgres/internal/contract"
)

func TestUpdateSaysWhyItWaits(t *testing.T) {
	t.Parallel()
	f := setup(t, "waiting")
	f.up(1)
	f.verify(proven)

	// Most of it the check finds out before the server is stopped.
	untouched := f.server()
	for _, c := range []struct {
		path, value string
		says        []string
	}{
		{`nodeSelector["example.com/disk"]`, "none", []string{"pod postgres-check-", "nodes are available"}},
		{"priorityClassName", "no-such-class", []string{"Job postgres-check", "no PriorityClass with name no-such-class was found"}},
	} {
		f.ok(f.SetPath(f.ctx, c.path, c.value))
		f.upUntil(c.says...)
		require.Equal(t, untouched, f.server(), c.path)
		f.ok(f.UnsetPath(f.ctx, c.path))
	}

	// It does not ask for as much room as the server.
	f.ok(f.SetPath(f.ctx, "resources.requests.cpu", "1000"))
	f.upUntil("pod postgres-0 does not start: 0/")
	f.ok(f.Unset(f.ctx, "resources"))
	f.upAfterKill()
	f.verify(proven)
}

func TestServerStartsBeforeALoadBalancerHasAnAddress(t *testing.T) {
	t.Parallel()
	f := setup(t, "balancer")
	f.ok(f.Set(f.ctx, "serviceType", "LoadBalancer"))
	f.ok(f.Set(f.ctx, "replicas", "1"))
	update := f.startUp()
	f.eventually("the server to be ready", 3*time.Minute, func() (string, bool) {
		seen := f.Kubectl(f.ctx, "get", "pod", pod, "--output=jsonpath={.status.containerStatuses[0].ready}")
		return seen.String(), seen.Stdout == "true"
	})
	if f.kubectl("get", "service", contract.Service, "--output=jsonpath={.status.loadBalancer.ingress}") == "" {
		update.waitFor("service postgres has no address")
		// In place of the load balancer that this cluster lacks.
		f.kubectl("patch", "service", contract.Service, "--subresource=status", "--type=merge",
			`--patch={"status":{"loadBalancer":{"ingress":[{"ip":"192.0.2.7"}]}}}`)
	}
	require.NoError(t, update.wait(), "%s", update.printed.String())
	f.verify(proven)
	f.ok(f.Up(f.ctx, "--expect-no-changes"))

	// Who may reach the server is an object that follows the settings. Whether it
	// is enforced is the business of the cluster's network; the local cluster's
	// does not.
	const policy = "--output=jsonpath={.spec.ingress}"
	require.Equal(t, `[{"ports":[{"port":5432,"protocol":"TCP"}]}]`, f.kubectl("get", "networkpolicy", contract.NetworkPolicy, policy))
	before := f.server()
	f.ok(f.Set(f.ctx, "serviceType", "ClusterIP"))
	f.ok(f.Up(f.ctx))
	require.Equal(t, `[{"from":[{"namespaceSelector":{}}],"ports":[{"port":5432,"protocol":"TCP"}]}]`,
		f.kubectl("get", "networkpolicy", contract.NetworkPolicy, policy))
	f.ok(f.SetPath(f.ctx, "allowFrom[0]", "10.0.0.0/8"))
	f.ok(f.SetPath(f.ctx, "allowFrom[1]", "192.0.2.7/32"))
	f.ok(f.Up(f.ctx))
	require.Equal(t, `[{"from":[{"ipBlock":{"cidr":"10.0.0.0/8"}},{"ipBlock":{"cidr":"192.0.2.7/32"}},`+
		// The check asks the server that runs.
		`{"podSelector":{"matchLabels":{"app.kubernetes.io/managed-by":"pulumi","app.kubernetes.io/name":"postgres-check"}}}],"ports":[{"port":5432,"protocol":"TCP"}]}]`,
		f.kubectl("get", "networkpolicy", contract.NetworkPolicy, policy))
	require.Equal(t, before, f.server(), "neither the Service nor the policy is the server's business")
}

// update is a `pulumi up` that runs.
type update struct {
	f       *fixture
	command *exec.Cmd
	printed buffer.Locked
	ended   chan error
}

// startUp starts `pulumi up`.
func (f *fixture) startUp() *update {
	f.t.Helper()
	u := &update{f: f, command: f.Command(f.ctx, f.UpArguments()...), ended: make(chan error, 1)}
	u.command.Stdout, u.command.Stderr = &u.printed, &u.printed
	require.NoError(f.t, u.command.Start())
	go func() { u.ended <- u.command.Wait() }()
	return u
}

// printTimeout is for an update to get to what it prints; the check of the
// settings comes before.
const printTimeout = 2 * time.Minute

// waitFor waits until the running update has printed a line with all texts.
func (u *update) waitFor(texts ...string) {
	u.f.t.Helper()
	u.f.eventually(fmt.Sprintf("the update to print %q", texts), printTimeout, func() (string, bool) {
		output := u.printed.String()
		for line := range strings.Lines(output) {
			found := true
			for _, text := range texts {
				found = found && strings.Contains(line, text)
			}
			if found {
				return "", true
			}
		}
		return output, false
	})
	select {
	case err := <-u.ended:
		require.Fail(u.f.t, fmt.Sprintf("the update has ended (%v):\n%s", err, u.printed.String()))
	default:
	}
}

// wait waits for the end.
func (u *update) wait() error { return <-u.ended }

// upUntil runs `pulumi up` until it prints a line with all texts, and then
// interrupts it as a user would.
func (f *fixture) upUntil(texts ...string) {
	f.t.Helper()
	u := f.startUp()
	u.waitFor(texts...)
	require.NoError(f.t, u.command.Process.Signal(os.Interrupt))
	require.Error(f.t, u.wait(), "%s", u.printed.String())
}
