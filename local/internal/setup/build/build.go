package build

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"stateful-postgres/local/internal/layout"
	"stateful-postgres/local/internal/setup/tool"
)

// environment of every build. With cgo, or with flags of the user's own, all
// packages would be compiled again under another key of the build cache.
var environment = []string{"CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off"}

// Builder builds programs of one checkout.
type Builder struct {
	Layout   layout.Layout
	Versions Versions
	Log      *tool.Log
	// Place puts a built file where the program's Product is to be.
	Place func(ctx context.Context, p Program, built string) error
}

// flags of every `go build`.
func (b *Builder) flags() []string {
	return []string{"-buildvcs=false", "-ldflags", b.Versions.linkerFlags()}
}

// Stale returns those of the programs that have to be built.
func (b *Builder) Stale(programs []Program) ([]Program, error) {
	var stale []Program
	for _, p := range programs {
		fresh, err := b.Fresh(p)
		if err != nil {
			return nil, err
		}
		if !fresh {
			stale = append(stale, p)
		}
	}
	return stale, nil
}

// Build makes programs, those of one module together, and puts each in place.
// It may be killed at any moment: what is in place is complete, what is not is
// made again, with the help of Go's build cache.
func (b *Builder) Build(ctx context.Context, programs []Program, update func(string)) error {
	if err := os.MkdirAll(b.Layout.Temp(), 0o755); err != nil {
		return err
	}
	temp, err := os.MkdirTemp(b.Layout.Temp(), "build-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	for _, group := range byModule(programs) {
		dir := filepath.Join(temp, filepath.Base(group[0].Module))
		if err := b.compile(ctx, group, dir, update); err != nil {
			return err
		}
		for _, p := range group {
			update("installing " + p.Name)
			if err := b.Place(ctx, p, filepath.Join(dir, p.Name)); err != nil {
				return fmt.Errorf("installing %s: %w", p.Name, err)
			}
			if err := b.markFresh(p); err != nil {
				return err
			}
		}
	}
	return nil
}

// byModule groups programs; what is in one group shares its compilations.
func byModule(programs []Program) [][]Program {
	var groups [][]Program
	index := map[string]int{}
	for _, p := range programs {
		i, known := index[p.Module]
		if !known {
			i = len(groups)
			index[p.Module] = i
			groups = append(groups, nil)
		}
		groups[i] = append(groups[i], p)
	}
	return groups
}

func (b *Builder) compile(ctx context.Context, programs []Program, dir string, update func(string)) error {
	module := programs[0].Module
	var packages []string
	for _, p := range programs {
		packages = append(packages, p.Package)
	}
	// Counting is cheap beside compiling, and downloads the modules.
	update("counting packages")
	var list bytes.Buffer
	count := progress{update: update}
	err := b.Log.Run(ctx, tool.Command{
		Args: append([]string{"go", "list", "-buildvcs=false", "-deps"}, packages...),
		Dir:  module, Env: environment, Stdout: &list, Line: count.line,
	})
	if err != nil {
		return err
	}
	count = progress{update: update, total: strings.Count(list.String(), "\n")}
	args := append([]string{"go", "build", "-v", "-o", dir + string(filepath.Separator)}, b.flags()...)
	return b.Log.Run(ctx, tool.Command{
		Args: append(args, packages...),
		Dir:  module, Env: environment, Line: count.line,
	})
}

// Rename is a Place that moves the built file to the program's Product.
func Rename(p Program, built string) error {
	if err := os.MkdirAll(filepath.Dir(p.Product), 0o755); err != nil {
		return err
	}
	return os.Rename(built, p.Product)
}
