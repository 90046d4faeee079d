package components

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"stateful-postgres/components/settings"
)

var update = flag.Bool("update", false, "write the manifests in testdata anew")

// reviewed are the settings of which the manifests are made: those of one server,
// or with "-ha" those of several. The end-to-end tests render them with the same
// ones.
func reviewed(t *testing.T, of string) *PostgresArgs {
	t.Helper()
	text, err := os.ReadFile("testdata/settings" + of + ".yaml")
	require.NoError(t, err)
	var values map[string]string
	require.NoError(t, yaml.Unmarshal(text, &values))
	config := map[string]string{}
	for name, value := range values {
		config["project:"+name] = value
	}
	return settings.FromConfig("project", config, func(string) bool { return false })
}

// TestManifests shows in review what a change of the program deploys. After one
// that is meant: go test ./components -run TestManifests -update
func TestManifests(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		of string
		// digests are made anew by every run without a cluster, which makes an authority
		// and a password of its own.
		digests []string
	}{
		"one server": {"", []string{"checksum/authority", "checksum/credentials"}},
		// Without TLS, and a new password restarts none of them.
		"several servers": {"-ha", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text := manifests(t, setup(t, reviewed(t, test.of), nil), test.digests)
			golden := "testdata/manifests" + test.of + ".yaml"
			if *update {
				require.NoError(t, os.WriteFile(golden, text, 0o644))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err)
			require.Equal(t, string(want), string(text),
				"what is deployed has changed; if it was meant to: go test ./components -run TestManifests -update")
		})
	}
}

// manifests are the objects that a program declared, without what every run makes
// anew.
func manifests(t *testing.T, s *stack, digests []string) []byte {
	t.Helper()
	var text bytes.Buffer
	for _, key := range slices.Sorted(maps.Keys(s.resources)) {
		if !strings.HasPrefix(key, "kubernetes:") {
			continue
		}
		object := plain(resource.NewProperty(s.resources[key].Inputs)).(map[string]any)
		if strings.HasPrefix(key, "kubernetes:core/v1:Secret/") {
			data := object["data"].(map[string]any)
			for name := range data {
				data[name] = "masked"
			}
		}
		if key == setKey {
			template := object["spec"].(map[string]any)["template"].(map[string]any)
			annotations := template["metadata"].(map[string]any)["annotations"].(map[string]any)
			for _, digest := range digests {
				require.Contains(t, annotations, digest)
				annotations[digest] = "masked"
			}
		}
		manifest, err := yaml.Marshal(object)
		require.NoError(t, err)
		text.WriteString("---\n")
		text.Write(manifest)
	}
	return text.Bytes()
}

// Whoever sets the settings in a program of their own has no use for commands
// that set them in a stack's config.
func TestPodsSpeakToWhoeverSetsTheSettings(t *testing.T) {
	t.Parallel()
	const command = "pulumi config"
	for _, test := range []struct {
		args   *PostgresArgs
		expect bool
	}{{reviewed(t, ""), true}, {&PostgresArgs{}, false}} {
		said := map[string]bool{}
		for key, made := range setup(t, test.args, nil).resources {
			said[key] = strings.Contains(fmt.Sprint(plain(resource.NewProperty(made.Inputs))), command)
		}
		require.Equal(t, test.expect, said[setKey])
		require.Equal(t, test.expect, said[checkKey])
		delete(said, setKey)
		delete(said, checkKey)
		require.NotContains(t, slices.Collect(maps.Values(said)), true, said)
	}
}
