package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"stateful-postgres/local/internal/daemon"
	"stateful-postgres/local/internal/layout"
	"stateful-postgres/local/internal/machine"
	"stateful-postgres/local/internal/topology"
)

// importScript loads an archive, and gives every image that has a tag a name by
// digest, too, as one that was pulled has.
const importScript = `
ctr --namespace=k8s.io images import "$1"
images=$(ctr --namespace=k8s.io images ls)
echo "$images" | while read -r name _ digest _; do
    case $name in
    sha256:* | *@*) ;;
    *:*) ctr --namespace=k8s.io images tag --force "$name" "${name%:*}@$digest" ;;
    esac
done`

// ImportCommand makes containerd load the docker-archive at a path, "-" for
// standard input. It has to run inside the node's machine.
func ImportCommand(archive string) []string {
	return []string{"sh", "-ec", importScript, "import", archive}
}

// Images is what a node's containerd has loaded of the checkout's images.
type Images struct {
	path   string
	loaded map[string]string
}

// LoadedImages returns what is on record for a node.
func LoadedImages(l layout.Layout, n topology.Node) (*Images, error) {
	i := &Images{path: filepath.Join(l.Cluster(), n.Name, "images.json"), loaded: map[string]string{}}
	content, err := os.ReadFile(i.path)
	if errors.Is(err, fs.ErrNotExist) {
		return i, nil
	}
	if err != nil {
		return nil, err
	}
	// A record that cannot be read only costs loading again.
	_ = json.Unmarshal(content, &i.loaded)
	return i, nil
}

// Missing returns the archives of the checkout that the node has not loaded in
// their present form.
func (i *Images) Missing(l layout.Layout) ([]string, error) {
	archives, err := filepath.Glob(filepath.Join(l.Images(), "*.tar"))
	if err != nil {
		return nil, err
	}
	var missing []string
	for _, archive := range archives {
		identity, err := identityOf(archive)
		if err != nil {
			return nil, err
		}
		if i.loaded[filepath.Base(archive)] != identity {
			missing = append(missing, archive)
		}
	}
	return missing, nil
}

// Loaded records that the node has loaded an archive.
func (i *Images) Loaded(archive string) error {
	identity, err := identityOf(archive)
	if err != nil {
		return err
	}
	i.loaded[filepath.Base(archive)] = identity
	content, err := json.MarshalIndent(i.loaded, "", "  ")
	if err != nil {
		return err
	}
	return layout.WriteFile(i.path, append(content, '\n'), 0o600)
}

func identityOf(archive string) (string, error) {
	info, err := os.Stat(archive)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%d bytes of %s", info.Size(), info.ModTime().UTC().Format(time.RFC3339Nano)), nil
}

func importImages(ctx context.Context, m *machine.Machine, n topology.Node) error {
	ctx, cancel := context.WithTimeout(ctx, importTimeout)
	defer cancel()
	images, err := LoadedImages(m.Layout, n)
	if err != nil {
		return err
	}
	missing, err := images.Missing(m.Layout)
	if err != nil {
		return err
	}
	for _, archive := range missing {
		var out bytes.Buffer
		if err := daemon.RunOnce(ctx, m.Reaper, &out, ImportCommand(archive)...); err != nil {
			return fmt.Errorf("import %s: %w: %s", filepath.Base(archive), err, strings.TrimSpace(out.String()))
		}
		if err := images.Loaded(archive); err != nil {
			return err
		}
	}
	return nil
}
