package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"stateful-postgres/internal/faults"
	localpostgres "stateful-postgres/internal/postgres"
	"stateful-postgres/internal/site"
)

const (
	// mostMembers are the servers that faults strike, and the most whose commits are
	// counted.
	mostMembers = 3
	// commitTime is how long commits are counted.
	commitTime = 5 * time.Second
)

// interruptedWrites are the faults whose pauses are measured, and how long they may
// be.
var interruptedWrites = []struct {
	fault  string
	target time.Duration
}{
	{"switchover", 0}, {"leader-pod-delete", 3 * time.Second}, {"leader-process-kill", 6 * time.Second}, {"leader-patroni-kill", 0},
	{"leader-drain", 0}, {"leader-node-kill", 20 * time.Second}, {"leader-partition", 20 * time.Second},
}

// members makes a stack with highAvailability and so many servers.
func (b *bench) members(ctx context.Context, replicas int) (*server, error) {
	s, err := b.newServer(ctx, b.Workspace)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(s.Set(ctx, "highAvailability", "true").Err(), s.Set(ctx, "separateNodes", "true").Err(), s.Up(ctx).Err()); err != nil {
		return nil, err
	}
	return s, s.grow(ctx, replicas)
}

func (s *server) grow(ctx context.Context, replicas int) error {
	return errors.Join(s.Set(ctx, "replicas", strconv.Itoa(replicas)).Err(), s.Up(ctx).Err())
}

// measureFaults measures how long no write is acknowledged when a fault strikes
// several servers, and requires that none is lost.
func measureFaults(ctx context.Context, b *bench) (findings, error) {
	s, err := b.members(ctx, mostMembers)
	if err != nil {
		return findings{}, err
	}
	site, err := site.Open(ctx, s.Stack, mostMembers)
	if err != nil {
		return findings{}, err
	}
	defer site.Writer.Halt()
	images, err := s.twoImages(ctx, site)
	if err != nil {
		return findings{}, err
	}
	pauses := map[string]times{}
	known := map[string]faults.Fault{"image": {
		Name: "image", Does: "another image by `pulumi up`, one server after the other",
		Strike: func(ctx context.Context, _ *faults.Servers) (*faults.Struck, error) {
			images[0], images[1] = images[1], images[0]
			return &faults.Struck{}, errors.Join(s.Set(ctx, "image", images[0]).Err(), s.Up(ctx).Err())
		},
	}}
	for _, fault := range faults.All() {
		known[fault.Name] = fault
	}
	measured := append(interruptedWrites[:len(interruptedWrites):len(interruptedWrites)], struct {
		fault  string
		target time.Duration
	}{fault: "image"})
	for run := range b.runs {
		for _, one := range measured {
			pause, err := site.Meet(ctx, known[one.fault])
			if err != nil {
				return findings{}, fmt.Errorf("%s: %w", one.fault, err)
			}
			b.say("%s: %d of %d: %.1f s", one.fault, run+1, b.runs, pause.Seconds())
			pauses[one.fault] = append(pauses[one.fault], pause)
		}
	}
	t := table{
		caption: "Time without an acknowledged write",
		columns: []string{"what happens", "times", "median", "p95", "most", "target for each", "met"},
	}
	seconds := func(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }
	for _, one := range measured {
		median, p95, most := faults.Summary(pauses[one.fault])
		target, met := "-", "-"
		if one.target != 0 {
			target, met = fmt.Sprintf("at most %g s", one.target.Seconds()), yesOrNo(most <= one.target)
		}
		t.lines = append(t.lines, []string{
			known[one.fault].Does, strconv.Itoa(len(pauses[one.fault])), seconds(median), seconds(p95), seconds(most), target, met,
		})
	}
	_, of, err := site.Lost(ctx)
	if err != nil {
		return findings{}, err
	}
	return findings{tables: []table{t}, notes: []string{
		fmt.Sprintf("Three servers, each on a node of its own. One client writes through the Service, on nodes that are there, one row a transaction, and connects anew after an error; what counts is its longest pause. After each fault psql counted all acknowledged rows: %s in all, none lost.", grouped(int64(of))),
		"A node that loses power: first its link is gone, then every process on it. The one that is cut off goes on, with a client on the primary itself, whose acknowledged rows count, too. Patroni gives up a primary that it does not hear from after 20 s, its least.",
	}}, s.Remove(ctx)
}

// twoImages are the stack's own image by its name and by its digest.
func (s *server) twoImages(ctx context.Context, site *site.Site) ([2]string, error) {
	primary, err := site.Primary(ctx)
	if err != nil {
		return [2]string{}, err
	}
	named := s.Kubectl(ctx, "get", "pod", primary, "--output=jsonpath={.spec.containers[0].image}")
	digest := s.Kubectl(ctx, "get", "pod", primary, "--output=jsonpath={.status.containerStatuses[0].imageID}")
	return [2]string{strings.TrimSpace(named.Stdout), strings.TrimSpace(digest.Stdout)}, errors.Join(named.Err(), digest.Err())
}

// measureCommits counts commits a second with one to three servers and some
// writers, of this program and of pgbench on the same way, in turns.
func measureCommits(ctx context.Context, b *bench) (_ findings, err error) {
	binaries, err := localpostgres.FindBinaries()
	if err != nil {
		return findings{}, err
	}
	plain, err := b.newRunningServer(ctx, b.Workspace)
	if err != nil {
		return findings{}, err
	}
	s, err := b.members(ctx, 1)
	if err != nil {
		return findings{}, err
	}
	t := table{
		caption: "Commits a second, each of one row",
		columns: []string{"replicas", "writers", "commits/s", "pgbench on the same way", "ratio", "pgbench on the plain server", "ratio to that"},
	}
	for replicas := 1; replicas <= mostMembers; replicas++ {
		if err := s.grow(ctx, replicas); err != nil {
			return findings{}, err
		}
		site, err := site.Open(ctx, s.Stack, replicas)
		if err != nil {
			return findings{}, err
		}
		site.Writer.Halt()
		if err := site.UntilSettled(ctx); err != nil {
			return findings{}, err
		}
		for _, writers := range []int{1, 4, 16} {
			var ours, theirs, alone rates
			for range longRuns {
				b.say("commits: %d replicas, %d writers", replicas, writers)
				for _, one := range []struct {
					to    *rates
					count func(context.Context) (float64, error)
				}{
					{&ours, func(ctx context.Context) (float64, error) { return s.commits(ctx, writers) }},
					{&theirs, func(ctx context.Context) (float64, error) { return s.pgbench(ctx, binaries, writers) }},
					{&alone, func(ctx context.Context) (float64, error) { return plain.pgbench(ctx, binaries, writers) }},
				} {
					rate, err := one.count(ctx)
					if err != nil {
						return findings{}, err
					}
					*one.to = append(*one.to, rate)
				}
			}
			t.lines = append(t.lines, []string{
				strconv.Itoa(replicas), strconv.Itoa(writers), ours.String(), theirs.String(), fmt.Sprintf("%.2f", ours.median()/theirs.median()),
				alone.String(), fmt.Sprintf("%.2f", theirs.median()/alone.median()),
			})
		}
	}
	return findings{tables: []table{t}, notes: []string{
		fmt.Sprintf("Commits are counted for %s, %d times in turns; medians. pgbench sends the same statement to the same node port. The plain server is a stack without `highAvailability`.", commitTime, longRuns),
		"From 2 replicas on every commit waits until another server has it on its disk. All servers, the clients and the control plane share the machine's cores and its one disk.",
	}}, errors.Join(s.Remove(ctx), plain.Remove(ctx))
}

// rates are how often something happened in a second.
type rates []float64

func (r rates) median() float64 {
	var t times
	for _, rate := range r {
		t = append(t, time.Duration(rate*float64(time.Second)))
	}
	return t.median().Seconds()
}

func (r rates) String() string { return grouped(int64(r.median())) }

const commitStatement = "insert into commits values (1)"

// commitTable makes the table that commits are counted with, and returns the way to
// it. Over TCP through several nodes' rules, a first connection may take longer.
func (s *server) commitTable(ctx context.Context) (*pgx.ConnConfig, error) {
	config, err := s.connection()
	if err != nil {
		return nil, err
	}
	config.ConnectTimeout = answerTimeout
	return config, localpostgres.Execute(ctx, config, "create table if not exists commits (id bigint)")
}

// commits is how many transactions of some clients of this program are acknowledged
// in a second.
func (s *server) commits(ctx context.Context, writers int) (float64, error) {
	config, err := s.commitTable(ctx)
	if err != nil {
		return 0, err
	}
	var connections []*pgx.Conn
	defer func() {
		for _, connection := range connections {
			_ = connection.Close(context.WithoutCancel(ctx))
		}
	}()
	for range writers {
		connection, err := pgx.ConnectConfig(ctx, config)
		if err != nil {
			return 0, err
		}
		connections = append(connections, connection)
	}
	var count atomic.Int64
	var group sync.WaitGroup
	problems := make([]error, writers)
	start := time.Now()
	for i, connection := range connections {
		group.Go(func() {
			for time.Since(start) < commitTime && problems[i] == nil {
				_, problems[i] = connection.Exec(ctx, commitStatement)
				count.Add(1)
			}
		})
	}
	group.Wait()
	return float64(count.Load()) / time.Since(start).Seconds(), errors.Join(problems...)
}

// pgbench is the same by pgbench.
func (s *server) pgbench(ctx context.Context, binaries string, writers int) (float64, error) {
	if _, err := s.commitTable(ctx); err != nil {
		return 0, err
	}
	result := s.Run(ctx, "sh", "-c", `echo "$1" >"$2" && PGPASSWORD=$3 exec "$4" --no-vacuum --protocol=extended --file="$2" \
		--client="$5" --jobs="$5" --time="$6" --host="$7" --port="$8" --username=codewizard codewizard`,
		"pgbench", commitStatement+";", filepath.Join(s.Folder, "commits.sql"), s.password, filepath.Join(binaries, "pgbench"),
		strconv.Itoa(writers), strconv.Itoa(int(commitTime.Seconds())), s.host, s.nodePort)
	if err := result.Err(); err != nil {
		return 0, err
	}
	return tps(result.Stdout)
}

// tps is what pgbench says of its rate.
func tps(said string) (float64, error) {
	for line := range strings.Lines(said) {
		// tps = 1234.5 (without initial connection time)
		if rest, found := strings.CutPrefix(line, "tps = "); found {
			number, _, _ := strings.Cut(rest, " ")
			return strconv.ParseFloat(number, 64)
		}
	}
	return 0, fmt.Errorf("pgbench says nothing of its rate: %s", said)
}
