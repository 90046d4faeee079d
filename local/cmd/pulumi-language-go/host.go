package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
)

// serve starts the host, and serves what it serves, with RunPlugin as the CLI
// asks for it. It returns when the host ends.
func serve(host string, arguments, environment []string) error {
	// The kernel ends the host together with the thread that started it.
	runtime.LockOSThread()
	command := exec.Command(host, arguments...)
	command.Env = environment
	command.Stderr = os.Stderr
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stdout, err := command.StdoutPipe()
	if err != nil {
		return err
	}
	if err := command.Start(); err != nil {
		return fmt.Errorf("starting %s: %w; build it with `make setup`", host, err)
	}
	// The first line is the host's port; whoever started this command expects the
	// same of it.
	output := bufio.NewReader(stdout)
	line, err := output.ReadString('\n')
	if err != nil {
		return errors.Join(fmt.Errorf("%s: expected a port, got %q", host, line), command.Wait())
	}
	port, err := strconv.ParseUint(strings.TrimSpace(line), 10, 16)
	if err != nil {
		return fmt.Errorf("%s: expected a port, got %q", host, line)
	}
	connection, err := grpc.NewClient(fmt.Sprintf("127.0.0.1:%d", port),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(frames{}), grpc.MaxCallRecvMsgSize(math.MaxInt32)))
	if err != nil {
		return err
	}
	defer connection.Close()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := grpc.NewServer(grpc.ForceServerCodec(frames{}), grpc.MaxRecvMsgSize(math.MaxInt32),
		grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
			method, _ := grpc.MethodFromServerStream(stream)
			if method == pulumirpc.LanguageRuntime_RunPlugin_FullMethodName {
				return runPlugin(stream)
			}
			return forward(connection, method, stream)
		}))
	defer server.Stop()
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)

	if _, err := io.Copy(os.Stdout, output); err != nil {
		return err
	}
	if err := command.Wait(); err != nil {
		return fmt.Errorf("%s: %w", host, err)
	}
	select {
	case err := <-served:
		return err
	default:
		return nil
	}
}

// forward hands a call on to the host as it is, and its answers back.
func forward(connection *grpc.ClientConn, method string, from grpc.ServerStream) error {
	ctx := from.Context()
	if values, found := metadata.FromIncomingContext(ctx); found {
		ctx = metadata.NewOutgoingContext(ctx, values.Copy())
	}
	to, err := connection.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, method)
	if err != nil {
		return err
	}
	go func() {
		for {
			var message frame
			if err := from.RecvMsg(&message); err != nil {
				// The caller is done, or gone: then the context ends the call.
				_ = to.CloseSend()
				return
			}
			if to.SendMsg(&message) != nil {
				return // to.RecvMsg says why
			}
		}
	}()
	for {
		var message frame
		if err := to.RecvMsg(&message); errors.Is(err, io.EOF) {
			from.SetTrailer(to.Trailer())
			return nil
		} else if err != nil {
			return err
		}
		if err := from.SendMsg(&message); err != nil {
			return err
		}
	}
}

// frame is a message that is not looked into.
type frame []byte

// frames is the codec of messages that are not looked into.
type frames struct{}

// Marshal returns a frame's bytes.
func (frames) Marshal(message any) ([]byte, error) { return *message.(*frame), nil }

// Unmarshal makes a frame of bytes.
func (frames) Unmarshal(data []byte, message any) error {
	*message.(*frame) = data
	return nil
}

// Name is that of the codec whose bytes these are.
func (frames) Name() string { return "proto" }
