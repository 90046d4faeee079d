// Command stateful-postgres is the Pulumi program: it reads the stack's
// settings, declares one PostgreSQL server, and exports what a client and the
// verify command need to reach it.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"stateful-postgres/components"
	"stateful-postgres/components/settings"
)

func main() {
	pulumi.Run(func(ctx *pulumi.Context) error {
		// The SDK gives access to a setting by its name only; unknown ones are
		// found in the whole config, which the engine hands over in this variable.
		var config map[string]string
		if err := json.Unmarshal([]byte(os.Getenv(pulumi.EnvConfig)), &config); err != nil {
			return fmt.Errorf("%s: expected the stack's config as JSON: %w", pulumi.EnvConfig, err)
		}
		args := settings.FromConfig(ctx.Project(), config, ctx.IsConfigSecret)
		postgres, err := components.NewPostgres(ctx, "postgres", args)
		if err != nil {
			return err
		}
		for name, value := range postgres.Outputs() {
			ctx.Export(name, value)
		}
		return nil
	})
}
