// Package layout names every place on disk that the local cluster and its
// toolchain use, so that nothing else spells a path.
package layout

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Layout is the set of paths of one checkout. All of them are absolute.
type Layout struct {
	// Root is the top of the checkout: the folder that holds local/go.mod.
	Root string
}

// Find returns the layout of the checkout that holds dir, looking upwards.
func Find(dir string) (Layout, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return Layout{}, err
	}
	for top := dir; ; top = filepath.Dir(top) {
		if _, err := os.Stat(filepath.Join(top, "local", "go.mod")); err == nil {
			return Layout{Root: top}, nil
		} else if !errors.Is(err, os.ErrNotExist) {
			return Layout{}, err
		}
		if top == filepath.Dir(top) {
			return Layout{}, fmt.Errorf("no checkout found at or above %s: expected a folder with local/go.mod; run this inside the checkout", dir)
		}
	}
}

// FindFromExecutable returns the layout of the checkout whose .local/bin holds
// the running program; a program from elsewhere (go run) looks from the
// working directory instead.
func FindFromExecutable() (Layout, error) {
	if exe, err := os.Executable(); err == nil {
		if l, err := Find(filepath.Dir(exe)); err == nil {
			return l, nil
		}
	}
	dir, err := os.Getwd()
	if err != nil {
		return Layout{}, err
	}
	return Find(dir)
}

// Local is the git-ignored folder under which everything is kept.
func (l Layout) Local() string { return filepath.Join(l.Root, ".local") }

// Bin holds the built programs.
func (l Layout) Bin() string { return filepath.Join(l.Local(), "bin") }

// Binary is the path of one built program.
func (l Layout) Binary(name string) string { return filepath.Join(l.Bin(), name) }

// Images holds the container images as docker-archive tar files.
func (l Layout) Images() string { return filepath.Join(l.Local(), "images") }

// Image is the archive of one image.
func (l Layout) Image(name string) string { return filepath.Join(l.Images(), name+".tar") }

// Logs holds what set-up steps and cluster components print.
func (l Layout) Logs() string { return filepath.Join(l.Local(), "log") }

// Cluster holds the state of the local Kubernetes.
func (l Layout) Cluster() string { return filepath.Join(l.Local(), "cluster") }

// Kubeconfig is the admin's kubeconfig of the local Kubernetes.
func (l Layout) Kubeconfig() string { return filepath.Join(l.Local(), "kubeconfig") }

// Env is the file that a shell sources to use the local Kubernetes.
func (l Layout) Env() string { return filepath.Join(l.Local(), "env") }

// PulumiHome is the CLI's own home: its plugins and its workspaces.
func (l Layout) PulumiHome() string { return filepath.Join(l.Local(), "pulumi-home") }

// PulumiState holds the file:// backend of the local stacks.
func (l Layout) PulumiState() string { return filepath.Join(l.Local(), "pulumi-state") }

// WriteFile writes a file whole or not at all: whoever is killed in between
// leaves the old content. It makes the folder when it is missing.
func WriteFile(path string, content []byte, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	temporary, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(temporary.Name())
	_, err = temporary.Write(content)
	err = errors.Join(err, temporary.Chmod(mode), temporary.Close())
	if err != nil {
		return err
	}
	return os.Rename(temporary.Name(), path)
}

// Lib holds the programs that only other programs start: they are not on PATH.
func (l Layout) Lib() string { return filepath.Join(l.Local(), "lib") }

// Stamps holds what each built program was made of.
func (l Layout) Stamps() string { return filepath.Join(l.Local(), "stamp") }

// Temp holds what is not finished; set-up empties it when it starts.
func (l Layout) Temp() string { return filepath.Join(l.Local(), "tmp") }

// SetupLock is locked while a set-up runs.
func (l Layout) SetupLock() string { return filepath.Join(l.Local(), "setup.lock") }
