package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"

	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/grpc"

	"stateful-postgres/local/internal/languagehost"
)

// runPlugin builds the plugin of a folder with a PulumiPlugin.yaml, runs it, and
// passes on what it prints, as a host of today does.
//
// The pinned host has this call too, but expects the folder in a field that
// today's CLI leaves empty, and would build whatever it finds in the project.
// Nor does it end the plugin when the CLI is done with it.
func runPlugin(stream grpc.ServerStream) error {
	var request pulumirpc.RunPluginRequest
	if err := languagehost.Receive(stream, &request); err != nil {
		return err
	}
	folder, err := os.MkdirTemp("", "pulumi-go-plugin-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	program := filepath.Join(folder, "plugin")
	if err := buildPlugin(stream.Context(), request.GetInfo().GetProgramDirectory(), program); err != nil {
		return err
	}

	// The kernel ends the plugin together with the thread that started it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	responses := &responses{stream: stream}
	command := exec.CommandContext(stream.Context(), program, request.GetArgs()...)
	command.Dir = request.GetPwd()
	command.Env = request.GetEnv()
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	command.Stdout = writer(func(text []byte) error {
		return responses.send(&pulumirpc.RunPluginResponse{Output: &pulumirpc.RunPluginResponse_Stdout{Stdout: text}})
	})
	command.Stderr = writer(func(text []byte) error {
		return responses.send(&pulumirpc.RunPluginResponse{Output: &pulumirpc.RunPluginResponse_Stderr{Stderr: text}})
	})
	err = command.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		return responses.send(&pulumirpc.RunPluginResponse{
			Output: &pulumirpc.RunPluginResponse_Exitcode{Exitcode: int32(exit.ExitCode())},
		})
	}
	if err != nil {
		return fmt.Errorf("plugin in %s: %w", request.GetInfo().GetProgramDirectory(), err)
	}
	return nil
}

// buildPlugin builds the Go command in a folder. What the compiler says is part
// of the error: the CLI shows nothing else.
func buildPlugin(ctx context.Context, folder, program string) error {
	if folder == "" {
		return errors.New("the CLI named no folder to build a plugin from; it has to be 3.228 or newer")
	}
	build := exec.CommandContext(ctx, "go", "build", "-o", program, ".")
	build.Dir = folder
	build.Env = withGOGC(os.Environ())
	if output, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("go build in %s: %w\n%s", folder, err, strings.TrimSpace(string(output)))
	}
	return nil
}

// responses takes what several streams of a plugin send, one at a time.
type responses struct {
	mu     sync.Mutex
	stream grpc.ServerStream
}

func (r *responses) send(response *pulumirpc.RunPluginResponse) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return languagehost.Send(r.stream, response)
}

// writer is an io.Writer made of a function that takes everything or fails.
type writer func([]byte) error

func (w writer) Write(text []byte) (int, error) {
	if err := w(text); err != nil {
		return 0, err
	}
	return len(text), nil
}
