package components

import (
	"maps"
	"reflect"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"stateful-postgres/internal/contract"
)

func TestReferenceHoldsEveryOutput(t *testing.T) {
	t.Parallel()
	secret := map[string]bool{}
	component := reflect.TypeFor[Postgres]()
	for i := range component.NumField() {
		if name, tagged := component.Field(i).Tag.Lookup("pulumi"); tagged {
			secret[name] = component.Field(i).Tag.Get("provider") == "secret"
		}
	}
	described := map[string]bool{}
	for _, output := range contract.OutputTable() {
		described[output.Name] = output.Secret
		require.Regexp(t, `^[A-Z].*\.$`, output.Description, output.Name)
	}
	require.Equal(t, secret, described, "the tags of Postgres, and contract.OutputTable")

	s := setup(t, nil, nil)
	require.Equal(t, slices.Sorted(maps.Keys(s.outputs)), slices.Sorted(maps.Keys(described)), "Postgres.Outputs, and contract.OutputTable")
	for name, isSecret := range described {
		require.Equal(t, isSecret, slices.Contains(s.secrets, name), name)
	}
}
