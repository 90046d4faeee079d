package components

import (
	"slices"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/require"

	"stateful-postgres/components/internal/objects"
	"stateful-postgres/components/internal/observe"
	"stateful-postgres/components/settings"
)

// declared declares the objects for something that was observed.
func declared(t *testing.T, args settings.Args, seen observe.Observation) *stack {
	t.Helper()
	seen.NoCluster = true
	s := &stack{resources: map[string]pulumi.MockResourceArgs{}}
	require.NoError(t, pulumi.RunErr(func(ctx *pulumi.Context) error {
		description, err := objects.Describe(args.WithDefaults(), seen, "pulumi-project-stack")
		if err != nil {
			return err
		}
		p := &Postgres{}
		if err := ctx.RegisterComponentResource(componentType, "postgres", p); err != nil {
			return err
		}
		_, err = declare(ctx, "postgres", p, description, observe.Way{})
		return err
	}, pulumi.WithMocks("project", "stack", s)))
	return s
}

// needs says whether a resource is declared after another one.
func (s *stack) needs(key, other string) bool {
	last := strings.LastIndex(other, "/")
	end := other[:last] + "::" + other[last+1:]
	return slices.ContainsFunc(s.resources[key].RegisterRPC.GetDependencies(), func(urn string) bool { return strings.HasSuffix(urn, end) })
}

func TestMarkerIsThereBeforeAServerThatHadData(t *testing.T) {
	t.Parallel()
	const key = "kubernetes:core/v1:ConfigMap/postgres-data-expected"
	first := declared(t, settings.Args{}, observe.Observation{})
	require.True(t, first.needs(key, setKey), "a first server may begin a new database")
	require.False(t, first.needs(setKey, key))

	// The namespace was deleted, and with it the marker.
	again := declared(t, settings.Args{}, observe.Observation{Last: []observe.Registered{{Namespace: "codewizard", DataExpected: true}}})
	require.True(t, again.needs(setKey, key))
	require.False(t, again.needs(key, setKey))

	stopped := declared(t, settings.Args{Replicas: ptr(0)}, observe.Observation{Last: []observe.Registered{{Namespace: "codewizard", DataExpected: true}}})
	require.Contains(t, stopped.resources, key, "also while the server is stopped")
}

func TestStateRemembersDataAndCluster(t *testing.T) {
	t.Parallel()
	require.Equal(t, true, setup(t, nil, nil).outputs["dataExpected"])
	require.Equal(t, false, setup(t, &PostgresArgs{Replicas: ptr(0)}, nil).outputs["dataExpected"], "no server was ever ready")

	last := []observe.Registered{{Namespace: "codewizard", ClusterUID: "a"}}
	for name, test := range map[string]struct {
		seen observe.Observation
		uid  string
	}{
		"never known":             {observe.Observation{}, ""},
		"known":                   {observe.Observation{ClusterUID: "b", Last: last}, "b"},
		"not to be read any more": {observe.Observation{ClusterHidden: true, Last: last}, "a"},
	} {
		require.Equal(t, test.uid, clusterUID(objects.Description{Settings: settings.Args{}.WithDefaults(), Observed: test.seen}), name)
	}
}
