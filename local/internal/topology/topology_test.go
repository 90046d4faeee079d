package topology

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"stateful-postgres/local/internal/layout"
)

func TestAddressesOfMachinesDoNotCollide(t *testing.T) {
	t.Parallel()
	topology := Topology{Subnet: netip.MustParsePrefix("10.231.77.0/24"), Nodes: MaxNodes}
	seen := map[netip.Addr]string{topology.Host(): "host", topology.ControlPlane(): ControlPlane}
	require.Len(t, seen, 2)
	pods := netip.MustParsePrefix(PodCIDR)
	for _, node := range topology.AllNodes() {
		require.Empty(t, seen[node.Address], node.Name)
		seen[node.Address] = node.Name
		require.True(t, topology.Subnet.Contains(node.Address), node.Name)
		require.True(t, pods.Contains(node.PodCIDR.Addr()), node.Name)
	}
	require.Len(t, topology.Machines(), MaxNodes+1)
	require.Equal(t, "10.244.2.0/24", topology.Node(2).PodCIDR.String())
}

func TestSubnetIsOneThatTheHostHasNoRouteTo(t *testing.T) {
	t.Parallel()
	free := netip.MustParsePrefix("10.9.8.0/24")
	first, second := netip.MustParsePrefix(candidates[0]), netip.MustParsePrefix(candidates[1])
	for name, test := range map[string]struct {
		preferred netip.Prefix
		inUse     []string
		want      netip.Prefix
	}{
		"nothing in use":            {want: first},
		"the first in use":          {inUse: []string{"10.231.0.0/16"}, want: second},
		"a part of the first":       {inUse: []string{"10.231.77.128/25"}, want: second},
		"the one from before":       {preferred: free, want: free},
		"the one from before taken": {preferred: free, inUse: []string{"10.9.0.0/16"}, want: first},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := ChooseSubnet(test.preferred, prefixes(test.inUse))
			require.NoError(t, err)
			require.Equal(t, test.want, got)
		})
	}
	_, err := ChooseSubnet(netip.Prefix{}, prefixes([]string{"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"}))
	require.ErrorContains(t, err, "no free subnet")
}

func prefixes(texts []string) []netip.Prefix {
	var parsed []netip.Prefix
	for _, text := range texts {
		parsed = append(parsed, netip.MustParsePrefix(text))
	}
	return parsed
}

func TestTopologyIsKept(t *testing.T) {
	t.Parallel()
	l := layout.Layout{Root: t.TempDir()}
	none, err := Load(l)
	require.NoError(t, err)
	require.Zero(t, none)
	want := Topology{Subnet: netip.MustParsePrefix("10.1.2.0/24"), Nodes: 3}
	require.NoError(t, want.Save(l))
	got, err := Load(l)
	require.NoError(t, err)
	require.Equal(t, want, got)
}
