package build

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"stateful-postgres/local/internal/layout"
	"stateful-postgres/local/internal/setup/tool"
)

// environment of every build. With cgo, or with flags of the user's own, all
// packages would be compiled again under another key of the build cache.
var environment = []string{"CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off"}

// collector has the compiler collect garbage less often, which saves a fifth of
// its time, but not use more memory than its largest package needs anyway. The
// user's own choice stays.
func collector() []string {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return nil
	}
	return []string{"GOGC=400", "GOMEMLIMIT=3GiB"}
}

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

// Fetch downloads the modules that the programs are made of, which waits for
// the network much more than it computes. Build does it, too, if need be.
func Fetch(ctx context.Context, log *tool.Log, programs []Program, update func(string)) error {
	for _, group := range byModule(programs) {
		if _, err := count(ctx, log, group, update); err != nil {
			return err
		}
	}
	return nil
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
	total, err := count(ctx, b.Log, programs, update)
	if err != nil {
		return err
	}
	progress := progress{update: update, total: total}
	args := append([]string{"go", "build", "-v", "-o", dir + string(filepath.Separator)}, b.flags()...)
	return b.Log.Run(ctx, tool.Command{
		Args: append(args, packages(programs)...),
		Dir:  programs[0].Module, Env: slices.Concat(environment, collector()), Line: progress.line,
	})
}

// count says of how many packages the programs of a module are made. It
// downloads the modules that are missing.
func count(ctx context.Context, log *tool.Log, programs []Program, update func(string)) (int, error) {
	update("counting packages")
	args := append([]string{"go", "list", "-buildvcs=false", "-deps"}, packages(programs)...)
	return countLines(ctx, log, tool.Command{Args: args, Dir: programs[0].Module, Env: environment}, update)
}

// countLines runs a `go list`.
func countLines(ctx context.Context, log *tool.Log, list tool.Command, update func(string)) (int, error) {
	var lines bytes.Buffer
	progress := progress{update: update}
	list.Stdout, list.Line = &lines, progress.line
	// It downloads as many modules at a time as it has processors.
	list.Env = append(slices.Clone(list.Env), "GOMAXPROCS=16")
	err := log.Run(ctx, list)
	return bytes.Count(lines.Bytes(), []byte("\n")), err
}

func packages(programs []Program) []string {
	var packages []string
	for _, p := range programs {
		packages = append(packages, p.Package)
	}
	return packages
}

// Rename is a Place that moves the built file to the program's Product.
func Rename(p Program, built string) error {
	if err := os.MkdirAll(filepath.Dir(p.Product), 0o755); err != nil {
		return err
	}
	return os.Rename(built, p.Product)
}
