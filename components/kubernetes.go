package components

import (
	"fmt"

	"github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi/config"

	"stateful-postgres/components/internal/objects"
	"stateful-postgres/components/internal/observe"
)

// clusterIdentifier is the same for every stack and every kubeconfig. The
// provider replaces itself, and with it everything it made, when it believes
// that the kubeconfig points at another cluster; a rotated certificate or a
// renamed context is enough. With an identifier that never changes it never
// does, so no change of the kubernetes:* settings can delete data.
const clusterIdentifier = "stateful-postgres"

// newProvider makes the Kubernetes provider of a Postgres component. An
// explicit provider does not read the stack's kubernetes:* settings by itself,
// so they are handed on here.
//
// The component needs three properties that the default provider lacks:
// existing objects are taken over (a retained claim after a destroy, or
// whatever an interrupted update made and could not enter into the state), and
// Secret and ConfigMap are updated in place instead of being replaced.
func newProvider(ctx *pulumi.Context, name string, way observe.Way, opts ...pulumi.ResourceOption) (*kubernetes.Provider, error) {
	args := &kubernetes.ProviderArgs{
		// Not nil, or the SDK would put the content of $KUBECONFIG, a path of
		// the machine that ran the update, into the stack's state. The provider
		// reads $KUBECONFIG itself when this is empty.
		Kubeconfig:             way.Input,
		Context:                objects.OptionalString(way.Context),
		Cluster:                objects.OptionalString(way.Cluster),
		ClusterIdentifier:      pulumi.String(clusterIdentifier),
		Namespace:              stringSetting(ctx, "namespace"),
		RenderYamlToDirectory:  stringSetting(ctx, "renderYamlToDirectory"),
		UpsertExistingObjects:  pulumi.Bool(true),
		EnableSecretMutable:    pulumi.Bool(true),
		EnableConfigMapMutable: pulumi.Bool(true),
		EnableServerSideApply:  pulumi.Bool(true),
	}
	if args.RenderYamlToDirectory != nil {
		// What writes files refuses to be told of a cluster.
		args.Kubeconfig, args.Context, args.Cluster = pulumi.String(""), nil, nil
	}
	for key, field := range map[string]*pulumi.BoolPtrInput{
		"alwaysRender":                &args.AlwaysRender,
		"deleteUnreachable":           &args.DeleteUnreachable,
		"enablePatchForce":            &args.EnablePatchForce,
		"skipUpdateUnreachable":       &args.SkipUpdateUnreachable,
		"suppressDeprecationWarnings": &args.SuppressDeprecationWarnings,
		"suppressHelmHookWarnings":    &args.SuppressHelmHookWarnings,
	} {
		if _, set := ctx.GetConfig("kubernetes:" + key); !set {
			continue
		}
		value, err := config.TryBool(ctx, "kubernetes:"+key)
		if err != nil {
			return nil, fmt.Errorf("kubernetes:%s: expected true or false: %w", key, err)
		}
		*field = pulumi.Bool(value)
	}
	if _, set := ctx.GetConfig("kubernetes:kubeClientSettings"); set {
		var settings kubernetes.KubeClientSettings
		if err := config.TryObject(ctx, "kubernetes:kubeClientSettings", &settings); err != nil {
			return nil, fmt.Errorf("kubernetes:kubeClientSettings: expected burst, qps and timeout: %w", err)
		}
		args.KubeClientSettings = kubernetes.KubeClientSettingsArgs{
			Burst:   pulumi.IntPtrFromPtr(settings.Burst),
			Qps:     pulumi.Float64PtrFromPtr(settings.Qps),
			Timeout: pulumi.IntPtrFromPtr(settings.Timeout),
		}
	}
	return kubernetes.NewProvider(ctx, name, args, opts...)
}

// stringSetting is a kubernetes:* setting of the stack, nil when it is not set.
func stringSetting(ctx *pulumi.Context, key string) pulumi.StringPtrInput {
	value, set := ctx.GetConfig("kubernetes:" + key)
	if !set {
		return nil
	}
	return pulumi.StringPtr(value)
}
