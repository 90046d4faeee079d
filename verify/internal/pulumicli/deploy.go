package pulumicli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// interruptGrace is how long an interrupted `pulumi up` has to finish the step it is in and to
// release its lock on the stack.
const interruptGrace = 5 * time.Minute

// Deployer changes the replicas of a stack through the Pulumi engine. The stack's own settings
// file is never written: other replicas come from a copy of it, so that a plain `pulumi up` puts
// everything back, whatever happens in between.
type Deployer struct {
	Project string
	Stack   string
	// ConfigFile is the stack's settings file; empty for Pulumi.STACK.yaml in the project.
	ConfigFile string
	// Scratch is a folder for the copy.
	Scratch string
}

// RestoreCommand is what puts the stack back to its own settings.
func (d *Deployer) RestoreCommand() string {
	return "pulumi " + strings.Join(d.upArguments(d.ConfigFile), " ")
}

func (d *Deployer) upArguments(configFile string) []string {
	arguments := []string{"up", "--yes", "--stack", d.Stack}
	if configFile != "" {
		arguments = append(arguments, "--config-file", configFile)
	}
	return arguments
}

// Restore deploys the stack's own settings.
func (d *Deployer) Restore(ctx context.Context) error {
	return d.pulumi(ctx, d.upArguments(d.ConfigFile)...)
}

// Scale deploys the stack with other replicas than its settings say.
func (d *Deployer) Scale(ctx context.Context, replicas int) error {
	original := d.ConfigFile
	if original == "" {
		original = filepath.Join(d.Project, "Pulumi."+d.Stack+".yaml")
	} else if !filepath.IsAbs(original) {
		original = filepath.Join(d.Project, original)
	}
	settings, err := os.ReadFile(original)
	if err != nil {
		return fmt.Errorf("settings of stack %s: %w; name the file with --config-file", d.Stack, err)
	}
	if err := os.MkdirAll(d.Scratch, 0o755); err != nil {
		return err
	}
	changed := filepath.Join(d.Scratch, "settings-while-scaled.yaml")
	if err := os.WriteFile(changed, settings, 0o600); err != nil {
		return err
	}
	defer os.Remove(changed)
	if err := d.pulumi(ctx, "config", "set", "replicas", strconv.Itoa(replicas), "--stack", d.Stack, "--config-file", changed); err != nil {
		return err
	}
	return d.pulumi(ctx, d.upArguments(changed)...)
}

// pulumi runs the CLI. When ctx ends it is interrupted as from a terminal, and waited for.
func (d *Deployer) pulumi(ctx context.Context, arguments ...string) error {
	command := exec.CommandContext(ctx, "pulumi", append(arguments, "--non-interactive")...)
	command.Dir = d.Project
	// Apart from the terminal: a Ctrl-C must reach it once, and from here.
	separate(command)
	command.Cancel = func() error { return interrupt(command.Process) }
	command.WaitDelay = interruptGrace
	var output tail
	command.Stdout, command.Stderr = &output, &output
	err := command.Run()
	switch {
	case err == nil:
		return nil
	case errors.Is(err, exec.ErrNotFound):
		return &Error{Problem: "the Pulumi CLI (pulumi) is not on PATH", Hint: "install it, or for the local cluster run: . .local/env"}
	case ctx.Err() != nil:
		return fmt.Errorf("pulumi %s: %w", arguments[0], context.Cause(ctx))
	}
	return fmt.Errorf("pulumi %s: %w: %s", strings.Join(arguments, " "), err, output.lastLines())
}

// maximumTail is how much of what the CLI prints is kept for an error.
const maximumTail = 4096

// tail keeps the end of what is written to it.
type tail struct{ content []byte }

var _ io.Writer = (*tail)(nil)

// Write keeps the end of everything written.
func (t *tail) Write(p []byte) (int, error) {
	t.content = append(t.content, p...)
	if excess := len(t.content) - maximumTail; excess > 0 {
		t.content = t.content[excess:]
	}
	return len(p), nil
}

func (t *tail) lastLines() string {
	lines := strings.FieldsFunc(string(t.content), func(r rune) bool { return r == '\n' })
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	return strings.Join(lines[max(len(lines)-8, 0):], " | ")
}
