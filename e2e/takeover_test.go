package e2e

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stateful-postgres/internal/contract"
	"stateful-postgres/internal/stack"
)

// readmeCommands are the blocks of commands below a heading of README.md.
func readmeCommands(t *testing.T, heading string) []string {
	t.Helper()
	readme, err := os.ReadFile(filepath.Join(workspace.Root, "README.md"))
	require.NoError(t, err)
	_, section, found := strings.Cut(string(readme), "\n## "+heading+"\n")
	require.True(t, found, heading)
	section, _, _ = strings.Cut(section, "\n## ")
	var blocks []string
	for {
		_, after, more := strings.Cut(section, "```sh\n")
		if !more {
			return blocks
		}
		block, rest, closed := strings.Cut(after, "```")
		require.True(t, closed)
		blocks, section = append(blocks, block), rest
	}
}

// typed runs commands of README.md as they are, but for the namespace, for files
// that they write, and for what makes pulumi and verify use the stack of the test.
func (f *fixture) typed(commands string) stack.Result {
	f.t.Helper()
	const shell = `set -euo pipefail
pulumi() {
	case "$1" in
	stack) return ;;
	up) set -- "$@" --yes ;;
	esac
	command pulumi "$@" --stack "$STACK" --config-file "$CONFIG"
}
go() { shift 2; "$VERIFY" --stack "$STACK" --ledger "$LEDGER" "$@"; }
`
	return f.Run(f.ctx, "env", "STACK="+f.Name, "CONFIG="+filepath.Join(f.Folder, "Pulumi.yaml"),
		"VERIFY="+workspace.Verify, "LEDGER="+f.Ledger(),
		"bash", "-c", shell+strings.NewReplacer("-n codewizard ", "-n "+f.Namespace+" ", ".local/", f.Folder+"/").Replace(commands))
}

func TestLabIsTakenOverWithItsRows(t *testing.T) {
	t.Parallel()
	f := setup(t, "takeover")
	steps := readmeCommands(t, "Taking over the lab's own YAML")
	require.Len(t, steps, 5)

	f.createNamespace()
	f.ok(f.pipe(f.labManifest(), "apply"))
	f.eventually("the lab's server", 4*time.Minute, func() (string, bool) {
		seen := f.Kubectl(f.ctx, "logs", pod)
		return seen.String(), strings.Contains(seen.Stdout, "init process complete") &&
			f.Kubectl(f.ctx, "exec", pod, "--", "pg_isready", "--host=127.0.0.1").OK()
	})
	f.sql("create table stateful (str varchar); insert into stateful select md5(i::text) from generate_series(1, 10000) i")
	const rows = "select count(*), md5(string_agg(str, ',' order by str)) from stateful"
	content := f.sql(rows)
	require.Contains(t, content, "10000|")
	identity := f.sql("select system_identifier from pg_control_system()")
	volume := f.kubectl("get", "pvc", "postgres-pv-claim", "--output=jsonpath={.spec.volumeName}")
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), cleanTimeout)
		defer cancel()
		// Kept by the test's own doing, it would outlive it.
		result := f.Run(ctx, "kubectl", "patch", "pv", volume, `--patch={"spec":{"persistentVolumeReclaimPolicy":"Delete"}}`)
		if !result.OK() {
			t.Errorf("%s", result)
		}
	})

	before := f.objects()
	for _, step := range []int{0, 1} {
		f.requireRefused("StatefulSet postgres (app=postgres), Service postgres (app=postgres), ConfigMap postgres-config (with a password)",
			"Taking over the lab's own YAML")
		require.Equal(t, before, f.objects(), "the lab runs on")
		f.ok(f.typed(steps[step]))
	}
	stopped := f.ok(f.typed(steps[2]))
	require.Contains(t, stopped, "database system is shut down")
	f.requireRefused("StatefulSet postgres (app=postgres)")
	f.ok(f.typed(steps[3]))

	// Whoever mistook the role learns it, and can correct it.
	f.ok(f.Set(f.ctx, "user", "nobody"))
	ctx, interrupt := context.WithCancel(f.ctx)
	defer interrupt()
	ended := make(chan stack.Result, 1)
	go func() { ended <- f.Up(ctx) }()
	f.eventually("the server to say which name is wrong", 4*time.Minute, func() (string, bool) {
		seen := f.Kubectl(f.ctx, "logs", pod)
		return seen.String(), strings.Contains(seen.Stdout, "has no superuser nobody; set the one that it has with: pulumi config set user")
	})
	interrupt()
	require.False(t, (<-ended).OK())
	f.ok(f.Cancel(f.ctx))
	f.ok(f.Set(f.ctx, "user", "clerk"))

	f.ok(f.typed(steps[4]))
	f.requireTakenOver(rows, content, identity, volume)

	// As when the new image sorts otherwise than the lab's did.
	require.NotContains(t, f.verify(proven), "collation")
	f.sql("update pg_database set datcollversion = '2.28' where datname = 'shop'")
	require.Contains(t, f.verify(proven), "in shop: REINDEX DATABASE shop; ALTER DATABASE shop REFRESH COLLATION VERSION;")
	f.sql("reindex database shop")
	f.sql("alter database shop refresh collation version")
	require.NotContains(t, f.verify(proven), "collation")

	// What chose the volume is of no effect any more, present or not.
	f.ok(f.Unset(f.ctx, "volumeName"))
	f.ok(f.Up(f.ctx, "--expect-no-changes"))
	f.ok(f.Set(f.ctx, "storageClass", f.kubectl("get", "pv", volume, "--output=jsonpath={.spec.storageClassName}")))
	f.ok(f.Up(f.ctx, "--expect-no-changes"))
	f.ok(f.Unset(f.ctx, "storageClass"))
	f.ok(f.Up(f.ctx, "--expect-no-changes"))
	claim := f.kubectl("get", "pvc", contract.ClaimName(0), "--output=jsonpath={.metadata.uid}")
	f.ok(f.Destroy(f.ctx))
	f.ok(f.Up(f.ctx))
	require.Equal(t, claim, f.kubectl("get", "pvc", contract.ClaimName(0), "--output=jsonpath={.metadata.uid}"))
	f.requireTakenOver(rows, content, identity, volume)
	f.verify(proven)

	// The same way leads back from a claim that was lost.
	f.up(0)
	f.kubectl("delete", "pvc", contract.ClaimName(0), "--wait")
	f.ok(f.Set(f.ctx, "replicas", "1"))
	f.requireRefused("initializeEmptyVolume", "pulumi config set volumeName")
	f.ok(f.Set(f.ctx, "volumeName", volume))
	f.requireRefused("volumeName", "belongs to an earlier claim postgredb-postgres-0", "kubectl patch pv "+volume)
	_, reserve, _ := strings.Cut(steps[3], "\n")
	f.ok(f.typed(reserve))
	f.up(1)
	f.requireTakenOver(rows, content, identity, volume)
}

// requireRefused requires that `pulumi up` is refused, and what it says.
func (f *fixture) requireRefused(says ...string) {
	f.t.Helper()
	refused := f.Up(f.ctx)
	require.False(f.t, refused.OK(), "%s", refused)
	for _, text := range says {
		require.Contains(f.t, refused.Output, text)
	}
}

func (f *fixture) requireTakenOver(rows, content, identity, volume string) {
	f.t.Helper()
	require.Equal(f.t, content, f.sql(rows))
	require.Equal(f.t, identity, f.sql("select system_identifier from pg_control_system()"))
	require.Equal(f.t, volume+" Bound", f.kubectl("get", "pvc", contract.ClaimName(0), "--output=jsonpath={.spec.volumeName} {.status.phase}"))
	require.Equal(f.t, "Retain", f.kubectl("get", "pv", volume, "--output=jsonpath={.spec.persistentVolumeReclaimPolicy}"))
	require.Equal(f.t, "clerk|shop", f.sql("select current_user, current_database()"))
}
