// Command pulumi-resource-kubernetes is the Pulumi provider plugin for
// Kubernetes, built from the provider's Go module.
//
// Upstream embeds the provider's schema, which its build generates; a Go
// module cannot be built that way. Here the two files lie beside the plugin's
// executable, in the folder that `pulumi plugin install` makes for it.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/pulumi/pulumi-kubernetes/provider/v4/pkg/provider"
)

// providerVersion is set by the linker. It has to be the version of the SDK that the
// programs use: the engine looks for the plugin under that version.
var providerVersion string

func main() {
	schema, mapping, err := descriptions()
	if err != nil {
		fmt.Fprintln(os.Stderr, "pulumi-resource-kubernetes:", err)
		os.Exit(1)
	}
	provider.Serve("kubernetes", providerVersion, schema, mapping)
}

// descriptions reads the provider's schema, which programs without a generated
// SDK (YAML) and reads of existing objects need, and the names that Terraform
// gives the same objects, for `pulumi convert`.
func descriptions() (schema, mapping []byte, err error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	dir := filepath.Dir(exe)
	if schema, err = os.ReadFile(filepath.Join(dir, "schema.json")); err != nil {
		return nil, nil, fmt.Errorf("the provider's schema is missing beside the plugin: %w; run `make setup`", err)
	}
	if mapping, err = os.ReadFile(filepath.Join(dir, "terraform-mapping.json")); err != nil {
		return nil, nil, fmt.Errorf("the provider's mapping is missing beside the plugin: %w; run `make setup`", err)
	}
	return schema, mapping, nil
}
