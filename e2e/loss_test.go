package e2e

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stateful-postgres/internal/contract"
	"stateful-postgres/internal/stack"
)

func TestChangedRowsAreNamed(t *testing.T) {
	t.Parallel()
	f := setup(t, "changed")
	f.up(1)
	f.verify(proven)
	f.verify(proven)

	// One row of the first run, with the sequence number that it is named by.
	const victim = "(select ctid from verify.rows order by run, seq offset 3 limit 1)"
	for _, damage := range []struct{ name, does, undoes string }{
		{
			name:   "altered",
			does:   "update verify.rows set payload = reverse(payload) where ctid = " + victim + " returning seq",
			undoes: "update verify.rows set payload = reverse(payload) where ctid = " + victim,
		},
		{
			name: "deleted",
			does: "delete from verify.rows where ctid = " + victim + " returning seq",
		},
	} {
		seq := f.sql(damage.does)
		require.Regexp(t, `^\d+$`, seq)
		found := f.verify(violated)
		require.Regexp(t, `\b`+seq+`\b`, found, "the %s row is named", damage.name)
		// What was found stays found.
		f.verify(violated)
		if damage.undoes == "" {
			break
		}
		// An update moves a row to the end of the table, not of the order.
		f.sql(damage.undoes)
		f.verify(proven)
	}
}

func TestEmptiedVolumeIsFound(t *testing.T) {
	t.Parallel()
	f := setup(t, "emptied")
	f.up(1)
	f.verify(proven)
	f.up(0)
	f.verify(proven)
	f.onVolume("find /volume -mindepth 1 -delete")
	f.ok(f.Set(f.ctx, "initializeEmptyVolume", "true"))
	f.up(1)
	require.Equal(t, "", f.sql("select tablename from pg_tables where schemaname = 'verify'"), "a new database")
	f.verify(violated)
	f.verify(violated)
}

func TestServerRefusesAnEmptiedVolume(t *testing.T) {
	t.Parallel()
	f := setup(t, "refuses")
	f.up(1)
	f.verify(proven)
	f.up(0)
	f.onVolume("find /volume -mindepth 1 -delete")

	f.ok(f.Set(f.ctx, "replicas", "1"))
	ctx, interrupt := context.WithCancel(f.ctx)
	defer interrupt()
	ended := make(chan stack.Result, 1)
	go func() { ended <- f.Up(ctx) }()
	f.eventually("the server to say why it does not start", 4*time.Minute, func() (string, bool) {
		result := f.Kubectl(f.ctx, "logs", pod)
		return result.String(), strings.Contains(result.Stdout, "initializeEmptyVolume")
	})
	check := f.Check(f.ctx, "--timeout", "5s")
	require.NotEqual(t, proven, check.ExitCode, "%s", check)
	require.NotRegexp(t, loss, check.Output)
	interrupt()
	require.False(t, (<-ended).OK())

	f.ok(f.Set(f.ctx, "initializeEmptyVolume", "true"))
	f.upAfterKill()
	f.verify(violated)
}

func TestExchangedClaimIsFound(t *testing.T) {
	t.Parallel()
	f := setup(t, "exchanged")
	f.up(1)
	f.verify(proven)
	f.up(0)
	f.verify(proven)
	f.kubectl("delete", "pvc", contract.ClaimName(0), "--wait")
	require.Contains(t, f.verify(violated), "postgredb-postgres-0")

	f.ok(f.Set(f.ctx, "replicas", "1"))
	refused := f.Up(f.ctx)
	require.False(t, refused.OK(), "%s", refused)
	require.Contains(t, refused.Output, "initializeEmptyVolume")

	f.ok(f.Set(f.ctx, "initializeEmptyVolume", "true"))
	f.up(1)
	f.verify(violated)
}

// onVolume runs a shell command with the volume of a stopped server at /volume,
// and returns what it printed.
func (f *fixture) onVolume(command string) string {
	f.t.Helper()
	const end = "end-of-what-is-printed"
	f.onClaim(0, "intruder", "set -e\n"+command+"\necho "+end)
	// A container that has ended may still be on its way into the log.
	var printed string
	f.eventually("the end of what the pod prints", 3*time.Minute, func() (string, bool) {
		seen := f.Kubectl(f.ctx, "logs", "intruder")
		var whole bool
		printed, whole = strings.CutSuffix(strings.TrimSpace(seen.Stdout), end)
		return seen.String(), whole
	})
	f.kubectl("delete", "pod", "intruder", "--wait")
	return strings.TrimSpace(printed)
}

// onClaim makes a pod of this name that runs a shell command with the volume of a
// server at /volume.
func (f *fixture) onClaim(ordinal int, name, command string) {
	f.t.Helper()
	var set struct {
		Spec struct {
			Template struct {
				Spec struct {
					SecurityContext json.RawMessage
					Containers      []struct {
						Image           string
						SecurityContext json.RawMessage
					}
				}
			}
		}
	}
	require.NoError(f.t, json.Unmarshal([]byte(f.kubectl("get", "statefulset", contract.StatefulSet, "--output=json")), &set))
	template := set.Spec.Template.Spec
	f.create(map[string]any{
		"apiVersion": "v1", "kind": "Pod",
		"metadata": map[string]any{"name": name},
		"spec": map[string]any{
			"restartPolicy":   "Never",
			"securityContext": template.SecurityContext,
			"containers": []any{map[string]any{
				"name": name, "image": template.Containers[0].Image,
				"command":         []string{"sh", "-c", command},
				"securityContext": template.Containers[0].SecurityContext,
				"volumeMounts":    []any{map[string]any{"name": "volume", "mountPath": "/volume"}},
			}},
			"volumes": []any{map[string]any{
				"name":                  "volume",
				"persistentVolumeClaim": map[string]any{"claimName": contract.ClaimName(ordinal)},
			}},
		},
	})
}

// holdVolume makes a pod that takes the volume of a server as soon as no server has
// it. It returns when the pod runs: a server that starts from now on comes too late.
// letGo ends it.
func (f *fixture) holdVolume(ordinal int) {
	f.t.Helper()
	f.onClaim(ordinal, "holder", "flock /volume/pgdata.lock sleep 3600")
	f.kubectl("wait", "pod", "holder", "--for=condition=Ready", "--timeout=3m")
}

func (f *fixture) letGo() {
	f.t.Helper()
	f.kubectl("delete", "pod", "holder", "--grace-period=1")
}

func TestVerifyCannotTellWhenItCannotConnect(t *testing.T) {
	t.Parallel()
	f := setup(t, "unreachable")
	f.up(1)
	f.verify(proven)
	host := f.kubectl("get", "node", `--output=jsonpath={.items[0].status.addresses[?(@.type=="InternalIP")].address}`)

	cut := func() {
		f.kubectl("patch", "service", contract.Service, "--type=merge", `--patch={"spec":{"selector":{"app.kubernetes.io/instance":"nobody"}}}`)
	}
	dsn := func(address string) []string {
		return []string{"--dsn", "postgres://codewizard@" + address + "/codewizard"}
	}
	ofStack := []string{"--stack", f.Name}
	for _, c := range []struct {
		name  string
		cut   func()
		flags []string
		code  int
	}{
		{name: "no server at the address", flags: dsn("127.0.0.1:1"), code: deadline},
		{name: "refused by the server", flags: dsn(host + ":" + text(f.outputs()["nodePort"])), code: couldNotTell},
		{name: "no such context", flags: append(ofStack, "--context", "nowhere"), code: couldNotTell},
		{name: "Service leads nowhere", cut: cut, flags: ofStack, code: deadline},
	} {
		if c.cut != nil {
			c.cut()
		}
		result := f.Run(f.ctx, append([]string{workspace.Verify, "--ledger", f.Ledger(), "--timeout", "5s"}, c.flags...)...)
		require.Equal(t, c.code, result.ExitCode, "%s: %s", c.name, result)
		require.Contains(t, result.Output, "COULD NOT TELL", c.name)
		require.NotRegexp(t, loss, result.Output, c.name)
	}
}

// loss is what verify never says when it could not look at the rows.
const loss = `(?i)\b(lost|missing)\b`
