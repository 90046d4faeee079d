package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math/big"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"

	"stateful-postgres/internal/contract"
	"stateful-postgres/internal/stack"
)

const (
	// answerTimeout is for a server that was started to answer.
	answerTimeout = 2 * time.Minute
	// connectTimeout is for one attempt: packets to a Service that has no
	// endpoint yet may be dropped instead of refused.
	connectTimeout = 300 * time.Millisecond
	// connectInterval is between two attempts.
	connectInterval = 10 * time.Millisecond
)

// server is a stack and the way to its server, which is known before the server
// is: nothing has to be looked up while the clock runs.
type server struct {
	*stack.Stack
	core     corev1client.CoreV1Interface
	host     string
	nodePort string
	password string
}

// newServer makes a stack with a node port and a password of its own choice.
func (b *bench) newServer(ctx context.Context, workspace *stack.Workspace) (*server, error) {
	node := workspace.Run(ctx, "kubectl", "get", "nodes", `--output=jsonpath={.items[0].status.addresses[?(@.type=="InternalIP")].address}`)
	if err := node.Err(); err != nil {
		return nil, err
	}
	// A port that is taken makes the first update fail, which says so.
	port, err := rand.Int(rand.Reader, big.NewInt(32767-30000+1))
	if err != nil {
		return nil, err
	}
	s := &server{core: b.core, host: node.Stdout, nodePort: strconv.FormatInt(30000+port.Int64(), 10), password: rand.Text()}
	if s.Stack, err = workspace.NewStack(ctx, "program"); err != nil {
		return nil, err
	}
	return s, errors.Join(
		s.Set(ctx, "nodePort", s.nodePort).Err(),
		s.Set(ctx, "replicas", "1").Err(),
		s.SetSecret(ctx, "password", s.password).Err(),
	)
}

// newRunningServer makes a server that answers.
func (b *bench) newRunningServer(ctx context.Context, workspace *stack.Workspace) (*server, error) {
	s, err := b.newServer(ctx, workspace)
	if err != nil {
		return nil, err
	}
	if err := s.Up(ctx).Err(); err != nil {
		return nil, err
	}
	_, err = s.untilAnswer(ctx)
	return s, err
}

// sharedServer is the server that several parts measure with, one after the
// other. It has one replica, and each part leaves it so.
func (b *bench) sharedServer(ctx context.Context) (*server, error) {
	if b.shared == nil {
		b.say("a stack for several parts: first update")
		s, err := b.newRunningServer(ctx, b.Workspace)
		if err != nil {
			return nil, err
		}
		b.shared = s
	}
	return b.shared, nil
}

// address is what a client connects to.
func (s *server) address() string {
	return fmt.Sprintf("host=%s port=%s user=codewizard dbname=codewizard", s.host, s.nodePort)
}

// connection is how this program connects.
func (s *server) connection() (*pgx.ConnConfig, error) {
	config, err := pgx.ParseConfig(s.address() + " sslmode=disable")
	if err != nil {
		return nil, err
	}
	config.Password, config.ConnectTimeout = s.password, connectTimeout
	return config, nil
}

// untilAnswer is how long it takes from now until the server answers SQL.
func (s *server) untilAnswer(ctx context.Context) (time.Duration, error) {
	start := time.Now()
	config, err := s.connection()
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	for {
		err := ask(ctx, config)
		if err == nil {
			return time.Since(start), nil
		}
		select {
		case <-ctx.Done():
			return 0, fmt.Errorf("%s: no answer within %s: %w", s.address(), answerTimeout, err)
		case <-time.After(connectInterval):
		}
	}
}

func ask(ctx context.Context, config *pgx.ConnConfig) error {
	connection, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	_, err = connection.Exec(ctx, "select 1")
	return errors.Join(err, connection.Close(ctx))
}

// clockOffset is how far the server's clock is ahead of this machine's. Half of
// the time that the question takes is the most that it is wrong by.
func (s *server) clockOffset(ctx context.Context) (time.Duration, error) {
	config, err := s.connection()
	if err != nil {
		return 0, err
	}
	connection, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return 0, err
	}
	var there time.Time
	asked := time.Now()
	err = connection.QueryRow(ctx, "select clock_timestamp()").Scan(&there)
	middle := asked.Add(time.Since(asked) / 2)
	return there.Sub(middle), errors.Join(err, connection.Close(ctx))
}

// step is one thing that is timed, or part of it.
type step func(context.Context) (time.Duration, error)

// timed is a step of something that does not measure itself.
func timed(f func(context.Context) error) step {
	return func(ctx context.Context) (time.Duration, error) {
		start := time.Now()
		err := f(ctx)
		return time.Since(start), err
	}
}

// command times a command line.
func (s *server) command(arguments ...string) step {
	return func(ctx context.Context) (time.Duration, error) {
		result := s.Run(ctx, arguments...)
		return result.Duration, result.Err()
	}
}

// psql times psql, which gets the password in its environment.
func (s *server) psql(arguments ...string) step {
	return timed(func(ctx context.Context) error {
		command := s.Command(ctx, append([]string{"psql", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--dbname", s.address()}, arguments...)...)
		command.Env = append(command.Env, "PGPASSWORD="+s.password, "PGOPTIONS=-c client_min_messages=warning")
		if output, err := command.CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, output)
		}
		return nil
	})
}

// kubectl times kubectl in the stack's namespace.
func (s *server) kubectl(arguments ...string) step {
	return s.command(append([]string{"kubectl", "--namespace", s.Namespace}, arguments...)...)
}

// scale times `kubectl scale`.
func (s *server) scale(replicas int) step {
	return s.kubectl("scale", "statefulset/"+contract.StatefulSet, fmt.Sprintf("--replicas=%d", replicas))
}

// untilGone times `kubectl wait` for the pod to be deleted.
func (s *server) untilGone() step {
	return s.kubectl("wait", "--for=delete", "pod/"+podName, "--timeout=5m")
}

// series are the times of several things by their name.
type series map[string]times

// add measures steps one after the other as one time.
func (m series) add(ctx context.Context, name string, steps ...step) error {
	var sum time.Duration
	for _, step := range steps {
		taken, err := step(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		sum += taken
	}
	m[name] = append(m[name], sum)
	return nil
}
