package conflict

import (
	"testing"

	"github.com/stretchr/testify/require"

	"stateful-postgres/components/internal/observe"
	"stateful-postgres/components/settings"
)

func TestAnotherClusterIsRefusedUnlessItIsSaid(t *testing.T) {
	t.Parallel()
	last := []observe.Registered{{Namespace: "codewizard", ClusterUID: "a"}}
	for _, test := range []struct {
		name   string
		set    string
		seen   observe.Observation
		expect string
	}{
		{name: "first update", seen: observe.Observation{ClusterUID: "b"}},
		{name: "the same", seen: observe.Observation{ClusterUID: "a", Last: last}},
		{name: "remembered by nobody", seen: observe.Observation{ClusterUID: "b", Last: []observe.Registered{{Namespace: "codewizard"}}}},
		{name: "hidden now", seen: observe.Observation{ClusterHidden: true, Last: last}},
		{name: "not looked at", set: "a", seen: observe.Observation{NoCluster: true, Last: last}},
		{
			name: "another", seen: observe.Observation{ClusterUID: "b", Server: "https://10.0.0.1:6443", Last: last},
			expect: "clusterUid: got cluster b at https://10.0.0.1:6443, expected cluster a, because the stack's last update left its server and its data there; " +
				"correct kubernetes:context or kubernetes:kubeconfig, or if the stack has moved to this one: pulumi config set clusterUid b; " +
				"for other data use another stack with a namespace of its own",
		},
		{name: "another, and it is said", set: "b", seen: observe.Observation{ClusterUID: "b", Last: last}},
		{
			name: "another than the one that was said", set: "b", seen: observe.Observation{ClusterUID: "c", Server: "https://10.0.0.2:6443", Last: last},
			expect: `clusterUid: got cluster c at https://10.0.0.2:6443, expected cluster "b", because that is set; ` +
				"correct kubernetes:context or kubernetes:kubeconfig, or if the stack belongs to this one: pulumi config set clusterUid c",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			err := refusal(Find(settings.Args{ClusterUID: test.set}.WithDefaults(), test.seen, "pulumi-p-dev"))
			if test.expect == "" {
				require.NoError(t, err)
				return
			}
			require.EqualError(t, err, "1 setting is invalid, nothing was changed:\n  "+test.expect)
			requireFixForPrograms(t, err)
		})
	}
}
