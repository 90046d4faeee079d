package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	localpostgres "stateful-postgres/internal/postgres"
)

const (
	// postgresTimeout is for the server to start, and to stop.
	postgresTimeout = time.Minute
	// commandTimeout is for one command against it.
	commandTimeout = 15 * time.Minute
	postgresUser   = "bench"
)

// postgres is a server of this run's own, without Kubernetes around it: what is
// compared on millions of rows is verify and psql, not two networks.
type postgres struct {
	folder   string
	binaries string
	account  *syscall.Credential
	port     int
	password string
	process  *exec.Cmd
	// ended is closed when the process has ended.
	ended chan struct{}
}

// startPostgres starts a server with its data in a folder of its own, which
// remove removes.
func startPostgres(ctx context.Context, folder string) (_ *postgres, err error) {
	p := &postgres{folder: folder, password: rand.Text()}
	if p.binaries, err = localpostgres.FindBinaries(); err != nil {
		return nil, fmt.Errorf("%w, or leave this out with -sections program", err)
	}
	if err := os.Mkdir(folder, 0o700); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.remove())
		}
	}()
	if err := p.useUnprivilegedAccount(); err != nil {
		return nil, err
	}
	if err := p.initialise(ctx); err != nil {
		return nil, err
	}
	return p, p.run(ctx)
}

// useUnprivilegedAccount gives the folder to the account that the server runs as.
func (p *postgres) useUnprivilegedAccount() (err error) {
	if p.account, err = localpostgres.UnprivilegedAccount(); err != nil || p.account == nil {
		return err
	}
	// The account must get through to its folder, and sees no more: what else is in
	// these two is closed itself.
	for _, above := range []string{filepath.Dir(p.folder), filepath.Dir(filepath.Dir(p.folder))} {
		if err := os.Chmod(above, 0o711); err != nil {
			return err
		}
	}
	return os.Chown(p.folder, int(p.account.Uid), int(p.account.Gid))
}

// command is a program of the server, as its account. A server must not outlive
// a benchmark that was killed.
func (p *postgres) command(ctx context.Context, program string, arguments ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, filepath.Join(p.binaries, program), arguments...)
	command.Dir = p.folder
	command.Env = append(os.Environ(), "LC_ALL=C", "TZ=UTC")
	command.SysProcAttr = &syscall.SysProcAttr{Credential: p.account, Setpgid: true, Pdeathsig: syscall.SIGQUIT}
	return command
}

func (p *postgres) data() string { return filepath.Join(p.folder, "data") }

func (p *postgres) initialise(ctx context.Context) error {
	passwordFile := filepath.Join(p.folder, "password")
	if err := os.WriteFile(passwordFile, []byte(p.password), 0o600); err != nil {
		return err
	}
	if p.account != nil {
		if err := os.Chown(passwordFile, int(p.account.Uid), int(p.account.Gid)); err != nil {
			return err
		}
	}
	output, err := p.command(ctx, "initdb", "--pgdata", p.data(), "--username", postgresUser, "--pwfile", passwordFile,
		"--auth", "scram-sha-256", "--encoding", "UTF8", "--data-checksums", "--no-instructions").CombinedOutput()
	if err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, output)
	}
	return os.Remove(passwordFile)
}

func (p *postgres) run(ctx context.Context) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	p.port = listener.Addr().(*net.TCPAddr).Port
	if err := listener.Close(); err != nil {
		return err
	}
	var log bytes.Buffer
	// The defaults of PostgreSQL, but for autovacuum: it would work beside one of
	// two things that are compared. It lives past ctx, so as to be stopped in order.
	p.process = p.command(context.WithoutCancel(ctx), "postgres", "-D", p.data(), "-p", strconv.Itoa(p.port),
		"-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "autovacuum=off")
	p.process.Stdout, p.process.Stderr = &log, &log
	if err := p.process.Start(); err != nil {
		p.process = nil
		return err
	}
	p.ended = make(chan struct{})
	go func() {
		// How it ended is in its log.
		_ = p.process.Wait()
		close(p.ended)
	}()
	ctx, cancel := context.WithTimeout(ctx, postgresTimeout)
	defer cancel()
	for {
		err := p.exec(ctx, "postgres", "select 1")
		if err == nil {
			return nil
		}
		select {
		case <-p.ended:
			return fmt.Errorf("PostgreSQL ended instead of starting:\n%s", log.String())
		case <-ctx.Done():
			return fmt.Errorf("PostgreSQL: no answer within %s: %w", postgresTimeout, err)
		case <-time.After(connectInterval):
		}
	}
}

// remove stops the server and removes its data.
func (p *postgres) remove() error {
	if p.process != nil {
		// After a crash there is nobody to tell.
		_ = p.process.Process.Signal(syscall.SIGINT)
		select {
		case <-p.ended:
		case <-time.After(postgresTimeout):
			return errors.Join(fmt.Errorf("PostgreSQL did not stop within %s", postgresTimeout),
				p.process.Process.Kill(), os.RemoveAll(p.folder))
		}
	}
	return os.RemoveAll(p.folder)
}

// dsn leads to a database; the password is in the environment.
func (p *postgres) dsn(database string) string {
	dsn := url.URL{
		Scheme: "postgres", User: url.User(postgresUser), Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(p.port)),
		Path: database, RawQuery: "sslmode=disable",
	}
	return dsn.String()
}

// exec runs statements, each a transaction of its own.
func (p *postgres) exec(ctx context.Context, database string, statements ...string) error {
	config, err := pgx.ParseConfig(p.dsn(database))
	if err != nil {
		return err
	}
	config.Password = p.password
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

// outcome is what a client did.
type outcome struct {
	stdout string
	taken  time.Duration
	// peak is the most memory that it had, in bytes.
	peak int64
}

// client runs a client of the server to its end, and fails for an exit code that
// is not expected.
//
// A process begins with the peak of the one that starts it, so peak is never
// less than that of this program, which holds no rows.
func (p *postgres) client(ctx context.Context, expected int, arguments ...string) (outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	command := exec.CommandContext(ctx, arguments[0], arguments[1:]...)
	command.Env = append(os.Environ(), "PGPASSWORD="+p.password, "NO_COLOR=1")
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGINT) }
	command.WaitDelay = 30 * time.Second
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	start := time.Now()
	err := command.Run()
	taken := time.Since(start)
	if command.ProcessState == nil {
		return outcome{}, err
	}
	if exitCode := command.ProcessState.ExitCode(); exitCode != expected || ctx.Err() != nil {
		problem := fmt.Errorf("%s: exit code %d, expected %d\n%s%s", strings.Join(arguments, " "), exitCode, expected, stdout.String(), stderr.String())
		return outcome{}, errors.Join(context.Cause(ctx), problem)
	}
	usage := command.ProcessState.SysUsage().(*syscall.Rusage)
	return outcome{stdout: stdout.String(), taken: taken, peak: usage.Maxrss << 10}, nil
}

// psql is a client.
func (p *postgres) psql(database, statement string) step {
	return func(ctx context.Context) (time.Duration, error) {
		done, err := p.client(ctx, 0, "psql", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1",
			"--dbname", p.dsn(database), "--command", statement)
		return done.taken, err
	}
}
