package conflict

import (
	"testing"

	"github.com/stretchr/testify/require"

	"stateful-postgres/components/internal/observe"
	"stateful-postgres/components/settings"
)

func TestPublicSuperuserInPlainTextIsWarnedOf(t *testing.T) {
	t.Parallel()
	balancer := settings.Args{ServiceType: settings.ServiceTypeLoadBalancer}
	encrypted, some := balancer, balancer
	encrypted.TLS, encrypted.RequireTLS = true, true
	some.AllowFrom = []string{"10.0.0.0/8"}
	require.Equal(t, []string{"everybody who reaches the load balancer of service postgres may try passwords of superuser codewizard, in plain text; " +
		"name the networks of the clients in the program, or refuse plain connections in the program: requireTls: true"},
		Warnings(balancer.WithDefaults(), observe.Observation{}))
	for name, args := range map[string]settings.Args{"encrypted": encrypted, "some networks": some, "node port": {}, "cluster": {ServiceType: settings.ServiceTypeClusterIP}} {
		require.Empty(t, Warnings(args.WithDefaults(), observe.Observation{}), name)
	}
}

func TestWhatMayNotBeReadIsNamedInOneLine(t *testing.T) {
	t.Parallel()
	const begin = "these credentials may not read some things, so that they are not checked beforehand: "
	claim, _ := bound("")
	args := settings.Args{VolumeName: "pv-1", Namespace: "shop"}.WithDefaults()
	all := observe.Observation{ClusterHidden: true, NamespaceHidden: true, VolumeHidden: true}
	require.Equal(t, []string{begin + "namespace kube-system (another cluster goes unnoticed); namespace shop (what it allows its pods, and its deletion); " +
		"volume pv-1 (a claim that it does not fit stays Pending, and kubectl describe -n shop pvc postgredb-postgres-0 says why)"}, Warnings(args, all))
	all.Claim, all.ClaimVolumeHidden, all.StorageClassHidden = claim, true, true
	require.Equal(t, []string{begin + "namespace kube-system (another cluster goes unnoticed); namespace shop (what it allows its pods, and its deletion); " +
		"storage class fast (whether its volumes can grow); volume pv-1 (whether it outlives its claim, and its deletion)"}, Warnings(args, all))
	for name, seen := range map[string]observe.Observation{"seen": {Volume: freeVolume()}, "not there": {}, "no cluster": {NoCluster: true}} {
		require.Empty(t, Warnings(args, seen), name)
	}
}
