package pulumi

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"stateful-postgres/local/internal/layout"
)

func TestOnlyRecentCLIsAreUsedAsTheyAre(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]bool{
		"v3.228.0":             true,
		"3.228.0":              true,
		"v3.255.1-alpha.1+abc": true,
		"v4.0.0":               true,
		"v3.227.9":             false,
		"v2.300.0":             false,
		"v3.9.0":               false,
		"":                     false,
		"unknown":              false,
	} {
		require.Equal(t, want, CLI{Version: version}.Recent(), "%q", version)
	}
}

func setup(t *testing.T) layout.Layout {
	t.Helper()
	l := layout.Layout{Root: t.TempDir()}
	require.NoError(t, os.MkdirAll(l.Bin(), 0o755))
	return l
}

// cli writes a program that answers like `pulumi version`.
func cli(t *testing.T, dir, version string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(dir, 0o755))
	text := fmt.Sprintf("#!/bin/sh\n[ \"$1\" = version ] && [ \"$PULUMI_SKIP_UPDATE_CHECK\" = true ] && echo %s\n", version)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "pulumi"), []byte(text), 0o755))
}

func TestFindPassesOverTheOneBuiltHere(t *testing.T) {
	t.Parallel()
	l := setup(t)
	cli(t, l.Bin(), "v1.0.0")
	linked, theirs, later := t.TempDir(), t.TempDir(), t.TempDir()
	require.NoError(t, os.Symlink(l.Binary("pulumi"), filepath.Join(linked, "pulumi")))

	path := l.Bin() + ":" + linked + ":" + filepath.Join(l.Root, "no-such-folder")
	found, err := Find(t.Context(), l, path)
	require.NoError(t, err)
	require.Nil(t, found)

	cli(t, theirs, "v3.230.0")
	cli(t, later, "v3.231.0")
	found, err = Find(t.Context(), l, path+":"+theirs+":"+later)
	require.NoError(t, err)
	require.Equal(t, &CLI{Path: filepath.Join(theirs, "pulumi"), Version: "v3.230.0"}, found)
}

func TestRemoveOwnKeepsTheClustersPrograms(t *testing.T) {
	t.Parallel()
	l := setup(t)
	require.NoError(t, RemoveOwn(l), "nothing was built")
	for _, name := range []string{"pulumi", "pulumi-language-go", "pulumi-language-nodejs", "pulumi-language-yaml", "localkube"} {
		require.NoError(t, os.WriteFile(l.Binary(name), nil, 0o755))
	}
	require.NoError(t, RemoveOwn(l))
	left, err := os.ReadDir(l.Bin())
	require.NoError(t, err)
	require.Len(t, left, 1)
	require.Equal(t, "localkube", left[0].Name())
}

func TestBrokenCLIIsNamed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "pulumi"), []byte("#!/bin/sh\nexit 1\n"), 0o755))
	_, err := Find(t.Context(), setup(t), dir)
	require.ErrorContains(t, err, filepath.Join(dir, "pulumi"))
}

func TestPluginIsDescribedUnderTheSDKsVersion(t *testing.T) {
	t.Parallel()
	source, plugin := t.TempDir(), t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(source, "schema.json"), []byte("{\n  \"name\": \"kubernetes\"}\n"), 0o644))
	require.ErrorIs(t, describe(plugin, source, "4.29.0"), os.ErrNotExist)
	require.NoError(t, os.WriteFile(filepath.Join(source, "terraform-mapping.json"), []byte("{}"), 0o644))
	require.NoError(t, describe(plugin, source, "4.29.0"))

	text, err := os.ReadFile(filepath.Join(plugin, "schema.json"))
	require.NoError(t, err)
	var schema map[string]string
	require.NoError(t, json.Unmarshal(text, &schema))
	require.Equal(t, map[string]string{"name": "kubernetes", "version": "4.29.0"}, schema)
	require.FileExists(t, filepath.Join(plugin, "terraform-mapping.json"))

	_, err = withVersion([]byte("[]"), "1.0.0")
	require.Error(t, err)
}
