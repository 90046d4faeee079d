package postgres

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// serverTimeout is for a server to start, and to stop.
	serverTimeout = time.Minute
	// connectInterval is between two attempts to connect to a server that starts.
	connectInterval = 10 * time.Millisecond
)

// Options say what server to start.
type Options struct {
	// Folder is empty or missing, and will hold all that belongs to the server.
	// Where root starts it, its account has to get through to here.
	Folder string
	// Superuser is the name of the role that the server begins with.
	Superuser string
	// Password is the superuser's; empty, everybody is let in without one.
	Password string
	// InitDB are further arguments of initdb.
	InitDB []string
	// Parameters are arguments of the server like "fsync=off".
	Parameters []string
}

// Server is a PostgreSQL server on loopback, of this process's own: with its
// defaults, but for checksums, which are on, and autovacuum, which is off,
// because it comes at times of its own.
type Server struct {
	// DataDirectory is the server's PGDATA.
	DataDirectory string
	// Port is the port on 127.0.0.1; it stays the same when the server is started
	// again.
	Port int

	options  Options
	binaries string
	account  *syscall.Credential
	process  *exec.Cmd
	// ended is closed when the process has ended.
	ended chan struct{}
}

// Start makes a new database cluster and starts a server on it. Remove ends it.
func Start(ctx context.Context, options Options) (*Server, error) {
	s, err := New(options)
	if err != nil {
		return nil, err
	}
	if err := s.Initialise(ctx); err != nil {
		return nil, errors.Join(err, s.Remove())
	}
	if err := s.Run(ctx); err != nil {
		return nil, errors.Join(err, s.Remove())
	}
	return s, nil
}

// New returns a server that has no data directory yet, and does not run. Remove removes its folder.
func New(options Options) (_ *Server, err error) {
	s := &Server{DataDirectory: filepath.Join(options.Folder, "data"), options: options}
	if s.binaries, err = FindBinaries(); err != nil {
		return nil, err
	}
	if s.account, err = UnprivilegedAccount(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(options.Folder, 0o700); err != nil {
		return nil, err
	}
	if err := errors.Join(s.own(options.Folder), s.listen()); err != nil {
		return nil, errors.Join(err, s.Remove())
	}
	return s, nil
}

// own gives a file or folder to the account that the server runs as.
func (s *Server) own(path string) error {
	if s.account == nil {
		return nil
	}
	return os.Chown(path, int(s.account.Uid), int(s.account.Gid))
}

// listen chooses a free port.
func (s *Server) listen() error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s.Port = listener.Addr().(*net.TCPAddr).Port
	return listener.Close()
}

// Program is one of PostgreSQL's programs, run as the server's account.
func (s *Server) Program(ctx context.Context, program string, arguments ...string) *exec.Cmd {
	return s.As(exec.CommandContext(ctx, filepath.Join(s.binaries, program), arguments...))
}

// As makes a command run in the server's folder as the server's account. It does
// not outlive this process.
func (s *Server) As(command *exec.Cmd) *exec.Cmd {
	command.Dir = s.options.Folder
	command.Env = append(os.Environ(), "LC_ALL=C", "TZ=UTC")
	command.SysProcAttr = attributes()
	command.SysProcAttr.Credential = s.account
	return command
}

// WriteFile writes a file in the data directory that only the server may read.
func (s *Server) WriteFile(name, content string) error {
	path := filepath.Join(s.DataDirectory, name)
	return errors.Join(os.WriteFile(path, []byte(content), 0o600), s.own(path))
}

// Initialise makes a new database cluster in the data directory, which must be
// empty or missing.
func (s *Server) Initialise(ctx context.Context) error {
	arguments := append([]string{"--pgdata", s.DataDirectory, "--username", s.options.Superuser,
		"--encoding", "UTF8", "--data-checksums", "--no-instructions"}, s.options.InitDB...)
	if s.options.Password == "" {
		arguments = append(arguments, "--auth", "trust")
	} else {
		file := filepath.Join(s.options.Folder, "password")
		defer os.Remove(file)
		if err := errors.Join(os.WriteFile(file, []byte(s.options.Password), 0o600), s.own(file)); err != nil {
			return err
		}
		arguments = append(arguments, "--auth", "scram-sha-256", "--pwfile", file)
	}
	if out, err := s.Program(ctx, "initdb", arguments...).CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	return nil
}

// Run starts the server and waits until it answers.
func (s *Server) Run(ctx context.Context) error {
	// Appended to, so that what every start said can be read.
	log, err := os.OpenFile(s.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	arguments := []string{"-D", s.DataDirectory, "-p", strconv.Itoa(s.Port)}
	for _, parameter := range append([]string{
		"listen_addresses=127.0.0.1", "unix_socket_directories=", "autovacuum=off",
	}, s.options.Parameters...) {
		arguments = append(arguments, "-c", parameter)
	}
	// It outlives ctx: Stop ends it in order.
	process := s.Program(context.WithoutCancel(ctx), "postgres", arguments...)
	process.Stdout, process.Stderr = log, log
	if err := process.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	s.process, s.ended = process, ended
	go func() {
		// How it ended is in its log.
		_ = process.Wait()
		close(ended)
	}()
	ctx, cancel := context.WithTimeout(ctx, serverTimeout)
	defer cancel()
	for {
		err := s.Exec(ctx, s.DSN("postgres"), "select 1")
		if err == nil {
			return nil
		}
		select {
		case <-ended:
			return fmt.Errorf("PostgreSQL ended instead of starting:\n%s", s.Log())
		case <-ctx.Done():
			return fmt.Errorf("PostgreSQL did not answer: %w: %w\n%s", context.Cause(ctx), err, s.Log())
		case <-time.After(connectInterval):
		}
	}
}

// Stop sends the server a signal and waits until it has ended: SIGINT shuts it
// down, SIGQUIT ends it as a crash does. One that is not running is left alone.
func (s *Server) Stop(signal syscall.Signal) error {
	if s.process == nil {
		return nil
	}
	process, ended := s.process, s.ended
	s.process = nil
	if err := process.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-ended:
		return nil
	case <-time.After(serverTimeout):
		return errors.Join(fmt.Errorf("PostgreSQL did not stop within %s of %s\n%s", serverTimeout, signal, s.Log()), process.Process.Kill())
	}
}

// Remove stops the server and removes its folder.
func (s *Server) Remove() error {
	return errors.Join(s.Stop(syscall.SIGINT), os.RemoveAll(s.options.Folder))
}

func (s *Server) logFile() string { return filepath.Join(s.options.Folder, "log") }

// Log is everything that the server has logged, or why that cannot be read.
func (s *Server) Log() string {
	content, err := os.ReadFile(s.logFile())
	if err != nil {
		return err.Error()
	}
	return string(content)
}

// DSN is how the superuser reaches a database of the server, without the password.
func (s *Server) DSN(database string) string {
	dsn := url.URL{
		Scheme: "postgres", User: url.User(s.options.Superuser), Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port)),
		Path: database, RawQuery: "sslmode=disable",
	}
	return dsn.String()
}

// Exec runs statements on a connection of their own, each as a transaction.
func (s *Server) Exec(ctx context.Context, dsn string, statements ...string) error {
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		return err
	}
	config.Password = s.options.Password
	return Execute(ctx, config, statements...)
}

// Execute runs statements on a connection of their own, each as a transaction.
func Execute(ctx context.Context, config *pgx.ConnConfig, statements ...string) error {
	connection, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	for _, statement := range statements {
		if _, err := connection.Exec(ctx, statement); err != nil {
			return errors.Join(fmt.Errorf("%s: %w", statement, err), connection.Close(ctx))
		}
	}
	return connection.Close(ctx)
}
