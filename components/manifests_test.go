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
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "write testdata/manifests.yaml anew")

// TestManifests shows in review what a change of the program deploys. After one
// that is meant: go test ./components -run TestManifests -update
func TestManifests(t *testing.T) {
	t.Parallel()
	s := setup(t, &PostgresArgs{
		Image: "localhost/postgres:15", Password: pulumi.String("masked"), Parameters: Scalars{"shared_buffers": "256MB"},
		TLS: true, RequireTLS: true,
	}, nil)
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
			// Every run without a cluster makes an authority of its own.
			template := object["spec"].(map[string]any)["template"].(map[string]any)
			template["metadata"].(map[string]any)["annotations"].(map[string]any)["checksum/authority"] = "masked"
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
