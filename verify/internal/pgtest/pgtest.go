// Package pgtest starts a real PostgreSQL server for tests.
package pgtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"stateful-postgres/internal/postgres"
)

// RequireVariable makes a missing PostgreSQL a failure instead of a skipped test.
const RequireVariable = "STATEFUL_POSTGRES_REQUIRE_POSTGRES"

const (
	deadline  = 30 * time.Second
	superuser = "verifier"
)

// databases numbers the databases that tests make.
var databases atomic.Int64

// Server is a PostgreSQL server on loopback with its data in a temporary directory.
type Server struct {
	// DataDirectory is the server's PGDATA.
	DataDirectory string
	// Port is the loopback port that the server listens on.
	Port int

	root     string
	binaries string
	account  *syscall.Credential
	process  *exec.Cmd
}

var shared struct {
	once   sync.Once
	server *Server
	err    error
}

// Main runs a package's tests and stops the server that they shared. It returns the exit code.
func Main(m *testing.M) int {
	code := m.Run()
	if shared.server != nil {
		if err := shared.server.remove(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return code
}

// Shared returns the one server of all tests of a package, whose TestMain calls Main. Each test
// uses a database of its own.
func Shared(t testing.TB) *Server {
	t.Helper()
	shared.once.Do(func() { shared.server, shared.err = start(needBinaries(t)) })
	require.NoError(t, shared.err)
	if shared.server == nil {
		t.Skip("the first test that needed the shared server could not have one")
	}
	return shared.server
}

// Start returns a server of the test's own, which the test may stop, start and damage.
func Start(t testing.TB) *Server {
	t.Helper()
	server, err := start(needBinaries(t))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.remove()) })
	return server
}

// needBinaries skips the test, visibly, where there is no PostgreSQL, and fails it instead when
// RequireVariable is 1.
func needBinaries(t testing.TB) string {
	t.Helper()
	binaries, err := postgres.FindBinaries()
	if err != nil {
		if os.Getenv(RequireVariable) == "1" {
			t.Fatalf("%v (%s=1)", err, RequireVariable)
		}
		t.Skip(err)
	}
	return binaries
}

func start(binaries string) (*Server, error) {
	root, err := os.MkdirTemp("", "pgtest")
	if err != nil {
		return nil, err
	}
	server := &Server{DataDirectory: filepath.Join(root, "data"), root: root, binaries: binaries}
	err = server.useUnprivilegedAccount()
	if err == nil {
		err = server.initialise()
	}
	if err == nil {
		err = server.run()
	}
	if err != nil {
		return nil, errors.Join(err, server.remove())
	}
	return server, nil
}

func (s *Server) remove() error {
	return errors.Join(s.stop(syscall.SIGINT), os.RemoveAll(s.root))
}

// useUnprivilegedAccount gives the directory to the account that the server runs as.
func (s *Server) useUnprivilegedAccount() (err error) {
	if s.account, err = postgres.UnprivilegedAccount(); err != nil || s.account == nil {
		return err
	}
	return os.Chown(s.root, int(s.account.Uid), int(s.account.Gid))
}

func (s *Server) command(name string, args ...string) *exec.Cmd {
	return s.as(exec.Command(filepath.Join(s.binaries, name), args...))
}

// as makes a command run as the server's account.
func (s *Server) as(command *exec.Cmd) *exec.Cmd {
	command.Dir = s.root
	command.Env = append(os.Environ(), "LC_ALL=C", "TZ=UTC")
	if s.account != nil {
		command.SysProcAttr = &syscall.SysProcAttr{Credential: s.account}
	}
	return command
}

func (s *Server) initialise() error {
	out, err := s.command("initdb", "--pgdata", s.DataDirectory, "--username", superuser, "--auth", "trust",
		"--encoding", "UTF8", "--no-sync", "--data-checksums").CombinedOutput()
	if err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	return nil
}

func (s *Server) run() error {
	if s.Port == 0 {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		s.Port = listener.Addr().(*net.TCPAddr).Port
		if err := listener.Close(); err != nil {
			return err
		}
	}
	// Appended across restarts, so that a test can read what every one of them said.
	log, err := os.OpenFile(filepath.Join(s.root, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	s.process = s.command("postgres", "-D", s.DataDirectory, "-p", strconv.Itoa(s.Port),
		"-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=",
		"-c", "fsync=off", "-c", "max_connections=40", "-c", "shared_buffers=64MB", "-c", "autovacuum=off")
	s.process.Stdout, s.process.Stderr = log, log
	if err := s.process.Start(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	for {
		conn, err := pgx.Connect(ctx, s.DSN("postgres"))
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("PostgreSQL did not start: %w\n%s", err, s.log())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (s *Server) log() string {
	content, err := os.ReadFile(filepath.Join(s.root, "log"))
	if err != nil {
		return err.Error()
	}
	return string(content)
}

// Log is everything that the server has logged since the test began.
func (s *Server) Log() string { return s.log() }

// StopFast shuts the server down as Kubernetes does with the official image (SIGINT).
func (s *Server) StopFast(t testing.TB) {
	t.Helper()
	require.NoError(t, s.stop(syscall.SIGINT))
}

// StopImmediate ends the server without a checkpoint: the next start recovers from a crash.
func (s *Server) StopImmediate(t testing.TB) {
	t.Helper()
	require.NoError(t, s.stop(syscall.SIGQUIT))
}

// Run starts the server again, on the same port.
func (s *Server) Run(t testing.TB) {
	t.Helper()
	require.NoError(t, s.run())
}

// Reinitialise replaces the data of a stopped server by a new, empty cluster.
func (s *Server) Reinitialise(t testing.TB) {
	t.Helper()
	require.NoError(t, os.RemoveAll(s.DataDirectory))
	require.NoError(t, s.initialise())
}

// CopyData copies the data directory of a stopped server.
func (s *Server) CopyData(t testing.TB, from, to string) {
	t.Helper()
	out, err := s.as(exec.Command("cp", "-a", from, to)).CombinedOutput()
	require.NoError(t, err, string(out))
}

func (s *Server) stop(signal syscall.Signal) error {
	if s.process == nil {
		return nil
	}
	process := s.process
	s.process = nil
	if err := process.Process.Signal(signal); err != nil {
		return errors.Join(err, process.Wait())
	}
	done := make(chan error, 1)
	go func() { done <- process.Wait() }()
	select {
	case <-done:
		return nil
	case <-time.After(deadline):
		return errors.Join(fmt.Errorf("PostgreSQL did not stop within %s of %s\n%s", deadline, signal, s.log()), process.Process.Kill())
	}
}

// DSN is how the superuser reaches a database of the server.
func (s *Server) DSN(database string) string {
	return fmt.Sprintf("postgres://%s@127.0.0.1:%d/%s?sslmode=disable", superuser, s.Port, database)
}

// CreateDatabase makes an empty database of a unique name and returns its DSN.
func (s *Server) CreateDatabase(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("test_%d", databases.Add(1))
	s.Exec(t, s.DSN("postgres"), "create database "+name)
	return s.DSN(name)
}

// Exec runs statements on a connection of their own.
func (s *Server) Exec(t testing.TB, dsn string, statements ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	conn, err := pgx.Connect(ctx, dsn)
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close(ctx)) }()
	for _, statement := range statements {
		_, err := conn.Exec(ctx, statement)
		require.NoError(t, err, statement)
	}
}

// DisableChecksums lets a stopped server read pages that a test has damaged.
func (s *Server) DisableChecksums(t testing.TB) {
	t.Helper()
	out, err := s.command("pg_checksums", "--disable", "--no-sync", "--pgdata", s.DataDirectory).CombinedOutput()
	require.NoError(t, err, string(out))
}

// ReplaceData puts a copy of another data directory in the place of a stopped server's own.
func (s *Server) ReplaceData(t testing.TB, from string) {
	t.Helper()
	require.NoError(t, os.RemoveAll(s.DataDirectory))
	s.CopyData(t, from, s.DataDirectory)
}
