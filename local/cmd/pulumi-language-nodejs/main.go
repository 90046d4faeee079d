// Command pulumi-language-nodejs is the pinned Node.js language host, the last
// one that can be had as a Go module, with what today's Pulumi CLI expects of it
// besides: `pulumi package add` and `pulumi install` have it generate the SDK of a
// package for TypeScript, and enter that into the program's package.json. It is
// for the test of the TypeScript example.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/pulumi/pulumi/pkg/v3/codegen/nodejs"
	"github.com/pulumi/pulumi/pkg/v3/codegen/schema"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/grpc"

	"stateful-postgres/local/internal/languagehost"
)

const hostName = "pulumi-language-nodejs"

func main() {
	host, err := languagehost.Beside(hostName)
	if err == nil {
		err = languagehost.Serve(host, os.Args[1:], os.Environ(), map[string]languagehost.Handler{
			pulumirpc.LanguageRuntime_GeneratePackage_FullMethodName: generatePackage,
			pulumirpc.LanguageRuntime_Link_FullMethodName:            link,
		})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, hostName+":", err)
		os.Exit(1)
	}
}

// generatePackage writes the SDK of a package, with the generator that today's
// host uses.
func generatePackage(stream grpc.ServerStream) error {
	var request pulumirpc.GeneratePackageRequest
	if err := languagehost.Receive(stream, &request); err != nil {
		return err
	}
	loader, err := schema.NewLoaderClient(request.GetLoaderTarget())
	if err != nil {
		return err
	}
	var spec schema.PackageSpec
	if err := json.Unmarshal([]byte(request.GetSchema()), &spec); err != nil {
		return fmt.Errorf("schema: %w", err)
	}
	pkg, diagnostics, err := schema.BindSpec(spec, loader, schema.ValidationOptions{AllowDanglingReferences: true})
	if err != nil {
		return err
	}
	if !diagnostics.HasErrors() {
		files, err := nodejs.GeneratePackage(hostName, pkg, request.GetExtraFiles(), request.GetLocalDependencies(),
			request.GetLocal(), schema.NewCachedLoader(loader))
		if err != nil {
			return err
		}
		for name, content := range files {
			path := filepath.Join(request.GetDirectory(), filepath.FromSlash(name))
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				return err
			}
			if err := os.WriteFile(path, content, 0o644); err != nil {
				return err
			}
		}
	}
	return languagehost.Send(stream, &pulumirpc.GeneratePackageResponse{
		Diagnostics: plugin.HclDiagnosticsToRPCDiagnostics(diagnostics),
	})
}

// link enters generated SDKs into the package.json of a program.
func link(stream grpc.ServerStream) error {
	var request pulumirpc.LinkRequest
	if err := languagehost.Receive(stream, &request); err != nil {
		return err
	}
	program := request.GetInfo().GetProgramDirectory()
	for _, dependency := range request.GetPackages() {
		sdk := dependency.GetPath()
		if !filepath.IsAbs(sdk) {
			sdk = filepath.Join(program, sdk)
		}
		text, err := os.ReadFile(filepath.Join(sdk, "package.json"))
		if err != nil {
			return err
		}
		var described struct{ Name string }
		if err := json.Unmarshal(text, &described); err != nil {
			return fmt.Errorf("%s: %w", filepath.Join(sdk, "package.json"), err)
		}
		relative, err := filepath.Rel(program, sdk)
		if err != nil {
			return err
		}
		set := exec.CommandContext(stream.Context(), "npm", "pkg", "set",
			fmt.Sprintf("dependencies.%s=file:%s", described.Name, filepath.ToSlash(relative)))
		set.Dir = program
		if output, err := set.CombinedOutput(); err != nil {
			return fmt.Errorf("npm pkg set: %w\n%s", err, output)
		}
	}
	return languagehost.Send(stream, &pulumirpc.LinkResponse{})
}
