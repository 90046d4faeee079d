package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"stateful-postgres/local/internal/languagehost"
)

// The test's own binary plays the host, and the command in front of it.
const roleVariable = "LANGUAGE_GO_TEST_ROLE"

func TestMain(m *testing.M) {
	var err error
	switch os.Getenv(roleVariable) {
	case "host":
		err = playHost()
	case "command":
		err = languagehost.Serve(os.Args[0], os.Args[1:], append(os.Environ(), roleVariable+"=host"), handlers)
	default:
		os.Exit(m.Run())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// pinned is a host that knows three calls.
type pinned struct {
	pulumirpc.UnimplementedLanguageRuntimeServer
}

func (pinned) GetPluginInfo(context.Context, *emptypb.Empty) (*pulumirpc.PluginInfo, error) {
	return &pulumirpc.PluginInfo{Version: strings.Join(os.Args[1:], " ")}, nil
}

func (pinned) InstallDependencies(request *pulumirpc.InstallDependenciesRequest, stream grpc.ServerStreamingServer[pulumirpc.InstallDependenciesResponse]) error {
	for range 3 {
		if err := stream.Send(&pulumirpc.InstallDependenciesResponse{Stdout: []byte(request.GetInfo().GetProgramDirectory())}); err != nil {
			return err
		}
	}
	return nil
}

func (pinned) RunPlugin(*pulumirpc.RunPluginRequest, grpc.ServerStreamingServer[pulumirpc.RunPluginResponse]) error {
	return errors.New("the pinned host was asked to run a plugin")
}

func playHost() error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	pulumirpc.RegisterLanguageRuntimeServer(server, pinned{})
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	return server.Serve(listener)
}

// start starts the command and connects to it.
func start(t *testing.T) pulumirpc.LanguageRuntimeClient {
	t.Helper()
	command := exec.Command(os.Args[0], "-flag", "127.0.0.1:1")
	command.Env = append(os.Environ(), roleVariable+"=command")
	command.Stderr = os.Stderr
	stdout, err := command.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, command.Start())
	t.Cleanup(func() {
		require.NoError(t, command.Process.Kill())
		_ = command.Wait()
	})
	port, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	connection, err := grpc.NewClient("127.0.0.1:"+strings.TrimSpace(port), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, connection.Close()) })
	return pulumirpc.NewLanguageRuntimeClient(connection)
}

func TestCallsReachTheHost(t *testing.T) {
	t.Parallel()
	client := start(t)
	info, err := client.GetPluginInfo(t.Context(), &emptypb.Empty{})
	require.NoError(t, err)
	require.Equal(t, "-flag 127.0.0.1:1", info.GetVersion(), "the host's arguments")

	_, err = client.About(t.Context(), &pulumirpc.AboutRequest{})
	require.Equal(t, codes.Unimplemented, status.Code(err), "an error keeps its code: %v", err)

	stream, err := client.InstallDependencies(t.Context(), &pulumirpc.InstallDependenciesRequest{Info: &pulumirpc.ProgramInfo{ProgramDirectory: "/there"}})
	require.NoError(t, err)
	for range 3 {
		response, err := stream.Recv()
		require.NoError(t, err)
		require.Equal(t, "/there", string(response.GetStdout()))
	}
	_, err = stream.Recv()
	require.ErrorIs(t, err, io.EOF)
}

// plugin writes a Go command that can be built without any other module.
func plugin(t *testing.T, body string) string {
	t.Helper()
	folder := t.TempDir()
	text := "package main\n\nimport (\n\t\"fmt\"\n\t\"os\"\n\t\"time\"\n)\n\nvar _ = time.Second\n\nfunc main() {\n" + body + "\n}\n"
	require.NoError(t, os.WriteFile(filepath.Join(folder, "go.mod"), []byte("module example.com/plugin\n\ngo 1.26\n"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(folder, "main.go"), []byte(text), 0o600))
	return folder
}

func runIn(ctx context.Context, client pulumirpc.LanguageRuntimeClient, folder, pwd string) (grpc.ServerStreamingClient[pulumirpc.RunPluginResponse], error) {
	return client.RunPlugin(ctx, &pulumirpc.RunPluginRequest{
		Pwd: pwd, Args: []string{"one", "two"}, Env: append(os.Environ(), "COLOUR=blue"),
		Info: &pulumirpc.ProgramInfo{RootDirectory: folder, ProgramDirectory: folder, EntryPoint: "."},
	})
}

func TestPluginIsBuiltFromItsFolderAndRun(t *testing.T) {
	t.Parallel()
	client := start(t)
	folder := plugin(t, `	where, _ := os.Getwd()
	fmt.Println(where, os.Args[1:], os.Getenv("COLOUR"))
	fmt.Fprintln(os.Stderr, "to the error stream")
	os.Exit(3)`)
	pwd := t.TempDir()
	stream, err := runIn(t.Context(), client, folder, pwd)
	require.NoError(t, err)
	var stdout, stderr string
	exit := int32(-1)
	for {
		response, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		stdout += string(response.GetStdout())
		stderr += string(response.GetStderr())
		if output, is := response.GetOutput().(*pulumirpc.RunPluginResponse_Exitcode); is {
			exit = output.Exitcode
		}
	}
	require.Equal(t, pwd+" [one two] blue\n", stdout)
	require.Equal(t, "to the error stream\n", stderr)
	require.Equal(t, int32(3), exit)
}

func TestPluginThatCannotBeBuiltIsNamedWithTheReason(t *testing.T) {
	t.Parallel()
	client := start(t)
	folder := plugin(t, `	fmt.Println(undefinedName, os.Args)`)
	stream, err := runIn(t.Context(), client, folder, folder)
	require.NoError(t, err)
	_, err = stream.Recv()
	require.ErrorContains(t, err, "go build in "+folder)
	require.ErrorContains(t, err, "undefined: undefinedName")

	stream, err = runIn(t.Context(), client, "", folder)
	require.NoError(t, err)
	_, err = stream.Recv()
	require.ErrorContains(t, err, "the CLI named no folder to build a plugin from")
}

func TestPluginEndsWithTheCall(t *testing.T) {
	t.Parallel()
	client := start(t)
	folder := plugin(t, `	fmt.Println(os.Getpid())
	time.Sleep(time.Hour)`)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stream, err := runIn(ctx, client, folder, folder)
	require.NoError(t, err)
	response, err := stream.Recv()
	require.NoError(t, err)
	var pid int
	_, err = fmt.Sscan(string(response.GetStdout()), &pid)
	require.NoError(t, err)
	require.NoError(t, syscall.Kill(pid, 0), "runs")
	cancel()
	require.Eventually(t, func() bool { return syscall.Kill(pid, 0) != nil }, 10*time.Second, 20*time.Millisecond)
}
