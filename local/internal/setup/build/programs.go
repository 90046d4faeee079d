// Package build makes the programs of the local cluster and of the Pulumi
// toolchain from their Go modules, and only when what they are made of changed.
package build

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"stateful-postgres/local/internal/layout"
)

// Program is one program made from a Go package.
type Program struct {
	// Name is the file that `go build` makes of Package.
	Name string
	// Package is what is built, in the module in the folder Module.
	Package string
	Module  string
	// Sources are the folders, besides the module's requirements, whose files
	// go into the program.
	Sources []string
	// Product is the file that is there once the program is in place.
	Product string
	// OtherLanguage says that only Pulumi programs in other languages than Go
	// need it.
	OtherLanguage bool
}

// Versions are the versions that programs are told to report, since a package
// built from a module does not know its own.
type Versions struct {
	// Kubernetes and Pulumi, both with a leading v.
	Kubernetes, Pulumi string
	// Provider is the version of the Pulumi SDK for Kubernetes, without a v:
	// the engine asks for the plugin by that number.
	Provider string
}

// ReadVersions takes the versions from the go.mod files of the checkout, the
// one place where they are chosen.
func ReadVersions(l layout.Layout) (Versions, error) {
	var v Versions
	for _, r := range []struct {
		module, path string
		version      *string
	}{
		{module(l), "k8s.io/kubernetes", &v.Kubernetes},
		{module(l), "github.com/pulumi/pulumi/pkg/v3", &v.Pulumi},
		{l.Root, "github.com/pulumi/pulumi-kubernetes/sdk/v4", &v.Provider},
	} {
		file := filepath.Join(r.module, "go.mod")
		text, err := os.ReadFile(file)
		if err != nil {
			return Versions{}, err
		}
		if *r.version, err = requirement(string(text), r.path); err != nil {
			return Versions{}, fmt.Errorf("%s: %w", file, err)
		}
	}
	v.Provider = strings.TrimPrefix(v.Provider, "v")
	return v, nil
}

func requirement(gomod, path string) (string, error) {
	m := regexp.MustCompile(`(?m)^\s*(?:require\s+)?` + regexp.QuoteMeta(path) + `\s+(v\S+)`).FindStringSubmatch(gomod)
	if m == nil {
		return "", fmt.Errorf("no requirement of %s", path)
	}
	return m[1], nil
}

func module(l layout.Layout) string { return filepath.Join(l.Root, "local") }

// Cluster lists the programs of the local cluster and of its images.
func Cluster(l layout.Layout) []Program {
	command := func(name string, sources ...string) Program {
		return Program{
			Name: name, Package: "./cmd/" + name, Module: module(l),
			Sources: append(sources, filepath.Join(module(l), "cmd", name)),
			Product: l.Binary(name),
		}
	}
	localkube := command("localkube", filepath.Join(module(l), "internal"))
	coredns, pause := command("coredns"), command("pause")
	coredns.Product = filepath.Join(l.Lib(), "coredns")
	pause.Product = filepath.Join(l.Lib(), "pause")
	// Of its own, it starts in half the time that localkube takes.
	kubectl := Program{Name: "kubectl", Package: "k8s.io/kubernetes/cmd/kubectl", Module: module(l), Product: l.Binary("kubectl")}
	return []Program{localkube, kubectl, coredns, pause}
}

// Pulumi lists the programs of the Pulumi toolchain, the CLI first: it is what
// installs the provider, whose Product is the plugin that it installs.
func Pulumi(l layout.Layout, v Versions) []Program {
	hosts := filepath.Join(module(l), "language-hosts")
	languageHost := filepath.Join(module(l), "internal", "languagehost")
	provider := filepath.Join(module(l), "cmd", "pulumi-resource-kubernetes")
	return []Program{
		{
			Name: "pulumi", Package: "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi", Module: module(l),
			Product: l.Binary("pulumi"),
		},
		{
			Name: "pulumi-language-go", Package: "./cmd/pulumi-language-go", Module: module(l),
			Sources: []string{languageHost, filepath.Join(module(l), "cmd", "pulumi-language-go")},
			Product: l.Binary("pulumi-language-go"),
		},
		{
			Name: "pulumi-language-go", Package: "github.com/pulumi/pulumi/sdk/v3/go/pulumi-language-go", Module: hosts,
			Product: filepath.Join(l.Lib(), "pulumi-language-go"),
		},
		{
			Name: "pulumi-language-nodejs", Package: "./cmd/pulumi-language-nodejs", Module: module(l),
			Sources: []string{languageHost, filepath.Join(module(l), "cmd", "pulumi-language-nodejs")},
			Product: l.Binary("pulumi-language-nodejs"), OtherLanguage: true,
		},
		{
			Name: "pulumi-language-nodejs", Package: "github.com/pulumi/pulumi/sdk/v3/nodejs/cmd/pulumi-language-nodejs", Module: hosts,
			Product: filepath.Join(l.Lib(), "pulumi-language-nodejs"), OtherLanguage: true,
		},
		{
			Name: "pulumi-language-yaml", Package: "github.com/pulumi/pulumi-yaml/cmd/pulumi-language-yaml", Module: module(l),
			Product: l.Binary("pulumi-language-yaml"), OtherLanguage: true,
		},
		{
			Name: "pulumi-resource-kubernetes", Package: "./cmd/pulumi-resource-kubernetes", Module: module(l),
			Sources: []string{provider},
			Product: filepath.Join(l.PulumiHome(), "plugins", "resource-kubernetes-v"+v.Provider, "pulumi-resource-kubernetes"),
		},
	}
}

// linkerFlags are the same for all programs: a variable that a program does
// not have is passed over.
func (v Versions) linkerFlags() string {
	major, minor, _ := strings.Cut(strings.TrimPrefix(v.Kubernetes, "v"), ".")
	minor, _, _ = strings.Cut(minor, ".")
	flags := []string{"-s", "-w"}
	set := func(variable, value string) { flags = append(flags, "-X", variable+"="+value) }
	for _, pkg := range []string{"k8s.io/component-base/version", "k8s.io/client-go/pkg/version"} {
		set(pkg+".gitVersion", v.Kubernetes)
		set(pkg+".gitMajor", major)
		set(pkg+".gitMinor", minor)
		set(pkg+".gitTreeState", "clean")
		// A module does not say which commit it was made of.
		set(pkg+".gitCommit", "unknown")
	}
	set("github.com/pulumi/pulumi/sdk/v3/go/common/version.Version", v.Pulumi)
	set("github.com/pulumi/pulumi-kubernetes/provider/v4/pkg/version.Version", v.Provider)
	set("main.providerVersion", v.Provider)
	return strings.Join(flags, " ")
}
