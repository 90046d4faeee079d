// Package pgtest starts a real PostgreSQL server for tests.
package pgtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// RequireVariable makes a missing PostgreSQL a failure instead of a skipped test.
const RequireVariable = "STATEFUL_POSTGRES_REQUIRE_POSTGRES"

const (
	startDeadline = 30 * time.Second
	superuser     = "verifier"
)

// Server is a PostgreSQL server of the test's own: listening on loopback, data in a temporary
// directory, stopped when the test ends.
type Server struct {
	// DataDirectory is the server's PGDATA.
	DataDirectory string
	// Port is the loopback port that the server listens on.
	Port int

	t        testing.TB
	binaries string
	account  *syscall.Credential
	process  *exec.Cmd
	log      string
}

// Start initialises a cluster and starts a server on it. The test is skipped, visibly, where
// there is no PostgreSQL, and fails instead when RequireVariable is 1.
func Start(t testing.TB) *Server {
	t.Helper()
	binaries, err := findBinaries()
	if err != nil {
		if os.Getenv(RequireVariable) == "1" {
			t.Fatalf("%v (%s=1)", err, RequireVariable)
		}
		t.Skip(err)
	}
	root, err := os.MkdirTemp("", "pgtest")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(root)) })

	server := &Server{
		DataDirectory: filepath.Join(root, "data"),
		t:             t,
		binaries:      binaries,
		log:           filepath.Join(root, "log"),
	}
	server.useUnprivilegedAccount(root)
	server.Initialise()
	server.Run()
	t.Cleanup(func() { server.StopFast() })
	return server
}

// findBinaries returns the directory that holds initdb and postgres.
func findBinaries() (string, error) {
	var candidates []string
	if path, err := exec.LookPath("initdb"); err == nil {
		candidates = append(candidates, filepath.Dir(path))
	}
	if out, err := exec.Command("pg_config", "--bindir").Output(); err == nil {
		candidates = append(candidates, strings.TrimSpace(string(out)))
	}
	versions, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	slices.SortFunc(versions, func(a, b string) int { return majorVersion(b) - majorVersion(a) })
	candidates = append(candidates, versions...)
	for _, directory := range candidates {
		if _, err := os.Stat(filepath.Join(directory, "initdb")); err != nil {
			continue
		}
		if _, err := os.Stat(filepath.Join(directory, "postgres")); err == nil {
			return directory, nil
		}
	}
	return "", errors.New("no PostgreSQL server found on PATH or under /usr/lib/postgresql: install it, " +
		"on Debian with: apt-get install postgresql-15")
}

func majorVersion(binaries string) int {
	version, _ := strconv.Atoi(filepath.Base(filepath.Dir(binaries)))
	return version
}

// useUnprivilegedAccount gives root the account that the server runs as: PostgreSQL refuses
// to be run by root.
func (s *Server) useUnprivilegedAccount(root string) {
	if os.Geteuid() != 0 {
		return
	}
	account, err := user.Lookup("postgres")
	if err != nil {
		account, err = user.Lookup("nobody")
	}
	require.NoError(s.t, err, "an account other than root to run PostgreSQL as")
	uid, err := strconv.ParseUint(account.Uid, 10, 32)
	require.NoError(s.t, err)
	gid, err := strconv.ParseUint(account.Gid, 10, 32)
	require.NoError(s.t, err)
	s.account = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	require.NoError(s.t, os.Chown(root, int(uid), int(gid)))
}

func (s *Server) command(name string, args ...string) *exec.Cmd {
	command := exec.Command(filepath.Join(s.binaries, name), args...)
	command.Dir = filepath.Dir(s.DataDirectory)
	command.Env = append(os.Environ(), "LC_ALL=C", "TZ=UTC")
	if s.account != nil {
		command.SysProcAttr = &syscall.SysProcAttr{Credential: s.account}
	}
	return command
}

// Initialise makes a new, empty cluster in the data directory.
func (s *Server) Initialise() {
	s.t.Helper()
	out, err := s.command("initdb", "--pgdata", s.DataDirectory, "--username", superuser, "--auth", "trust",
		"--encoding", "UTF8", "--no-sync", "--data-checksums").CombinedOutput()
	require.NoError(s.t, err, string(out))
}

// Run starts the server on the data directory and waits until it answers.
func (s *Server) Run() {
	s.t.Helper()
	if s.Port == 0 {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(s.t, err)
		s.Port = listener.Addr().(*net.TCPAddr).Port
		require.NoError(s.t, listener.Close())
	}
	// Appended across restarts, so that a test can read what every one of them said.
	log, err := os.OpenFile(s.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	require.NoError(s.t, err)
	defer log.Close()
	s.process = s.command("postgres", "-D", s.DataDirectory, "-p", strconv.Itoa(s.Port),
		"-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=",
		"-c", "fsync=off", "-c", "max_connections=40", "-c", "shared_buffers=64MB")
	s.process.Stdout, s.process.Stderr = log, log
	require.NoError(s.t, s.process.Start())

	ctx, cancel := context.WithTimeout(context.Background(), startDeadline)
	defer cancel()
	for {
		conn, err := pgx.Connect(ctx, s.DSN("postgres"))
		if err == nil {
			require.NoError(s.t, conn.Close(ctx))
			return
		}
		require.NoError(s.t, ctx.Err(), "last answer: %v\n%s", err, s.Log())
		time.Sleep(10 * time.Millisecond)
	}
}

// Log is everything the server has logged.
func (s *Server) Log() string {
	content, err := os.ReadFile(s.log)
	require.NoError(s.t, err)
	return string(content)
}

// StopFast shuts the server down as Kubernetes does with the official image (SIGINT). A server
// that is not running is left as it is.
func (s *Server) StopFast() { s.stop(syscall.SIGINT) }

// StopImmediate ends the server without a checkpoint: the next start recovers from a crash.
func (s *Server) StopImmediate() { s.stop(syscall.SIGQUIT) }

func (s *Server) stop(signal syscall.Signal) {
	s.t.Helper()
	if s.process == nil {
		return
	}
	require.NoError(s.t, s.process.Process.Signal(signal))
	done := make(chan error, 1)
	go func() { done <- s.process.Wait() }()
	select {
	case <-done:
	case <-time.After(startDeadline):
		_ = s.process.Process.Kill()
		s.t.Errorf("PostgreSQL did not stop within %s of %s\n%s", startDeadline, signal, s.Log())
	}
	s.process = nil
}

// DSN is how the superuser reaches a database of the server.
func (s *Server) DSN(database string) string {
	return fmt.Sprintf("postgres://%s@127.0.0.1:%d/%s?sslmode=disable", superuser, s.Port, database)
}

// CreateDatabase makes an empty database named after the test and returns its DSN.
func (s *Server) CreateDatabase(t testing.TB) string {
	t.Helper()
	name := strings.ToLower(strings.Map(func(r rune) rune {
		if r == '/' || r == ' ' || r == '-' || r == '\'' || r == ',' {
			return '_'
		}
		return r
	}, t.Name()))
	if len(name) > 63 {
		name = name[len(name)-63:]
	}
	s.Exec(t, s.DSN("postgres"), "create database "+pgx.Identifier{name}.Sanitize())
	return s.DSN(name)
}

// Exec runs statements on a connection of their own.
func (s *Server) Exec(t testing.TB, dsn string, statements ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startDeadline)
	defer cancel()
	conn, err := pgx.Connect(ctx, dsn)
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close(ctx)) }()
	for _, statement := range statements {
		_, err := conn.Exec(ctx, statement)
		require.NoError(t, err, statement)
	}
}
