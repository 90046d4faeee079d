package observe

import (
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/require"

	"stateful-postgres/components/settings"
	"stateful-postgres/internal/kubeconfig"
)

// noEngine takes part in nothing.
type noEngine struct{}

func (noEngine) NewResource(args pulumi.MockResourceArgs) (string, resource.PropertyMap, error) {
	return args.Name, args.Inputs, nil
}
func (noEngine) Call(pulumi.MockCallArgs) (resource.PropertyMap, error) { return nil, nil }

func findWay(t *testing.T, args settings.Args, config map[string]string) (way Way, isSecret bool) {
	t.Helper()
	err := pulumi.RunErr(func(ctx *pulumi.Context) (err error) {
		way, err = FindWay(ctx, args)
		isSecret = pulumi.IsSecret(way.Input)
		return err
	}, pulumi.WithMocks("p", "s", noEngine{}), func(info *pulumi.RunInfo) { info.Config, info.DryRun = config, true })
	require.NoError(t, err)
	return way, isSecret
}

func TestWayToTheClusterIsTheStacksUnlessTheProgramSays(t *testing.T) {
	t.Parallel()
	config := map[string]string{"kubernetes:kubeconfig": "~/.kube/other", "kubernetes:context": "elsewhere", "kubernetes:cluster": "there"}
	way, isSecret := findWay(t, settings.Args{}, config)
	require.Equal(t, kubeconfig.Source{Kubeconfig: "~/.kube/other", Context: "elsewhere", Cluster: "there"}, way.Source)
	require.True(t, way.Known)
	require.True(t, isSecret)

	way, isSecret = findWay(t, settings.Args{Kubeconfig: pulumi.String("apiVersion: v1")}, config)
	require.Equal(t, kubeconfig.Source{Kubeconfig: "apiVersion: v1"}, way.Source)
	require.True(t, way.Known)
	require.True(t, isSecret)
}

// A cluster that is made in the same program is known only during the update.
func TestWayToAClusterThatIsStillToBeMade(t *testing.T) {
	t.Parallel()
	later := pulumi.UnsafeUnknownOutput(nil).ApplyT(func(any) string { return "" }).(pulumi.StringOutput)
	way, _ := findWay(t, settings.Args{Kubeconfig: later}, map[string]string{"kubernetes:context": "elsewhere"})
	require.False(t, way.Known)
	require.Equal(t, kubeconfig.Source{}, way.Source)
}
