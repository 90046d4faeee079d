package e2e

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"stateful-postgres/internal/contract"
)

// text is a number of the outputs without a fraction.
func text(number any) string { return fmt.Sprintf("%.0f", number) }

func TestRepeatedUpAndRefreshChangeNothing(t *testing.T) {
	t.Parallel()
	f := setup(t, "repeat")
	for _, replicas := range []int{1, 0, 1} {
		f.up(replicas)
		before := f.objects()
		outputs := f.outputs()
		f.ok(f.Preview(f.ctx, "--expect-no-changes"))
		f.ok(f.Up(f.ctx, "--expect-no-changes"))
		f.ok(f.Refresh(f.ctx, "--expect-no-changes"))
		f.ok(f.Up(f.ctx, "--expect-no-changes"))
		f.ok(f.Up(f.ctx, "--refresh", "--expect-no-changes"))
		require.Equal(t, before, f.objects(), "at %d replicas", replicas)
		require.Equal(t, outputs, f.outputs(), "at %d replicas", replicas)
	}
}

func TestDestroyKeepsTheRowsForTheNextUp(t *testing.T) {
	t.Parallel()
	for _, replicas := range []int{1, 0} {
		t.Run(fmt.Sprintf("at %d", replicas), func(t *testing.T) {
			t.Parallel()
			f := setup(t, "destroy")
			f.up(1)
			f.verify(proven)
			content := f.content()
			f.up(replicas)
			before, password := f.objects(), f.outputs()["password"].(string)
			retained := []string{
				"Namespace/" + f.Namespace, "PersistentVolumeClaim/" + contract.ClaimName(0),
				"Secret/" + contract.CredentialsSecret, "ConfigMap/" + contract.Marker,
			}

			f.ok(f.Destroy(f.ctx))
			left := f.objects()
			for _, name := range retained {
				require.NotEmpty(t, before[name].UID, name)
				require.Equal(t, before[name].UID, left[name].UID, name)
			}
			require.NotContains(t, left, "StatefulSet/postgres")
			require.NotContains(t, left, "Service/postgres")

			f.up(1)
			f.verify(proven)
			for _, name := range retained {
				require.Equal(t, before[name].UID, f.objects()[name].UID, name)
			}
			require.Subset(t, f.content(), content)
			// The password went with the state. The server has taken over the new one.
			generated := f.outputs()["password"].(string)
			require.NotEqual(t, password, generated)
			f.ok(f.login(generated))
			require.Contains(t, f.login(password).Output, "password authentication failed")
		})
	}
}

// What deleteData says at the moment of the destroy counts, whatever an earlier
// update left in the state.
func TestDestroyDeletesDataOnlyIfTheSettingsSaySoThen(t *testing.T) {
	t.Parallel()
	f := setup(t, "delete")
	f.up(1)
	f.verify(proven)
	content := f.content()
	f.ok(f.Set(f.ctx, "deleteData", "true"))
	f.ok(f.Up(f.ctx))
	before := f.objects()

	f.ok(f.Set(f.ctx, "deleteData", "false"))
	refused := f.Destroy(f.ctx)
	require.False(t, refused.OK(), "the state would delete the rows, the settings would not")
	require.Contains(t, refused.Output, "pulumi destroy --run-program deletes the data, or keeps it if deleteData is false now")
	require.Equal(t, before, f.objects(), "nothing was touched")

	kept := f.ok(f.Destroy(f.ctx, "--run-program"))
	require.Contains(t, kept, "[retain]")
	require.Equal(t, before["PersistentVolumeClaim/postgredb-postgres-0"].UID, f.objects()["PersistentVolumeClaim/postgredb-postgres-0"].UID)
	f.up(1)
	f.verify(proven)
	require.Subset(t, f.content(), content)

	f.ok(f.Set(f.ctx, "deleteData", "true"))
	f.ok(f.Destroy(f.ctx, "--run-program"))
	result := f.Kubectl(f.ctx, "get", "namespace", f.Namespace)
	require.Contains(t, result.Output, "NotFound", "%s", result)
}

func TestPlainDestroyDeletesNoData(t *testing.T) {
	t.Parallel()
	f := setup(t, "plain-destroy")
	f.up(1)
	f.verify(proven)
	f.ok(f.Set(f.ctx, "deleteData", "true"))
	require.Contains(t, f.ok(f.Destroy(f.ctx)), "[retain]", "no update took the setting over, and the destroy says what it keeps")
	f.up(1)
	f.verify(proven)
}
