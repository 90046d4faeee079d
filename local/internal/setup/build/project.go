package build

import (
	"context"
	"io"
	"slices"

	"stateful-postgres/local/internal/layout"
	"stateful-postgres/local/internal/setup/tool"
)

// Project compiles the Pulumi program and verify exactly as `pulumi up` and
// `go run ./verify` do it, so that both find all of it in Go's build cache,
// and the program where Pulumi.yaml says.
//
// Whether they are stale is left to Go: it knows as well what is left in its
// cache.
func Project(ctx context.Context, l layout.Layout, log *tool.Log, update func(string)) error {
	packages := []string{".", "./verify"}
	total, err := countLines(ctx, log, tool.Command{
		Args: append([]string{"go", "list", "-deps"}, packages...),
		Dir:  l.Root, Env: ProjectEnvironment,
	}, update)
	if err != nil {
		return err
	}
	progress := progress{update: update, total: total}
	for _, args := range [][]string{
		{"go", "build", "-v", "-o", program(l), packages[0]},
		// What `go run` links is not what `go build` links.
		{"go", "run", "-v", packages[1], "--help"},
	} {
		err := log.Run(ctx, tool.Command{
			Args: args, Dir: l.Root, Env: slices.Concat(ProjectEnvironment, collector()), Line: progress.line, Stdout: io.Discard,
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// program is the Pulumi program.
func program(l layout.Layout) string { return l.Binary("stateful-postgres") }

// ProjectEnvironment is that of the shell in which they will be run, where it
// decides about the keys of Go's build cache. Whoever has flags of their own
// has them there, too.
var ProjectEnvironment = []string{"CGO_ENABLED=0"}
