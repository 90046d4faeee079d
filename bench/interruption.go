package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	localpostgres "stateful-postgres/internal/postgres"
	"stateful-postgres/internal/writer"
)

const (
	// deletedTarget is how long a deleted pod may keep writes from being
	// acknowledged.
	deletedTarget = 2 * time.Second

	// writePace is from one transaction to the next, and between attempts to
	// connect.
	writePace = 10 * time.Millisecond
	// writeTimeout is for one transaction.
	writeTimeout = time.Second
	// pauseLength is how long no write is acknowledged where that counts as a
	// pause. What is shorter, a busy machine does as well.
	pauseLength = 100 * time.Millisecond
	// steadyWrites are acknowledged one after the other before an interruption
	// counts as over.
	steadyWrites = 50
	// interruptionTimeout is for one interruption to be over.
	interruptionTimeout = 5 * time.Minute
	// interruptionRows are in the database, besides those that are written.
	interruptionRows = 1_000_000
)

// interruptionData makes the same data wherever it is run.
var interruptionData = []string{
	"create table bulk (id bigint primary key, payload text)",
	"insert into bulk select i, md5(i::text) from generate_series(1, " + strconv.Itoa(interruptionRows) + ") i",
	"create table writes (id bigint generated always as identity primary key, at timestamptz default now())",
	"vacuum (analyze)",
	"checkpoint",
}

const writeStatement = "insert into writes default values"

// killPostmaster is run in the pod's container. Process 1 of a container cannot
// be killed from inside it; SIGQUIT lets it end at once as well, without a
// checkpoint.
const killPostmaster = `read -r postmaster <"$PGDATA/postmaster.pid"
if [ "$postmaster" = 1 ]; then kill -QUIT 1; else kill -KILL "$postmaster"; fi`

// restartParameter is a parameter that only a restart changes; its values take
// turns.
const restartParameter = "max_connections"

// interruption is something that stops the server for a while.
type interruption struct {
	name string
	// beside is what the host's server goes through instead, and besideName how it
	// is called.
	beside     func(*hostServer, context.Context) error
	besideName string
	// event interrupts the stack's server. It returns when the command has ended.
	event  func(ctx context.Context, s *server, run int) error
	target time.Duration
}

var interruptions = []interruption{
	{
		name: "a deleted pod", beside: (*hostServer).restart, besideName: "`pg_ctl restart`", target: deletedTarget,
		event: func(ctx context.Context, s *server, _ int) error {
			return s.Kubectl(ctx, "delete", "pod", podName, "--wait=false").Err()
		},
	},
	{
		name: "a killed postmaster", beside: (*hostServer).crash, besideName: "SIGKILL and `pg_ctl start`",
		event: func(ctx context.Context, s *server, _ int) error {
			return s.Kubectl(ctx, "exec", podName, "--", "sh", "-c", killPostmaster).Err()
		},
	},
	{
		name: "1 to 0 to 1", beside: (*hostServer).restart, besideName: "`pg_ctl restart`",
		event: func(ctx context.Context, s *server, _ int) error {
			for _, step := range []step{s.scale(0), s.untilGone(), s.scale(1)} {
				if _, err := step(ctx); err != nil {
					return err
				}
			}
			return nil
		},
	},
	{
		name: "a changed restart-parameter", beside: (*hostServer).restart, besideName: "`pg_ctl restart`",
		event: func(ctx context.Context, s *server, run int) error {
			if err := s.SetPath(ctx, "parameters."+restartParameter, strconv.Itoa(101+run%2)).Err(); err != nil {
				return err
			}
			return s.Up(ctx, "--skip-preview").Err()
		},
	},
}

// measureInterruptions measures how long no write is acknowledged when the
// server goes away and comes back, beside a server on this machine with the same
// data.
func measureInterruptions(ctx context.Context, b *bench) (_ findings, err error) {
	b.say("interruptions: a stack and a server of this machine with the same data")
	s, err := b.newRunningServer(ctx, b.Workspace)
	if err != nil {
		return findings{}, err
	}
	host, err := startHostServer(ctx, filepath.Join(b.Folder, "host"))
	if err != nil {
		return findings{}, err
	}
	defer func() { err = errors.Join(err, host.remove()) }()
	here, err := s.connection()
	if err != nil {
		return findings{}, err
	}
	there, err := host.connection("postgres")
	if err != nil {
		return findings{}, err
	}
	for _, config := range []*pgx.ConnConfig{here, there} {
		if err := localpostgres.Execute(ctx, config, interruptionData...); err != nil {
			return findings{}, err
		}
	}
	m := series{}
	for run := range b.runs {
		for _, i := range interruptions {
			b.say("%s: %d of %d", i.name, run+1, b.runs)
			err := errors.Join(
				// The pod becomes quiet meanwhile.
				m.add(ctx, "beside "+i.name, outage(there, func(ctx context.Context) error { return i.beside(host, ctx) })),
				s.untilQuiet(ctx),
				m.add(ctx, i.name, outage(here, func(ctx context.Context) error { return i.event(ctx, s, run) })),
			)
			if err != nil {
				return findings{}, err
			}
		}
	}
	found := findings{notes: []string{
		fmt.Sprintf("No acknowledged write: a writer sends %d transactions a second, each one row, and connects anew after an error; what counts are its pauses of more than %s, together. The server has %s rows besides.",
			time.Second/writePace, pauseLength, grouped(interruptionRows)),
		"A deleted pod: `kubectl delete pod`. A killed postmaster: SIGKILL through `kubectl exec`, and SIGQUIT where it is process 1 of its container, which nobody in the container can kill; every time the first crash of a pod, after which the kubelet does not wait. 1 to 0 to 1: `kubectl scale`, `kubectl wait`, `kubectl scale`. " +
			"A changed parameter: `" + restartParameter + "`, by `pulumi up --skip-preview`.",
		"Beside each: a server of the same programs on this machine, with the same data and without Kubernetes, for the same writer.",
	}}
	for _, i := range interruptions {
		r := beside("no acknowledged write: "+i.name, m[i.name], i.besideName, m["beside "+i.name], 0)
		if i.target != 0 {
			limit := within("", m[i.name], i.target)
			r.target, r.met = limit.target, limit.met
		}
		found.rows = append(found.rows, r)
	}
	return found, s.Remove(ctx)
}

// outage is a step whose time is that without acknowledged writes.
func outage(config *pgx.ConnConfig, event func(context.Context) error) step {
	return func(ctx context.Context) (time.Duration, error) {
		ctx, cancel := context.WithTimeout(ctx, interruptionTimeout)
		defer cancel()
		w := writer.Start(ctx, writer.Options{
			Connect: func(ctx context.Context) (*pgx.Conn, error) { return pgx.ConnectConfig(ctx, config) },
			Write: func(ctx context.Context, connection *pgx.Conn, _ int64) error {
				_, err := connection.Exec(ctx, writeStatement)
				return err
			},
			Pace: writePace, Timeout: writeTimeout,
		})
		defer w.Halt()
		if err := w.UntilSteady(ctx, 0, steadyWrites); err != nil {
			return 0, fmt.Errorf("before the interruption: %w", err)
		}
		broken := w.Broken()
		if err := event(ctx); err != nil {
			return 0, err
		}
		if err := w.UntilSteady(ctx, broken+1, steadyWrites); err != nil {
			return 0, err
		}
		w.Halt()
		return pauses(w.Times()), nil
	}
}

// pauses are the times between acknowledged writes that are long enough to
// count, together.
func pauses(acknowledged []time.Time) time.Duration {
	var sum time.Duration
	for i := 1; i < len(acknowledged); i++ {
		if between := acknowledged[i].Sub(acknowledged[i-1]); between > pauseLength {
			sum += between
		}
	}
	return sum
}
