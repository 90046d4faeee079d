package e2e

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
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
				"Namespace/" + f.Namespace, "PersistentVolumeClaim/postgredb-postgres-0",
				"Secret/postgres-credentials", "ConfigMap/postgres-data-expected",
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

func TestDestroyWithDeleteDataLeavesNothing(t *testing.T) {
	t.Parallel()
	f := setup(t, "delete")
	f.up(1)
	f.verify(proven)
	f.ok(f.Set(f.ctx, "deleteData", "true"))
	f.ok(f.Up(f.ctx))
	f.verify(proven)
	f.ok(f.Destroy(f.ctx))
	result := f.Kubectl(f.ctx, "get", "namespace", f.Namespace)
	require.Contains(t, result.Output, "NotFound", "%s", result)
}
