package main

import (
	"cmp"
	"sync"
	"testing"

	provider "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi-go-provider/integration"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/config"
	"github.com/pulumi/pulumi/sdk/v3/go/common/tokens"
	"github.com/pulumi/pulumi/sdk/v3/go/property"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/require"
)

const urn = "urn:pulumi:dev::shop::stateful-postgres:index:Postgres::orders"

// registered are the types of what was declared.
type registered struct {
	mu    sync.Mutex
	types map[string]resource.PropertyMap
}

func (r *registered) NewResource(args pulumi.MockResourceArgs) (string, resource.PropertyMap, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.types[args.TypeToken] = args.Inputs
	return args.Name, args.Inputs, nil
}

func (r *registered) Call(pulumi.MockCallArgs) (resource.PropertyMap, error) { return nil, nil }

func construct(t *testing.T, request provider.ConstructRequest) (*registered, provider.ConstructResponse, error) {
	t.Helper()
	recorder := &registered{types: map[string]resource.PropertyMap{}}
	response, err := constructOn(serve(t, recorder), request)
	return recorder, response, err
}

func constructOn(server integration.Server, request provider.ConstructRequest) (provider.ConstructResponse, error) {
	request.Urn = cmp.Or(request.Urn, urn)
	// Without a cluster: whatever is declared goes to files.
	request.Config = map[config.Key]string{config.MustMakeKey("kubernetes", "renderYamlToDirectory"): "manifests"}
	return server.Construct(request)
}

func TestConstructDeclaresTheComponent(t *testing.T) {
	t.Parallel()
	recorder, response, err := construct(t, provider.ConstructRequest{Inputs: property.NewMap(map[string]property.Value{
		"replicas": property.New(0.0), "namespace": property.New("orders-data"),
		"password": property.New("hunter2").WithSecret(true),
	})})
	require.NoError(t, err)
	require.Equal(t, "orders-data", response.State.Get("namespace").AsString())
	require.Equal(t, 0.0, response.State.Get("replicas").AsNumber())
	require.Equal(t, "hunter2", response.State.Get("password").AsString())
	require.True(t, response.State.Get("password").Secret())
	set := recorder.types["kubernetes:apps/v1:StatefulSet"]["spec"].ObjectValue()
	require.Equal(t, 0.0, set["replicas"].NumberValue())
	require.True(t, recorder.types["kubernetes:core/v1:Secret"]["data"].IsSecret())
}

func TestConstructRefusesInvalidInputs(t *testing.T) {
	t.Parallel()
	recorder, _, err := construct(t, provider.ConstructRequest{Inputs: property.NewMap(map[string]property.Value{
		"replicas": property.New(1.5), "storage": property.New("1Qi"), "image": property.New(property.Computed),
	})})
	require.ErrorContains(t, err, "3 settings are invalid, nothing was changed:\n"+
		"  image: got a value that is not known yet, expected one that is known at preview; take it from the stack's config, or write it into the program\n"+
		"  replicas: got \"1.5\", expected 0 (stopped, data kept) or 1; set it in the program: replicas: 1\n"+
		"  storage: got \"1Qi\", expected a Kubernetes quantity of at least 128Mi, like 1Gi or 500Gi; set it in the program: storage: 1Gi")
	require.Empty(t, recorder.types)
}

func TestConstructRefusesAProviderOfTheProgram(t *testing.T) {
	t.Parallel()
	recorder, _, err := construct(t, provider.ConstructRequest{Providers: map[tokens.Package]provider.ProviderReference{
		"kubernetes": {Urn: "urn:pulumi:dev::shop::pulumi:providers:kubernetes::other", ID: "1"},
	}})
	require.EqualError(t, err, "providers: got one for kubernetes, expected none, because the component makes its own; "+
		"remove it, and give the component the same kubeconfig as its input kubeconfig, or set what it sets in the stack's config, like: pulumi config set kubernetes:context NAME")
	require.Empty(t, recorder.types)
}

func TestComponentsMadeTogetherDoNotShareANamespace(t *testing.T) {
	t.Parallel()
	server := serve(t, &registered{types: map[string]resource.PropertyMap{}})
	in := func(name, namespace string) error {
		inputs := map[string]property.Value{}
		if namespace != "" {
			inputs["namespace"] = property.New(namespace)
		}
		_, err := constructOn(server, provider.ConstructRequest{
			Urn:    resource.URN("urn:pulumi:dev::shop::stateful-postgres:index:Postgres::" + name),
			Inputs: property.NewMap(inputs),
		})
		return err
	}
	require.NoError(t, in("orders", "orders-data"))
	require.NoError(t, in("stock", ""))
	require.NoError(t, in("orders", "orders-data"), "the update after the preview")
	require.ErrorContains(t, in("returns", "orders-data"), `namespace: got "orders-data", expected one of its own, because orders of this program has it; `+
		`set another one in the program`)
	require.ErrorContains(t, in("returns", "codewizard"), "because stock of this program has it")
}
