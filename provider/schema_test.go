package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"maps"
	"os"
	"slices"
	"testing"

	"github.com/blang/semver"
	provider "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi-go-provider/integration"
	"github.com/pulumi/pulumi/pkg/v3/codegen/schema"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/require"

	"stateful-postgres/components/settings"
	"stateful-postgres/internal/contract"
)

var update = flag.Bool("update", false, "write schema.json anew")

// serve is the provider in front of a recording engine.
func serve(t *testing.T, mocks pulumi.MockResourceMonitor) integration.Server {
	t.Helper()
	served, err := newProvider()
	require.NoError(t, err)
	server, err := integration.NewServer(t.Context(), packageName, semver.MustParse(version),
		integration.WithProvider(served), integration.WithMocks(mocks))
	require.NoError(t, err)
	return server
}

func packageSchema(t *testing.T) (text []byte, spec schema.PackageSpec) {
	t.Helper()
	response, err := serve(t, nil).GetSchema(provider.GetSchemaRequest{})
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal([]byte(response.Schema), &spec))
	var indented bytes.Buffer
	require.NoError(t, json.Indent(&indented, []byte(response.Schema), "", "  "))
	indented.WriteByte('\n')
	return indented.Bytes(), spec
}

// TestSchema shows in review what a program in another language can say. After a
// change that is meant: go test . -run TestSchema -update
func TestSchema(t *testing.T) {
	t.Parallel()
	text, _ := packageSchema(t)
	if *update {
		require.NoError(t, os.WriteFile("schema.json", text, 0o644))
	}
	want, err := os.ReadFile("schema.json")
	require.NoError(t, err)
	require.Equal(t, string(want), string(text),
		"the schema has changed; if it was meant to: go test . -run TestSchema -update")
}

func TestSchemaIsValid(t *testing.T) {
	t.Parallel()
	_, spec := packageSchema(t)
	_, problems, err := schema.BindSpec(spec, nil, schema.ValidationOptions{})
	require.NoError(t, err)
	require.Empty(t, problems)
}

func TestSchemaDescribesEverySettingAndOutput(t *testing.T) {
	t.Parallel()
	_, spec := packageSchema(t)
	require.Len(t, spec.Resources, 1)
	component := spec.Resources["stateful-postgres:index:Postgres"]
	require.True(t, component.IsComponent)
	require.NotEmpty(t, component.Description)
	require.Empty(t, component.RequiredInputs, "every setting has a default, or can be left out")

	require.Len(t, component.InputProperties, len(settings.Table()))
	for _, setting := range settings.Table() {
		input := component.InputProperties[setting.Name]
		require.Contains(t, input.Description, setting.Text())
		later := setting.Name == "password" || setting.Name == "kubeconfig"
		require.Equal(t, later, input.Secret, setting.Name)
		require.Equal(t, !later, input.Plain, "%s: only the password and the kubeconfig may be known later", setting.Name)
		switch value := setting.Default.(type) {
		case nil:
			require.Nil(t, input.Default, setting.Name)
		case []string:
			require.Contains(t, input.Description, "Default: "+setting.DefaultText()+".")
		case int:
			require.EqualValues(t, value, input.Default, setting.Name)
		default:
			require.Equal(t, value, input.Default, setting.Name)
		}
	}

	var names []string
	for _, output := range contract.OutputTable() {
		names = append(names, output.Name)
		require.Equal(t, output.Description, component.Properties[output.Name].Description)
		require.Equal(t, output.Secret, component.Properties[output.Name].Secret, output.Name)
	}
	slices.Sort(names)
	require.Equal(t, names, slices.Sorted(maps.Keys(component.Properties)))
	require.ElementsMatch(t, names, component.Required, "every output is always there")
}
