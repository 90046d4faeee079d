package image

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stateful-postgres/local/internal/layout"
)

func setup(t *testing.T) (dir, layer string) {
	t.Helper()
	dir = t.TempDir()
	program := filepath.Join(dir, "program")
	require.NoError(t, os.WriteFile(program, []byte("#!static"), 0o600))
	layer = filepath.Join(dir, "layer.tar")
	require.NoError(t, WriteProgramLayer(layer, "pause", program))
	return dir, layer
}

var example = Image{
	Name: Pause, Architecture: "amd64", Inputs: "abc",
	Config: Config{Entrypoint: []string{"/pause"}, ExposedPorts: map[string]struct{}{"53/udp": {}}, StopSignal: "SIGINT"},
}

// files reads an archive back.
func files(t *testing.T, path string) (names []string, content map[string][]byte) {
	t.Helper()
	file, err := os.Open(path)
	require.NoError(t, err)
	defer file.Close()
	content = map[string][]byte{}
	for archive := tar.NewReader(file); ; {
		header, err := archive.Next()
		if err == io.EOF {
			return names, content
		}
		require.NoError(t, err)
		names = append(names, header.Name)
		content[header.Name], err = io.ReadAll(archive)
		require.NoError(t, err)
	}
}

func TestArchiveIsAnOCIImageLayout(t *testing.T) {
	t.Parallel()
	dir, layer := setup(t)
	path := filepath.Join(dir, "images", "pause.tar")
	summary, err := Write(path, example, layer)
	require.NoError(t, err)

	names, content := files(t, path)
	require.Equal(t, "index.json", names[0])
	require.JSONEq(t, `{"imageLayoutVersion":"1.0.0"}`, string(content["oci-layout"]))

	follow := func(d descriptor) []byte {
		text, ok := content["blobs/"+strings.Replace(d.Digest, ":", "/", 1)]
		require.True(t, ok, "%s is in the archive", d.Digest)
		require.Equal(t, fmt.Sprintf("sha256:%x", sha256.Sum256(text)), d.Digest)
		require.EqualValues(t, len(text), d.Size)
		return text
	}
	var top index
	require.NoError(t, json.Unmarshal(content["index.json"], &top))
	require.Len(t, top.Manifests, 1)
	require.Equal(t, "localhost/pause:1", top.Manifests[0].Annotations["io.containerd.image.name"])
	require.Equal(t, &platform{Architecture: "amd64", OS: "linux"}, top.Manifests[0].Platform)
	require.Equal(t, summary.Digest, top.Manifests[0].Digest)

	var m manifest
	require.NoError(t, json.Unmarshal(follow(top.Manifests[0]), &m))
	require.Len(t, m.Layers, 1)
	written, err := os.ReadFile(layer)
	require.NoError(t, err)
	require.Equal(t, written, follow(m.Layers[0]))
	require.JSONEq(t, fmt.Sprintf(`{
		"architecture": "amd64", "os": "linux",
		"config": {"Entrypoint": ["/pause"], "ExposedPorts": {"53/udp": {}}, "StopSignal": "SIGINT"},
		"rootfs": {"type": "layers", "diff_ids": [%q]}
	}`, m.Layers[0].Digest), string(follow(m.Config)))
}

func TestProgramLayerIsExecutableAndTheSameEachTime(t *testing.T) {
	t.Parallel()
	dir, layer := setup(t)
	first, err := os.ReadFile(layer)
	require.NoError(t, err)
	require.NoError(t, os.Chtimes(filepath.Join(dir, "program"), time.Unix(1, 0), time.Unix(1, 0)))
	require.NoError(t, WriteProgramLayer(layer, "pause", filepath.Join(dir, "program")))
	second, err := os.ReadFile(layer)
	require.NoError(t, err)
	require.Equal(t, first, second)

	header, err := tar.NewReader(strings.NewReader(string(first))).Next()
	require.NoError(t, err)
	require.Equal(t, "pause", header.Name)
	require.EqualValues(t, 0o755, header.Mode)
}

func TestFreshComparesNameAndInputs(t *testing.T) {
	t.Parallel()
	dir, layer := setup(t)
	path := filepath.Join(dir, "pause.tar")
	requireFresh := func(want bool, name, inputs string) {
		t.Helper()
		require.Equal(t, want, Fresh(path, name, inputs))
	}
	requireFresh(false, Pause, "abc")
	require.NoError(t, os.WriteFile(path, []byte("damaged"), 0o600))
	requireFresh(false, Pause, "abc")
	written, err := Write(path, example, layer)
	require.NoError(t, err)
	requireFresh(true, Pause, "abc")
	requireFresh(false, Pause, "abd")
	requireFresh(false, CoreDNS, "abc")

	read, err := Inspect(path)
	require.NoError(t, err)
	require.Equal(t, written, read)
}

func TestFailedWriteKeepsTheArchiveBefore(t *testing.T) {
	t.Parallel()
	dir, layer := setup(t)
	images := filepath.Join(dir, "images")
	path := filepath.Join(images, "pause.tar")
	before, err := Write(path, example, layer)
	require.NoError(t, err)
	_, err = Write(path, example, filepath.Join(dir, "no-such-layer"))
	require.ErrorIs(t, err, os.ErrNotExist)
	after, err := Inspect(path)
	require.NoError(t, err)
	require.Equal(t, before, after)
	left, err := os.ReadDir(images)
	require.NoError(t, err)
	require.Len(t, left, 1)
}

func TestInspectRefusesWhatIsNoArchive(t *testing.T) {
	t.Parallel()
	dir, layer := setup(t)
	_, err := Inspect(layer)
	require.ErrorContains(t, err, "no index.json")
	text := filepath.Join(dir, "text")
	require.NoError(t, os.WriteFile(text, []byte(strings.Repeat("no tar", 200)), 0o600))
	_, err = Inspect(text)
	require.ErrorContains(t, err, "no image archive")
}

// The tag of CoreDNS is chosen by go.mod.
func TestCoreDNSIsNamedByItsModulesVersion(t *testing.T) {
	t.Parallel()
	l, err := layout.Find(".")
	require.NoError(t, err)
	text, err := os.ReadFile(filepath.Join(l.Root, "local", "go.mod"))
	require.NoError(t, err)
	_, tag, _ := strings.Cut(CoreDNS, ":")
	require.Contains(t, string(text), "github.com/coredns/coredns v"+tag+"\n")
}
