package observe

import (
	"fmt"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi/internals"

	"stateful-postgres/components/settings"
	"stateful-postgres/internal/kubeconfig"
)

// Way is the way to the cluster: the kubeconfig of the settings, or what the
// stack's kubernetes:* settings say.
type Way struct {
	kubeconfig.Source
	// Known is false while the program's own cluster is still to be made.
	Known bool
	// Input is the kubeconfig as the engine tracks it: a secret, "" for none.
	Input pulumi.StringOutput
}

// FindWay waits for the kubeconfig of the settings if there is one. At preview it
// may stay unknown.
func FindWay(ctx *pulumi.Context, args settings.Args) (Way, error) {
	setting := func(key string) string {
		value, _ := ctx.GetConfig("kubernetes:" + key)
		return value
	}
	if args.Kubeconfig == nil {
		source := kubeconfig.Source{Kubeconfig: setting("kubeconfig"), Context: setting("context"), Cluster: setting("cluster")}
		return Way{Source: source, Known: true, Input: secret(pulumi.String(source.Kubeconfig))}, nil
	}
	input := secret(args.Kubeconfig)
	// The provider is given the output itself, so nothing is lost of what it
	// depends on.
	result, err := internals.UnsafeAwaitOutput(ctx.Context(), input)
	if err != nil {
		return Way{}, fmt.Errorf("kubeconfig: %w", err)
	}
	text, _ := result.Value.(string)
	return Way{Source: kubeconfig.Source{Kubeconfig: text}, Known: result.Known, Input: input}, nil
}

func secret(text pulumi.StringInput) pulumi.StringOutput {
	return pulumi.ToSecret(text.ToStringOutput()).(pulumi.StringOutput)
}
