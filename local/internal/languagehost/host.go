// Package languagehost stands in front of a pinned Pulumi language host, hands on
// what the CLI asks of it, and answers what that host does not know.
package languagehost

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
)

// Handler answers one call, a message at a time.
type Handler func(stream grpc.ServerStream) error

// Serve starts a host and serves what it serves, but the calls of the handlers,
// which are named by their full gRPC method. It returns when the host ends.
func Serve(host string, arguments, environment []string, handlers map[string]Handler) error {
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
			if handle, own := handlers[method]; own {
				return handle(stream)
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

// Receive reads the next message of a call.
func Receive(stream grpc.ServerStream, message proto.Message) error {
	var data frame
	if err := stream.RecvMsg(&data); err != nil {
		return err
	}
	return proto.Unmarshal(data, message)
}

// Send sends a message of a call.
func Send(stream grpc.ServerStream, message proto.Message) error {
	data, err := proto.Marshal(message)
	if err != nil {
		return err
	}
	sent := frame(data)
	return stream.SendMsg(&sent)
}

// Beside is the path of the host of a name, in ../lib of the command's own
// folder. The CLI looks for its language hosts beside its own executable, so the
// command lies there under the host's name.
func Beside(name string) (string, error) {
	executable, err := os.Executable()
	if err != nil {
		return "", err
	}
	return filepath.Join(filepath.Dir(executable), "..", "lib", name), nil
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
