// Command pulumi-language-go is the pinned Go language host, the last one that
// can be had as a Go module, with what today's Pulumi CLI expects of it besides.
//
//   - The CLI sends `runtime.options` of Pulumi.yaml with each request, the host
//     takes them only as flags. Without `buildTarget` every preview links the
//     program anew.
//   - The CLI names the folder of a plugin that is to be built from source in a
//     way that the host does not know. This command runs those plugins itself,
//     and hands every other call on.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"go.yaml.in/yaml/v3"

	"stateful-postgres/local/internal/languagehost"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "pulumi-language-go:", err)
		os.Exit(1)
	}
}

// run is the host, with what it lacks; it returns when that ends.
func run(args []string) error {
	host, err := languagehost.Beside("pulumi-language-go")
	if err != nil {
		return err
	}
	// The CLI starts its language hosts in the folder of the project.
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	flags, err := hostFlags(dir)
	if err != nil {
		return err
	}
	return languagehost.Serve(host, append(flags, args...), withGOGC(os.Environ()), handlers)
}

// handlers are the calls that are not handed on.
var handlers = map[string]languagehost.Handler{
	pulumirpc.LanguageRuntime_RunPlugin_FullMethodName: runPlugin,
}

// withGOGC is an environment for go build, which runs before every preview and
// every update: it takes a third less when it collects garbage less often.
func withGOGC(environment []string) []string {
	if os.Getenv("GOGC") != "" {
		return environment
	}
	return append(environment, "GOGC=400")
}

// hostFlags returns the flags that stand for the runtime options of the Pulumi
// project that holds dir: none when there is no project or it sets none.
func hostFlags(dir string) ([]string, error) {
	path, err := projectFile(dir)
	if path == "" || err != nil {
		return nil, err
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	// runtime is either a name or a name with options.
	var project struct {
		Main    string
		Runtime yaml.Node
	}
	if err := yaml.Unmarshal(text, &project); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if project.Runtime.Kind != yaml.MappingNode {
		return nil, nil
	}
	var runtime struct {
		Options struct {
			Binary      string
			BuildTarget string `yaml:"buildTarget"`
		}
	}
	if err := project.Runtime.Decode(&runtime); err != nil {
		return nil, fmt.Errorf("%s: runtime: %w", path, err)
	}
	var flags []string
	if binary := runtime.Options.Binary; binary != "" {
		flags = append(flags, "-binary="+binary)
	}
	if target := runtime.Options.BuildTarget; target != "" {
		// A host of today builds in the program's folder, so a relative path
		// starts there.
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(path), project.Main, target)
		}
		flags = append(flags, "-buildTarget="+target)
	}
	return flags, nil
}

// projectFile finds the Pulumi project that holds dir, "" when there is none.
func projectFile(dir string) (string, error) {
	for {
		// The names in the order in which the CLI looks for them.
		for _, name := range []string{"Pulumi.yaml", "Pulumi.yml", "Pulumi.json"} {
			path := filepath.Join(dir, name)
			if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
				return path, nil
			} else if err != nil && !errors.Is(err, os.ErrNotExist) {
				return "", err
			}
		}
		if dir == filepath.Dir(dir) {
			return "", nil
		}
		dir = filepath.Dir(dir)
	}
}
