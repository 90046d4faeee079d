// Package stack drives Pulumi stacks through the command lines (pulumi,
// kubectl, verify), as a user would, on whatever cluster the environment leads
// to. Every stack has a namespace, a state and settings of its own, and all of
// it is removed again, also what a killed process left.
package stack

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

const (
	// removalTimeout is for namespaces to be gone. A server in one of them may
	// use the whole of its grace period to stop.
	removalTimeout = 4 * time.Minute

	imageVariable = "STATEFUL_POSTGRES_IMAGE"
	// defaultImage is the one of the local cluster.
	defaultImage = "localhost/postgres:17"
)

// Workspace holds the stacks of one process in a folder below .local, which is
// locked as long as the process lives.
type Workspace struct {
	// Root is the top of the checkout, where the Pulumi program is.
	Root string
	// Folder is where everything of this workspace is kept.
	Folder string
	// Verify is the built verify command.
	Verify string

	purpose string
	lock    *os.File
	// project is the folder of the Pulumi project for updates and for verify; empty, it is Root.
	project string

	mu     sync.Mutex
	stacks map[string]*Stack
}

// Open is OpenIn for the checkout that holds the working directory.
func Open(ctx context.Context, purpose string) (*Workspace, error) {
	root, err := FindRoot()
	if err != nil {
		return nil, err
	}
	return OpenIn(ctx, root, purpose)
}

// OpenIn makes a workspace for the Pulumi program at the top of a checkout, and
// removes what earlier ones for the same purpose left behind. The purpose begins
// the name of every stack and namespace.
func OpenIn(ctx context.Context, root, purpose string) (*Workspace, error) {
	for _, program := range []string{"pulumi", "kubectl", "go"} {
		if _, err := exec.LookPath(program); err != nil {
			return nil, fmt.Errorf("%s is not on PATH: for the local cluster run `make cluster` and `. .local/env`, or install it", program)
		}
	}
	parent := filepath.Join(root, ".local", purpose)
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return nil, err
	}
	w := &Workspace{Root: root, purpose: purpose, stacks: map[string]*Stack{}}
	if err := w.removeLeftovers(ctx, parent); err != nil {
		return nil, fmt.Errorf("removing what an earlier run left in %s: %w", parent, err)
	}
	var err error
	if w.Folder, err = os.MkdirTemp(parent, "run-"); err != nil {
		return nil, err
	}
	if w.lock, err = lock(w.Folder); err != nil {
		return nil, err
	}
	for _, folder := range []string{w.stateFolder(), w.stacksFolder()} {
		if err := os.Mkdir(folder, 0o700); err != nil {
			return nil, err
		}
	}
	w.Verify = filepath.Join(w.Folder, "verify")
	return w, nil
}

// Build builds the verify command, and the Pulumi program where the project
// says, so that stacks that start together do not all link it.
func (w *Workspace) Build(ctx context.Context) error {
	for _, arguments := range [][]string{
		{"go", "build", "-o", w.Verify, "./verify"},
		{"go", "build", "-o", filepath.Join(".local", "bin", "stateful-postgres"), "."},
	} {
		if result := w.run(ctx, w.command(ctx, arguments...)); !result.OK() {
			return result.Err()
		}
	}
	return nil
}

// BuildOnce is Build, and all updates, also those of verify, run the program as it was built then. To see
// that nothing has changed takes `go build` as much processor time as a whole update that changes nothing.
func (w *Workspace) BuildOnce(ctx context.Context) error {
	if err := w.Build(ctx); err != nil {
		return err
	}
	settings := filepath.Join(w.Root, "Pulumi.yaml")
	text, err := os.ReadFile(settings)
	if err != nil {
		return err
	}
	built, err := asBuilt(text, w.Root)
	if err != nil {
		return fmt.Errorf("%s: %w", settings, err)
	}
	w.project = filepath.Join(w.Folder, "project")
	if err := os.Mkdir(w.project, 0o700); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(w.project, "Pulumi.yaml"), built, 0o600)
}

// asBuilt is a project's file that has updates run the program as it was built below root, instead of
// building it.
func asBuilt(settings []byte, root string) ([]byte, error) {
	var project map[string]any
	if err := yaml.Unmarshal(settings, &project); err != nil {
		return nil, err
	}
	target, found, err := unstructured.NestedString(project, "runtime", "options", "buildTarget")
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, errors.New("runtime.options.buildTarget: got none, expected the path of the program that each update builds")
	}
	unstructured.RemoveNestedField(project, "runtime", "options", "buildTarget")
	if err := unstructured.SetNestedField(project, filepath.Join(root, target), "runtime", "options", "binary"); err != nil {
		return nil, err
	}
	return yaml.Marshal(project)
}

// stateFolder is the Pulumi backend of all stacks.
func (w *Workspace) stateFolder() string { return filepath.Join(w.Folder, "state") }

// stacksFolder holds a folder for each stack.
func (w *Workspace) stacksFolder() string { return filepath.Join(w.Folder, "stacks") }

// Close removes all stacks, waits until their namespaces are gone, and removes
// the folder.
func (w *Workspace) Close(ctx context.Context) error {
	w.mu.Lock()
	var names []string
	for name := range w.stacks {
		names = append(names, name)
	}
	w.mu.Unlock()
	err := w.removeStacks(ctx, w.stacksFolder(), names, true)
	if err == nil {
		err = os.RemoveAll(w.Folder)
	}
	return errors.Join(err, w.lock.Close())
}

// closeTimeout is for all namespaces to be gone at the end.
const closeTimeout = 5 * time.Minute

// CloseAtEnd is Close for a defer: its error joins err, and it also takes its time after an interrupt.
func (w *Workspace) CloseAtEnd(err *error) {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	*err = errors.Join(*err, w.Close(ctx))
}

// removeLeftovers removes the stacks of workspaces whose process is gone.
func (w *Workspace) removeLeftovers(ctx context.Context, parent string) error {
	folders, err := os.ReadDir(parent)
	if err != nil {
		return err
	}
	for _, folder := range folders {
		path := filepath.Join(parent, folder.Name())
		held, err := lock(path)
		if errors.Is(err, syscall.EWOULDBLOCK) {
			continue
		} else if err != nil {
			return err
		}
		stacks, err := os.ReadDir(filepath.Join(path, "stacks"))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		var names []string
		for _, stack := range stacks {
			names = append(names, stack.Name())
		}
		err = w.removeStacks(ctx, filepath.Join(path, "stacks"), names, false)
		if err == nil {
			err = os.RemoveAll(path)
		}
		if err = errors.Join(err, held.Close()); err != nil {
			return err
		}
	}
	return nil
}

// removeStacks deletes the namespaces of stacks, whose folders are in parent, with all
// that is in them. Their state needs no `pulumi destroy`: it goes with the folder.
func (w *Workspace) removeStacks(ctx context.Context, parent string, names []string, wait bool) error {
	if len(names) == 0 {
		return nil
	}
	for _, name := range names {
		if err := os.Remove(w.initialConfig(name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	arguments := append([]string{"kubectl", "delete", "namespace", "--ignore-not-found",
		fmt.Sprintf("--wait=%t", wait), "--timeout=" + removalTimeout.String()}, names...)
	ctx, cancel := context.WithTimeout(ctx, removalTimeout)
	defer cancel()
	err := w.run(ctx, w.command(ctx, arguments...)).Err()
	for _, name := range names {
		err = errors.Join(err, w.detachDisks(ctx, filepath.Join(parent, name)))
	}
	return err
}

// initialConfig is where `pulumi stack init` writes a stack's settings: it has
// no flag for another place.
func (w *Workspace) initialConfig(name string) string {
	return filepath.Join(w.Root, "Pulumi."+name+".yaml")
}

// NewStack makes an empty stack with the image of the local cluster, or the one
// that STATEFUL_POSTGRES_IMAGE names.
func (w *Workspace) NewStack(ctx context.Context, subject string) (*Stack, error) {
	return w.newStack(ctx, strings.ToLower(fmt.Sprintf("%s-%s-%s", w.purpose, subject, rand.Text()[:6])))
}

// NewNamedStack is NewStack with a name that people are going to read. As it may
// be somebody else's, there must not be such a namespace or file of settings.
func (w *Workspace) NewNamedStack(ctx context.Context, name string) (*Stack, error) {
	file := w.initialConfig(name)
	if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("stack %s: got a file %s, expected none; move it away for now", name, filepath.Base(file))
	}
	found := w.Run(ctx, "kubectl", "get", "namespace", name, "--ignore-not-found", "--output=name")
	if !found.OK() {
		return nil, found.Err()
	}
	if found.Stdout != "" {
		return nil, fmt.Errorf("stack %s: got a namespace %s, expected none; if an earlier run was interrupted, try again in a minute", name, name)
	}
	return w.newStack(ctx, name)
}

func (w *Workspace) newStack(ctx context.Context, name string) (*Stack, error) {
	image := os.Getenv(imageVariable)
	if image == "" {
		image = defaultImage
	}
	s := &Stack{
		Image:     image,
		Name:      name,
		Namespace: name,
		Folder:    filepath.Join(w.stacksFolder(), name),
		workspace: w,
	}
	// The folder comes first: it is what a later run finds the stack by.
	if err := os.Mkdir(s.Folder, 0o700); err != nil {
		return nil, err
	}
	w.mu.Lock()
	w.stacks[name] = s
	w.mu.Unlock()
	if result := s.Run(ctx, "pulumi", "stack", "init", "--no-select", "--stack", name); !result.OK() {
		return nil, result.Err()
	}
	if err := os.Rename(w.initialConfig(name), s.ConfigFile()); err != nil {
		return nil, err
	}
	for key, value := range map[string]string{"namespace": s.Namespace, "image": s.Image} {
		if result := s.Set(ctx, key, value); !result.OK() {
			return nil, result.Err()
		}
	}
	return s, nil
}

// FindRoot is the folder above the working directory that holds the Pulumi
// program.
func FindRoot() (string, error) {
	folder, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for top := folder; ; top = filepath.Dir(top) {
		if _, err := os.Stat(filepath.Join(top, "Pulumi.yaml")); err == nil {
			return top, nil
		} else if !errors.Is(err, os.ErrNotExist) {
			return "", err
		}
		if top == filepath.Dir(top) {
			return "", fmt.Errorf("no Pulumi.yaml at or above %s: expected to run inside the checkout", folder)
		}
	}
}

// lock locks a folder for as long as the returned file is open; the kernel lets
// go of it when the process ends in any way.
func lock(folder string) (*os.File, error) {
	file, err := os.Open(folder)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		file.Close()
		return nil, fmt.Errorf("lock %s: %w", folder, err)
	}
	return file, nil
}
