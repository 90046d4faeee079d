package observe

import (
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
)

const componentType = "stateful-postgres:index:Postgres"

func TestStateOfTheLastUpdate(t *testing.T) {
	t.Parallel()
	state := func(namespace string) any {
		return map[string]any{"type": componentType, "outputs": map[string]any{
			"namespace": namespace, "user": "codewizard", "dataExpected": namespace != "app-data", "clusterUid": "uid-of-" + namespace,
		}}
	}
	const project = "urn:pulumi:dev::p::"
	resources := map[string]any{
		project + componentType + "::shop":                           state("shop-data"),
		project + componentType + "::store":                          state("store-data"),
		project + "my:index:App$" + componentType + "::shop":         state("app-data"),
		project + componentType + "$kubernetes:core/v1:Secret::shop": state("not-a-component"),
		project + componentType + "::unfinished":                     map[string]any{"type": componentType},
		"nonsense":                                                   "nonsense",
	}
	require.Equal(t, []Registered{
		{Namespace: "app-data", ClusterUID: "uid-of-app-data"},
		{Namespace: "shop-data", ClusterUID: "uid-of-shop-data", DataExpected: true},
	}, registeredIn(resources, componentType, "shop"))
	require.Equal(t, []Registered{{Namespace: "store-data", ClusterUID: "uid-of-store-data", DataExpected: true}},
		registeredIn(resources, componentType, "store"))
	require.Empty(t, registeredIn(resources, componentType, "unfinished"))
	require.Empty(t, registeredIn(nil, componentType, "shop"))
}

func TestStateOfAnEarlierVersionTellsWhetherThereWasData(t *testing.T) {
	t.Parallel()
	const component = "urn:pulumi:dev::p::my:index:App$" + componentType + "::shop"
	const marker = "urn:pulumi:dev::p::my:index:App$" + componentType + "$kubernetes:core/v1:ConfigMap::shop-data-expected"
	for _, test := range []struct {
		name     string
		replicas float64
		others   []string
		expected bool
	}{
		{"a server", 1, nil, true},
		{"never started", 0, nil, false},
		{"scaled to zero", 0, []string{marker}, true},
		{"the marker of another component", 0, []string{marker + "-too", "urn:pulumi:dev::p::" + componentType + "$kubernetes:core/v1:ConfigMap::shop-data-expected"}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			resources := map[string]any{component: map[string]any{"outputs": map[string]any{"namespace": "shop", "replicas": test.replicas}}}
			for _, other := range test.others {
				resources[other] = map[string]any{}
			}
			require.Equal(t, []Registered{{Namespace: "shop", DataExpected: test.expected}}, registeredIn(resources, componentType, "shop"))
		})
	}
}

func TestDataIsExpectedWhereMarkerOrStateSaysSo(t *testing.T) {
	t.Parallel()
	last := []Registered{{Namespace: "empty"}, {Namespace: "shop", DataExpected: true}}
	for name, test := range map[string]struct {
		seen     Observation
		expected bool
	}{
		"nothing known":              {Observation{}, false},
		"only the marker":            {Observation{Marker: &corev1.ConfigMap{}}, true},
		"only the state":             {Observation{Last: last}, true},
		"the state of another one":   {Observation{Last: last[:1]}, false},
		"a server that never became": {Observation{Last: []Registered{{Namespace: "shop"}}}, false},
	} {
		require.Equal(t, test.expected, test.seen.DataExpected("shop"), name)
	}
}

func TestNamespaceThatTheStateHolds(t *testing.T) {
	t.Parallel()
	const project = "urn:pulumi:dev::p::"
	resources := map[string]any{
		project + componentType + "$kubernetes:core/v1:Namespace::shop":                  nil,
		project + "my:index:App$" + componentType + "$kubernetes:core/v1:Namespace::app": nil,
		project + "kubernetes:core/v1:Namespace::plain":                                  nil,
		project + componentType + "$kubernetes:core/v1:Secret::store":                    nil,
	}
	require.True(t, holdsNamespace(resources, componentType, "shop"))
	require.True(t, holdsNamespace(resources, componentType, "app"))
	for _, name := range []string{"plain", "store", "other"} {
		require.False(t, holdsNamespace(resources, componentType, name), name)
	}
}
