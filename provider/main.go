// Command pulumi-resource-stateful-postgres serves the Postgres component to
// Pulumi programs in any language.
package main

import (
	"context"
	"fmt"
	"os"

	provider "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi-go-provider/infer"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/tokens"

	"stateful-postgres/components"
)

const packageName = "stateful-postgres"

// version is the version of the package, set by the linker in a release. A
// package that is added from a folder or from a git repository needs none of its
// own.
var version = "0.1.0"

func main() {
	served, err := newProvider()
	if err == nil {
		err = served.Run(context.Background(), packageName, version)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "pulumi-resource-stateful-postgres:", err)
		os.Exit(1)
	}
}

func newProvider() (provider.Provider, error) {
	return infer.NewProviderBuilder().
		WithDisplayName("Stateful PostgreSQL").
		WithDescription("A stateful PostgreSQL on Kubernetes that keeps its data.").
		WithKeywords("pulumi", "kubernetes", "postgresql", "category/database", "kind/component").
		WithComponents(postgres{infer.ComponentF(components.NewPostgres), &namespaces{taken: map[string]resource.URN{}}}).
		WithModuleMap(map[tokens.ModuleName]tokens.ModuleName{"components": "index"}).
		Build()
}
