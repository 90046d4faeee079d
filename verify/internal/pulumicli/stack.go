// Package pulumicli asks the Pulumi CLI what a stack has deployed and where.
package pulumicli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"stateful-postgres/internal/contract"
)

// Stack is a stack as it was last deployed.
type Stack struct {
	// Name is the stack's name without its organization and project.
	Name string
	// Project is the folder that holds Pulumi.yaml.
	Project string
	Outputs contract.Outputs
}

// Error is a stack that could not be read, and what to do about it.
type Error struct {
	Problem string
	Hint    string
	// Usage says that nothing is wrong but how the command was called.
	Usage bool
}

func (e *Error) Error() string { return e.Problem }

// waitAfterKill is how long a killed CLI's children may hold its output open.
const waitAfterKill = 2 * time.Second

// FindProject returns the folder at or above dir that holds a Pulumi project.
func FindProject(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	for top := dir; ; top = filepath.Dir(top) {
		for _, name := range []string{"Pulumi.yaml", "Pulumi.yml", "Pulumi.json"} {
			if _, err := os.Stat(filepath.Join(top, name)); err == nil {
				return top, nil
			}
		}
		if top == filepath.Dir(top) {
			return "", &Error{
				Problem: fmt.Sprintf("no Pulumi project (Pulumi.yaml) at or above %s", dir),
				Hint:    "run verify in the project's folder, or without Pulumi with --dsn or --namespace",
				Usage:   true,
			}
		}
	}
}

// Read returns a stack of the project in a folder: the named one, or the one that is selected.
func Read(ctx context.Context, project, name string) (*Stack, error) {
	outputArgs := []string{"stack", "output", "--json", "--show-secrets", "--non-interactive"}
	selected := make(chan result, 1)
	if name == "" {
		// Asked at the same time: each call takes as long as the other.
		go func() { selected <- run(ctx, project, "stack", "--show-name", "--non-interactive") }()
	} else {
		selected <- result{out: name}
		outputArgs = append(outputArgs, "--stack", name)
	}
	output := run(ctx, project, outputArgs...)
	shown := <-selected
	if err := errors.Join(explain(ctx, output, name), explain(ctx, shown, name)); err != nil {
		// Both fail for the same reason; one of them says it.
		return nil, firstOf(err)
	}
	name = shown.out[strings.LastIndex(shown.out, "/")+1:]
	outputs, err := parse(output.out, name)
	if err != nil {
		return nil, err
	}
	return &Stack{Name: name, Project: project, Outputs: *outputs}, nil
}

func firstOf(err error) error {
	var explained *Error
	if errors.As(err, &explained) {
		return explained
	}
	return err
}

type result struct {
	out    string
	stderr string
	err    error
}

func run(ctx context.Context, project string, args ...string) result {
	command := exec.CommandContext(ctx, "pulumi", args...)
	command.Dir = project
	command.WaitDelay = waitAfterKill
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	err := command.Run()
	return result{out: strings.TrimSpace(stdout.String()), stderr: stderr.String(), err: err}
}

// explain turns a failed call of the CLI into one line that says what to do.
func explain(ctx context.Context, result result, name string) error {
	if result.err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return fmt.Errorf("read the stack with the Pulumi CLI: %w", context.Cause(ctx))
	}
	if errors.Is(result.err, exec.ErrNotFound) {
		return &Error{
			Problem: "the Pulumi CLI (pulumi) is not on PATH",
			Hint:    "install it, or for the local cluster run: . .local/env; without Pulumi use --dsn or --namespace",
		}
	}
	said := firstError(result.stderr)
	switch {
	case strings.Contains(said, "no stack selected"):
		return &Error{Problem: "no stack is selected", Hint: "run: pulumi stack select NAME, or pass --stack NAME", Usage: true}
	case strings.Contains(said, "no stack named"):
		return &Error{Problem: fmt.Sprintf("there is no stack %q: pulumi said: %s", name, said), Hint: "pulumi stack ls lists the stacks there are", Usage: true}
	case strings.Contains(said, "passphrase"):
		return &Error{
			Problem: "the stack's secrets cannot be read: pulumi said: " + said,
			Hint:    "set PULUMI_CONFIG_PASSPHRASE or PULUMI_CONFIG_PASSPHRASE_FILE; for the local cluster run: . .local/env",
		}
	case said == "":
		said = result.err.Error()
	}
	return &Error{Problem: "the Pulumi CLI could not read the stack: " + said, Hint: "try it by hand: pulumi stack output"}
}

// firstError is the line of the CLI's stderr that names the problem.
func firstError(stderr string) string {
	first := ""
	for line := range strings.Lines(stderr) {
		line = strings.TrimSpace(line)
		if problem, ok := strings.CutPrefix(line, "error: "); ok {
			return problem
		}
		if first == "" {
			first = line
		}
	}
	return first
}

func parse(output, name string) (*contract.Outputs, error) {
	var present map[string]json.RawMessage
	var outputs contract.Outputs
	err := json.Unmarshal([]byte(output), &present)
	if err == nil {
		err = json.Unmarshal([]byte(output), &outputs)
	}
	if err != nil {
		// The content may hold the password: only its shape is said.
		return nil, &Error{Problem: fmt.Sprintf("the outputs of stack %q are not what the program exports (%d bytes of JSON do not fit)", name, len(output)),
			Hint: "run: pulumi up"}
	}
	if len(present) == 0 {
		return nil, &Error{Problem: fmt.Sprintf("stack %q has never been deployed: it has no outputs", name), Hint: "run: pulumi up"}
	}
	var missing []string
	for _, required := range contract.RequiredOutputs() {
		if _, ok := present[required]; !ok {
			missing = append(missing, required)
		}
	}
	if len(missing) > 0 {
		return nil, &Error{
			Problem: fmt.Sprintf("stack %q lacks the outputs %s", name, strings.Join(missing, ", ")),
			Hint:    "run: pulumi up; for another program's database use --namespace or --dsn",
		}
	}
	return &outputs, nil
}
