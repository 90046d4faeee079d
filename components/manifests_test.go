package components

import (
	"bytes"
	"flag"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "write testdata/manifests.yaml anew")

// reviewed are the settings of which the manifests are made. The end-to-end test
// renders them with the same ones.
func reviewed(t *testing.T) *PostgresArgs {
	t.Helper()
	text, err := os.ReadFile("testdata/settings.yaml")
	require.NoError(t, err)
	var settings map[string]string
	require.NoError(t, yaml.Unmarshal(text, &settings))
	config := map[string]string{}
	for name, value := range settings {
		config["project:"+name] = value
	}
	args, err := ArgsFromConfig("project", config, func(string) bool { return false })
	require.NoError(t, err)
	return args
}

// TestManifests shows in review what a change of the program deploys. After one
// that is meant: go test ./components -run TestManifests -update
func TestManifests(t *testing.T) {
	t.Parallel()
	s := setup(t, reviewed(t), nil)
	var text bytes.Buffer
	for _, key := range slices.Sorted(maps.Keys(s.resources)) {
		if !strings.HasPrefix(key, "kubernetes:") {
			continue
		}
		object := plain(resource.NewProperty(s.resources[key].Inputs)).(map[string]any)
		if key == secretKey || key == tlsKey {
			data := object["data"].(map[string]any)
			for name := range data {
				data[name] = "masked"
			}
		}
		if key == setKey {
			// Every run without a cluster makes an authority and a password of its own.
			template := object["spec"].(map[string]any)["template"].(map[string]any)
			annotations := template["metadata"].(map[string]any)["annotations"].(map[string]any)
			for _, digest := range []string{"checksum/authority", "checksum/credentials"} {
				require.Contains(t, annotations, digest)
				annotations[digest] = "masked"
			}
		}
		manifest, err := yaml.Marshal(object)
		require.NoError(t, err)
		text.WriteString("---\n")
		text.Write(manifest)
	}
	const golden = "testdata/manifests.yaml"
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(golden, text.Bytes(), 0o644))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	require.Equal(t, string(want), text.String(),
		"what is deployed has changed; if it was meant to: go test ./components -run TestManifests -update")
}
