// Package pgtest starts a real PostgreSQL server for tests.
package pgtest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stateful-postgres/internal/postgres"
)

const (
	deadline  = 30 * time.Second
	superuser = "verifier"
)

// databases numbers the databases that tests make.
var databases atomic.Int64

// Server is a PostgreSQL server on loopback with its data in a temporary directory.
type Server struct{ *postgres.Server }

var shared struct {
	once   sync.Once
	server *Server
	err    error
}

// Main runs a package's tests and stops the server that they shared. It returns the exit code.
func Main(m *testing.M) int {
	code := m.Run()
	if shared.server != nil {
		if err := shared.server.Remove(); err != nil {
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
	shared.once.Do(func() { shared.server, shared.err = start(t) })
	require.NoError(t, shared.err)
	if shared.server == nil {
		t.Skip("the first test that needed the shared server could not have one")
	}
	return shared.server
}

// Start returns a server of the test's own, which the test may stop, start and damage.
func Start(t testing.TB) *Server {
	t.Helper()
	server, err := start(t)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Remove()) })
	return server
}

func start(t testing.TB) (*Server, error) {
	options, err := newOptions(t)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	server, err := postgres.Start(ctx, options)
	if err != nil {
		return nil, err
	}
	return &Server{server}, nil
}

// newServer returns a server without a data directory, which does not run.
func newServer(t testing.TB) *Server {
	t.Helper()
	options, err := newOptions(t)
	require.NoError(t, err)
	server, err := postgres.New(options)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Remove()) })
	return &Server{server}
}

func newOptions(t testing.TB) (postgres.Options, error) {
	postgres.NeedBinaries(t)
	// Not t.TempDir: the shared server outlives the test that starts it.
	folder, err := os.MkdirTemp("", "pgtest")
	return postgres.Options{
		Folder: folder, Superuser: superuser, InitDB: []string{"--no-sync"},
		Parameters: []string{"fsync=off", "max_connections=40", "shared_buffers=64MB"},
	}, err
}

// StopFast shuts the server down as Kubernetes does with the official image (SIGINT).
func (s *Server) StopFast(t testing.TB) {
	t.Helper()
	require.NoError(t, s.Stop(syscall.SIGINT))
}

// StopImmediate ends the server without a checkpoint: the next start recovers from a crash.
func (s *Server) StopImmediate(t testing.TB) {
	t.Helper()
	require.NoError(t, s.Stop(syscall.SIGQUIT))
}

// Run starts the server again, on the same port.
func (s *Server) Run(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	require.NoError(t, s.Server.Run(ctx))
}

// Reinitialise replaces the data of a stopped server by a new, empty cluster.
func (s *Server) Reinitialise(t testing.TB) {
	t.Helper()
	require.NoError(t, os.RemoveAll(s.DataDirectory))
	require.NoError(t, s.Initialise(context.Background()))
}

// CopyData copies the data directory of a stopped server.
func (s *Server) CopyData(t testing.TB, from, to string) {
	t.Helper()
	out, err := s.As(exec.Command("cp", "-a", from, to)).CombinedOutput()
	require.NoError(t, err, string(out))
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
	require.NoError(t, s.Server.Exec(ctx, dsn, statements...))
}

// DisableChecksums lets a stopped server read pages that a test has damaged.
func (s *Server) DisableChecksums(t testing.TB) {
	t.Helper()
	out, err := s.Program(context.Background(), "pg_checksums", "--disable", "--no-sync", "--pgdata", s.DataDirectory).CombinedOutput()
	require.NoError(t, err, string(out))
}

// ReplaceData puts a copy of another data directory in the place of a stopped server's own.
func (s *Server) ReplaceData(t testing.TB, from string) {
	t.Helper()
	require.NoError(t, os.RemoveAll(s.DataDirectory))
	s.CopyData(t, from, s.DataDirectory)
}
