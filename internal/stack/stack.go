package stack

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"strings"
)

// Stack is a Pulumi stack of its own.
type Stack struct {
	// Name is the stack's name.
	Name string
	// Namespace is the stack's setting of that name.
	Namespace string
	// Image is the stack's setting of that name.
	Image string
	// Folder holds the stack's settings and ledger.
	Folder string

	workspace *Workspace
}

// ConfigFile holds the stack's settings, outside of the checkout's own files.
func (s *Stack) ConfigFile() string { return filepath.Join(s.Folder, "Pulumi.yaml") }

// Ledger is the ledger of verify.
func (s *Stack) Ledger() string { return filepath.Join(s.Folder, "ledger") }

// StateFolder holds the state of this stack, and of its workspace's others.
func (s *Stack) StateFolder() string { return s.workspace.stateFolder() }

// Set is `pulumi config set`.
func (s *Stack) Set(ctx context.Context, key, value string) Result {
	return s.config(ctx, "set", "--plaintext", key, "--", value)
}

// SetPath is `pulumi config set --path`, for an entry of a list or a map.
func (s *Stack) SetPath(ctx context.Context, path, value string) Result {
	return s.config(ctx, "set", "--path", path, "--", value)
}

// UnsetPath is `pulumi config rm --path`.
func (s *Stack) UnsetPath(ctx context.Context, path string) Result {
	return s.config(ctx, "rm", "--path", path)
}

// SetSecret is `pulumi config set --secret`. The value goes through standard
// input: a command line is for everybody to read.
func (s *Stack) SetSecret(ctx context.Context, key, value string) Result {
	command := s.Command(ctx, "pulumi", "config", "set", "--secret", key,
		"--stack", s.Name, "--config-file", s.ConfigFile())
	command.Stdin = strings.NewReader(value)
	return s.workspace.run(ctx, command)
}

// Unset is `pulumi config rm`.
func (s *Stack) Unset(ctx context.Context, key string) Result {
	return s.config(ctx, "rm", key)
}

func (s *Stack) config(ctx context.Context, verb string, arguments ...string) Result {
	all := []string{"pulumi", "config", verb, "--stack", s.Name, "--config-file", s.ConfigFile()}
	return s.Run(ctx, append(all, arguments...)...)
}

// UpArguments are those of `pulumi up`, to be typed by a user who is sure.
func (s *Stack) UpArguments(flags ...string) []string {
	return s.operation("up", append([]string{"--yes"}, flags...))
}

// Up is `pulumi up`.
func (s *Stack) Up(ctx context.Context, flags ...string) Result {
	return s.Run(ctx, s.UpArguments(flags...)...)
}

// PreviewArguments are those of `pulumi preview`.
func (s *Stack) PreviewArguments(flags ...string) []string {
	return s.operation("preview", flags)
}

// Preview is `pulumi preview`.
func (s *Stack) Preview(ctx context.Context, flags ...string) Result {
	return s.Run(ctx, s.PreviewArguments(flags...)...)
}

// Refresh is `pulumi refresh`.
func (s *Stack) Refresh(ctx context.Context, flags ...string) Result {
	return s.Run(ctx, s.operation("refresh", append([]string{"--yes"}, flags...))...)
}

// Destroy is `pulumi destroy`.
func (s *Stack) Destroy(ctx context.Context, flags ...string) Result {
	return s.Run(ctx, s.operation("destroy", append([]string{"--yes"}, flags...))...)
}

func (s *Stack) operation(verb string, flags []string) []string {
	all := []string{"pulumi", verb, "--stack", s.Name, "--config-file", s.ConfigFile()}
	if s.workspace.project != "" {
		all = append(all, "--cwd", s.workspace.project)
	}
	return append(all, flags...)
}

// Cancel is `pulumi cancel`.
func (s *Stack) Cancel(ctx context.Context) Result {
	return s.Run(ctx, "pulumi", "cancel", "--yes", "--stack", s.Name)
}

// Export is `pulumi stack export`: the state as it is stored.
func (s *Stack) Export(ctx context.Context) Result {
	return s.Run(ctx, "pulumi", "stack", "export", "--stack", s.Name)
}

// Outputs are the stack's outputs, secrets in plain text.
func (s *Stack) Outputs(ctx context.Context) (map[string]any, error) {
	result := s.Run(ctx, "pulumi", "stack", "output", "--json", "--show-secrets", "--stack", s.Name)
	if !result.OK() {
		return nil, result.Err()
	}
	var outputs map[string]any
	if err := json.Unmarshal([]byte(result.Stdout), &outputs); err != nil {
		return nil, fmt.Errorf("pulumi stack output: %w", err)
	}
	return outputs, nil
}

// CheckArguments are those of verify, with its ledger in the stack's folder.
func (s *Stack) CheckArguments(flags ...string) []string {
	return append([]string{s.workspace.Verify, "--stack", s.Name, "--ledger", s.Ledger()}, flags...)
}

// Check is the verify command.
func (s *Stack) Check(ctx context.Context, flags ...string) Result {
	return s.Run(ctx, s.CheckArguments(flags...)...)
}

// Kubectl runs kubectl in the stack's namespace.
func (s *Stack) Kubectl(ctx context.Context, arguments ...string) Result {
	return s.Run(ctx, append([]string{"kubectl", "--namespace", s.Namespace}, arguments...)...)
}

// KubectlWithInput is Kubectl with standard input.
func (s *Stack) KubectlWithInput(ctx context.Context, input io.Reader, arguments ...string) Result {
	command := s.Command(ctx, append([]string{"kubectl", "--namespace", s.Namespace}, arguments...)...)
	command.Stdin = input
	return s.workspace.run(ctx, command)
}

// Remove starts the deletion of the stack's namespace, and of everything else
// that there is of the stack. Close waits for its end.
func (s *Stack) Remove(ctx context.Context) error {
	return s.workspace.removeStacks(ctx, s.workspace.stacksFolder(), []string{s.Name}, false)
}

// RemoveAndWait returns when nothing of the stack is left in the cluster.
func (s *Stack) RemoveAndWait(ctx context.Context) error {
	return s.workspace.removeStacks(ctx, s.workspace.stacksFolder(), []string{s.Name}, true)
}
