package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// stopTimeout is for pg_ctl to stop a server.
const stopTimeout = time.Minute

// hostServer is a server of this machine that pg_ctl starts and stops.
type hostServer struct{ *postgres }

// startHostServer starts a server with its data in a folder of its own, which
// remove removes.
func startHostServer(ctx context.Context, folder string) (*hostServer, error) {
	p, err := startPostgres(ctx, folder)
	if err != nil {
		return nil, err
	}
	return &hostServer{p}, nil
}

// connection is how this program connects.
func (h *hostServer) connection(database string) (*pgx.ConnConfig, error) {
	config, err := pgx.ParseConfig(h.DSN(database))
	if err != nil {
		return nil, err
	}
	config.Password, config.ConnectTimeout = h.password, connectTimeout
	return config, nil
}

// pgCtl runs pg_ctl to its end. The server that it starts lives on.
func (h *hostServer) pgCtl(ctx context.Context, arguments ...string) error {
	all := append([]string{"--pgdata", h.DataDirectory, "--wait", "--log", filepath.Join(filepath.Dir(h.DataDirectory), "pg_ctl.log"), "--silent"}, arguments...)
	output, err := h.Program(ctx, "pg_ctl", all...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("pg_ctl %s: %w\n%s", strings.Join(arguments, " "), err, bytes.TrimSpace(output))
	}
	return nil
}

// restart is `pg_ctl restart`, with the options that the server has.
func (h *hostServer) restart(ctx context.Context) error {
	return h.pgCtl(ctx, "restart", "--mode=fast")
}

// crash kills the postmaster and starts it again.
func (h *hostServer) crash(ctx context.Context) error {
	options, err := os.ReadFile(filepath.Join(h.DataDirectory, "postmaster.opts"))
	if err != nil {
		return err
	}
	pid, err := h.postmaster()
	if err != nil {
		return err
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		return fmt.Errorf("postmaster, process %d: %w", pid, err)
	}
	// The first word is the program. Its other processes end when they see that the
	// postmaster is gone; until then a new one refuses to start.
	_, arguments, _ := strings.Cut(strings.TrimSpace(string(options)), " ")
	for {
		err := h.pgCtl(ctx, "start", "--options", arguments)
		if err == nil {
			return nil
		}
		if pauseErr := pause(ctx, connectInterval); pauseErr != nil {
			return errors.Join(err, pauseErr)
		}
	}
}

// postmaster is the server's first process.
func (h *hostServer) postmaster() (int, error) {
	text, err := os.ReadFile(filepath.Join(h.DataDirectory, "postmaster.pid"))
	if err != nil {
		return 0, err
	}
	first, _, _ := strings.Cut(string(text), "\n")
	return strconv.Atoi(first)
}

// remove stops the server and removes its data.
func (h *hostServer) remove() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	return errors.Join(h.pgCtl(ctx, "stop", "--mode=fast"), h.Remove())
}
