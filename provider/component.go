package main

import (
	"context"
	"errors"
	"fmt"
	"sync"

	provider "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi-go-provider/infer"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	sdk "github.com/pulumi/pulumi/sdk/v3/go/pulumi/provider"

	"stateful-postgres/components"
	"stateful-postgres/components/problem"
	"stateful-postgres/components/settings"
)

// postgres is the component as it is inferred from its Go type, with inputs of
// its own: infer would copy them into the fields of the arguments, where 1.5
// servers become 1, unknown names are dropped, and the first value of a wrong
// type hides all others.
type postgres struct {
	infer.InferredComponent
	namespaces *namespaces
}

// Construct declares the component that a program asks for.
func (p postgres) Construct(ctx context.Context, request provider.ConstructRequest) (provider.ConstructResponse, error) {
	if err := checkProviders(request); err != nil {
		return provider.ConstructResponse{}, err
	}
	return provider.ProgramConstruct(ctx, request, func(
		ctx *pulumi.Context, _, name string, inputs sdk.ConstructInputs, options pulumi.ResourceOption,
	) (*sdk.ConstructResult, error) {
		tracked, err := inputs.Map()
		if err != nil {
			return nil, err
		}
		args := settings.FromInputs(request.Inputs, texts(tracked, "password", "kubeconfig"))
		if err := p.namespaces.take(*args, request.Urn); err != nil {
			return nil, err
		}
		component, err := components.NewPostgres(ctx, name, args, options)
		if err != nil {
			return nil, err
		}
		return sdk.NewConstructResult(component)
	})
}

// namespaces are those of the components of one program. The component looks at
// the cluster for data of others; of those that are made together with it nothing
// is there yet.
type namespaces struct {
	mu    sync.Mutex
	taken map[string]resource.URN
}

func (n *namespaces) take(args settings.Args, by resource.URN) error {
	namespace := args.WithDefaults().Namespace
	n.mu.Lock()
	defer n.mu.Unlock()
	if owner, taken := n.taken[namespace]; taken && owner != by {
		other := problem.Choosing("namespace", "set another one")
		return problem.AsError([]problem.Problem{*problem.New("namespace", namespace,
			fmt.Sprintf("one of its own, because %s of this program has it", owner.Name()), other)}, problem.Program)
	}
	n.taken[namespace] = by
	return nil
}

// texts are inputs as the engine tracks them, by name: whether they are secrets,
// and what they depend on.
func texts(inputs pulumi.Map, names ...string) map[string]pulumi.StringInput {
	tracked := map[string]pulumi.StringInput{}
	for _, name := range names {
		if input, given := inputs[name]; given {
			tracked[name] = pulumi.ToOutput(input).ApplyT(func(value any) string {
				text, _ := value.(string)
				return text
			}).(pulumi.StringOutput)
		}
	}
	return tracked
}

// checkProviders refuses a Kubernetes provider of the program's: passed over in
// silence, it would put the server into another cluster than was meant.
func checkProviders(request provider.ConstructRequest) error {
	if _, given := request.Providers["kubernetes"]; !given {
		return nil
	}
	return errors.New("providers: got one for kubernetes, expected none, because the component makes its own; " +
		"remove it, and give the component the same kubeconfig as its input kubeconfig, or set what it sets in the stack's config, like: pulumi config set kubernetes:context NAME")
}
