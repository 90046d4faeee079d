package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	localpostgres "stateful-postgres/internal/postgres"
)

const (
	// commandTimeout is for one command against the server.
	commandTimeout = 15 * time.Minute
	postgresUser   = "bench"
)

// postgres is a server of this run's own, without Kubernetes around it: what is
// compared on millions of rows is verify and psql, not two networks.
type postgres struct {
	*localpostgres.Server
	password string
}

// startPostgres starts a server with its data in a folder of its own, which
// Remove removes. Its parameters are PostgreSQL's defaults.
func startPostgres(ctx context.Context, folder string) (*postgres, error) {
	account, err := localpostgres.UnprivilegedAccount()
	if err != nil {
		return nil, err
	}
	if account != nil {
		// The account must get through to its folder, and sees no more: what else is
		// in these two is closed itself.
		for _, above := range []string{filepath.Dir(folder), filepath.Dir(filepath.Dir(folder))} {
			if err := os.Chmod(above, 0o711); err != nil {
				return nil, err
			}
		}
	}
	password := rand.Text()
	server, err := localpostgres.Start(ctx, localpostgres.Options{Folder: folder, Superuser: postgresUser, Password: password})
	if err != nil {
		return nil, fmt.Errorf("%w; or leave this part out with -run", err)
	}
	return &postgres{Server: server, password: password}, nil
}

// exec runs statements, each a transaction of its own.
func (p *postgres) exec(ctx context.Context, database string, statements ...string) error {
	return p.Exec(ctx, p.DSN(database), statements...)
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
			"--dbname", p.DSN(database), "--command", statement)
		return done.taken, err
	}
}
