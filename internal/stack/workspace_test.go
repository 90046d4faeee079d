package stack

import (
	"testing"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

func TestUpdatesRunTheProgramAsItWasBuilt(t *testing.T) {
	const settings = `
name: some
runtime:
  name: go
  options: {buildTarget: .local/bin/some}
config:
  replicas: {type: string, default: "1"}
`
	for root, binary := range map[string]string{
		"/home/me/checkout":             "/home/me/checkout/.local/bin/some",
		"/home/me/a: b # 'c' \"d\" {e}": "/home/me/a: b # 'c' \"d\" {e}/.local/bin/some",
	} {
		built, err := asBuilt([]byte(settings), root)
		require.NoError(t, err)
		var project any
		require.NoError(t, yaml.Unmarshal(built, &project), "%s", built)
		require.Equal(t, map[string]any{
			"name":    "some",
			"runtime": map[string]any{"name": "go", "options": map[string]any{"binary": binary}},
			"config":  map[string]any{"replicas": map[string]any{"type": "string", "default": "1"}},
		}, project)
	}
}

func TestProjectWithoutBuildTargetIsRefused(t *testing.T) {
	for settings, why := range map[string]string{
		"name: some\nruntime: {name: go}":                              "runtime.options.buildTarget: got none",
		"name: some\nruntime: {name: go, options: {buildTarget: [1]}}": "buildTarget",
		"name: [": "yaml",
	} {
		_, err := asBuilt([]byte(settings), "/home/me")
		require.ErrorContains(t, err, why, settings)
	}
}
