package stack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"stateful-postgres/internal/buffer"
)

// interruptGrace is what an interrupted command has left to end in.
const interruptGrace = 30 * time.Second

// Result is what a command did.
type Result struct {
	// Arguments are the command line.
	Arguments []string
	// Stdout is its standard output; Output has standard error in between.
	Stdout, Output string
	// ExitCode is -1 when the command could not be started or was killed.
	ExitCode int
	// Duration is from the start of the process to its end.
	Duration time.Duration

	err error
}

// OK says that the command ended with 0.
func (r Result) OK() bool { return r.ExitCode == 0 }

// Err is nil for a command that ended with 0, and else says what it printed.
func (r Result) Err() error {
	if r.OK() {
		return nil
	}
	return fmt.Errorf("%s\n%w", r, r.err)
}

// String is the command with what it printed, to be read by a person.
func (r Result) String() string {
	return fmt.Sprintf("$ %s\n%s(exit code %d after %s)",
		strings.Join(r.Arguments, " "), r.Output, r.ExitCode, r.Duration.Round(time.Millisecond))
}

// Command is a command in the top of the checkout, with the workspace's own
// Pulumi backend. It is interrupted when the context ends.
func (s *Stack) Command(ctx context.Context, arguments ...string) *exec.Cmd {
	return s.workspace.command(ctx, arguments...)
}

// Run runs a command to its end.
func (s *Stack) Run(ctx context.Context, arguments ...string) Result {
	return s.workspace.run(ctx, s.Command(ctx, arguments...))
}

// Run runs a command that belongs to no stack.
func (w *Workspace) Run(ctx context.Context, arguments ...string) Result {
	return w.run(ctx, w.command(ctx, arguments...))
}

func (w *Workspace) command(ctx context.Context, arguments ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, arguments[0], arguments[1:]...)
	command.Dir = w.Root
	if arguments[0] == w.Verify && w.project != "" {
		// It finds the Pulumi project from where it runs.
		command.Dir = w.project
	}
	// metadata=skip: else a kill can leave a half-written file of metadata beside
	// the checkpoint, with which the stack cannot be loaded.
	command.Env = append(os.Environ(), "PULUMI_BACKEND_URL=file://"+w.stateFolder()+"?metadata=skip", "NO_COLOR=1")
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGINT) }
	command.WaitDelay = interruptGrace
	return command
}

func (w *Workspace) run(ctx context.Context, command *exec.Cmd) Result {
	var stdout bytes.Buffer
	var output buffer.Locked
	command.Stdout = io.MultiWriter(&stdout, &output)
	command.Stderr = &output
	start := time.Now()
	err := command.Run()
	result := Result{
		Arguments: command.Args,
		Stdout:    stdout.String(),
		Output:    output.String(),
		ExitCode:  -1,
		Duration:  time.Since(start),
		err:       err,
	}
	if command.ProcessState != nil {
		result.ExitCode = command.ProcessState.ExitCode()
	}
	if cause := context.Cause(ctx); cause != nil {
		result.ExitCode, result.err = -1, errors.Join(cause, err)
	}
	return result
}
