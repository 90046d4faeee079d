package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"

	provider "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi-go-provider/infer"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	sdk "github.com/pulumi/pulumi/sdk/v3/go/pulumi/provider"

	"stateful-postgres/components"
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
		args, err := components.ArgsFromInputs(request.Inputs, passwordOf(tracked))
		if err != nil {
			return nil, err
		}
		if err := p.namespaces.take(*args, request.Urn); err != nil {
			return nil, err
		}
		component, err := components.NewPostgres(ctx, name, args, options)
		var invalid components.InvalidSettings
		if errors.As(err, &invalid) {
			return nil, invalid.ForProgram()
		} else if err != nil {
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

func (n *namespaces) take(args components.PostgresArgs, by resource.URN) error {
	namespace := cmp.Or(args.Namespace, components.DefaultNamespace)
	n.mu.Lock()
	defer n.mu.Unlock()
	if owner, taken := n.taken[namespace]; taken && owner != by {
		return components.InvalidSettings{{
			Setting: "namespace", Value: strconv.Quote(namespace),
			Expected: fmt.Sprintf("one of its own, because %s of this program has it", owner.Name()),
			Fix:      "set another one in the program",
		}}
	}
	n.taken[namespace] = by
	return nil
}

// passwordOf is the password as the engine tracks it: whether it is a secret, and
// what it depends on.
func passwordOf(inputs pulumi.Map) pulumi.StringInput {
	input, given := inputs["password"]
	if !given {
		return nil
	}
	return pulumi.ToOutput(input).ApplyT(func(value any) string {
		text, _ := value.(string)
		return text
	}).(pulumi.StringOutput)
}

// checkProviders refuses a Kubernetes provider of the program's: passed over in
// silence, it would put the server into another cluster than was meant.
func checkProviders(request provider.ConstructRequest) error {
	if _, given := request.Providers["kubernetes"]; !given {
		return nil
	}
	return errors.New("providers: got one for kubernetes, expected none, because the component makes its own; " +
		"remove it, and set what it sets in the stack's config, like: pulumi config set kubernetes:context NAME")
}
