package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	localpostgres "stateful-postgres/internal/postgres"
)

// Targets of this section.
const (
	// rateTarget is of the commits a second of verify to those of pgbench.
	rateTarget = 0.95
	// loadPeakTarget is of verify at full speed, however long.
	loadPeakTarget = 128 << 20

	rateTime = 10 * time.Second
	// readBackTarget is of reading everything back at the end to one pass of psql.
	readBackTarget = 1.0
	readBackRows   = 5_000_000

	// shortTime and longTime are what memory is compared after.
	shortTime, longTime = time.Minute, 10 * time.Minute
)

// rateWriters are how many write at the same time.
var rateWriters = []int{1, 4, 8, 16}

const (
	rateDatabase = "rates"
	// rateTable is like the table of verify.
	rateTable = `create table if not exists commits (run bigint not null, seq bigint not null, payload text collate "C" not null, primary key (run, seq))`
	// rateScript is one row in an explicit transaction, as verify commits it: each client the next number.
	rateScript = `\set seq :seq + 1
begin;
insert into commits (run, seq, payload) values (:run + :client_id, :seq, '0123456789abcdef0123456789abcdef');
commit;
`
)

// load is a server of the run's own that verify writes to at full speed.
type load struct {
	*bench
	*postgres
	// plainRuns are those of pgbench until now.
	plainRuns int
}

func (b *bench) startLoad(ctx context.Context) (*load, error) {
	b.say("a PostgreSQL of this run's own")
	server, err := startPostgres(ctx, filepath.Join(b.Folder, "load"))
	if err != nil {
		return nil, err
	}
	l := &load{bench: b, postgres: server}
	if err := errors.Join(l.exec(ctx, "postgres", "create database "+rateDatabase), l.exec(ctx, rateDatabase, rateTable)); err != nil {
		return nil, errors.Join(err, server.Remove())
	}
	return l, nil
}

// durability is verify writing for some time: how many commits it gets acknowledged in a second, and the
// most memory that it has, in bytes.
func (l *load) durability(ctx context.Context, writers int, long time.Duration) (rate float64, peak int64, err error) {
	// Nothing strikes, so that it can prove nothing: exit code 2.
	done, err := l.client(ctx, 2, l.Verify, "durability", "--fault=none", "--output=json", "--quiet", "--dsn", l.DSN(rateDatabase),
		"--ledger", filepath.Join(l.Folder, "load.ledger"), "--new-ledger", "--writers", strconv.Itoa(writers), "--duration", long.String())
	if err != nil {
		return 0, 0, err
	}
	var said struct {
		Rows       struct{ Required, Intact int64 }
		Durability struct {
			Writes           struct{ Attempted, Acknowledged int64 }
			CommitsPerSecond float64 `json:"commits_per_second"`
		}
	}
	if err := json.Unmarshal([]byte(done.stdout), &said); err != nil {
		return 0, 0, fmt.Errorf("verify durability: %w", err)
	}
	if w := said.Durability.Writes; w.Acknowledged == 0 || w.Acknowledged != w.Attempted || said.Rows.Intact != said.Rows.Required {
		return 0, 0, fmt.Errorf("verify durability did not get every commit acknowledged, or did not find it: %s", done.stdout)
	}
	return said.Durability.CommitsPerSecond, done.peak, nil
}

// plain is pgbench doing the same.
func (l *load) plain(ctx context.Context, binaries string, writers int) (float64, error) {
	script := filepath.Join(l.Folder, "rates.sql")
	if err := os.WriteFile(script, []byte(rateScript), 0o600); err != nil {
		return 0, err
	}
	l.plainRuns++
	done, err := l.client(ctx, 0, filepath.Join(binaries, "pgbench"), "--no-vacuum", "--define=seq=0", fmt.Sprintf("--define=run=%d", 1000*l.plainRuns), "--file="+script, "--client="+strconv.Itoa(writers),
		"--jobs="+strconv.Itoa(writers), "--time="+strconv.Itoa(int(rateTime.Seconds())), l.DSN(rateDatabase))
	if err != nil {
		return 0, err
	}
	return tps(done.stdout)
}

// measureRates compares how fast verify and pgbench commit.
func measureRates(ctx context.Context, b *bench) (_ findings, err error) {
	binaries, err := localpostgres.FindBinaries()
	if err != nil {
		return findings{}, err
	}
	l, err := b.startLoad(ctx)
	if err != nil {
		return findings{}, err
	}
	defer func() { err = errors.Join(err, l.Remove()) }()
	t := table{
		caption: "Commits a second of `verify durability`",
		columns: []string{"writers", "verify", "pgbench", "ratio", "target", "met"},
	}
	for _, writers := range rateWriters {
		var ours, theirs rates
		for run := range longRuns {
			b.say("rates: %d writers: %d of %d", writers, run+1, longRuns)
			rate, _, err := l.durability(ctx, writers, rateTime)
			if err != nil {
				return findings{}, err
			}
			plain, err := l.plain(ctx, binaries, writers)
			if err != nil {
				return findings{}, err
			}
			ours, theirs = append(ours, rate), append(theirs, plain)
		}
		ratio := ours.median() / theirs.median()
		t.lines = append(t.lines, []string{
			strconv.Itoa(writers), ours.String(), theirs.String(), fmt.Sprintf("%.2f", ratio),
			fmt.Sprintf("at least %g", rateTarget), yesOrNo(ratio >= rateTarget),
		})
	}
	return findings{tables: []table{t}, notes: []string{
		fmt.Sprintf("Each for %s, %d times in turns; medians. On a PostgreSQL of the run's own with its default settings, through loopback. Both commit one row of the same size in an explicit transaction, into tables that are alike; verify enters each outcome in its ledger, on the same disk, and reads beside it.", rateTime, longRuns),
	}}, nil
}

// measureLong compares the memory of a short and a long run at full speed.
func measureLong(ctx context.Context, b *bench) (_ findings, err error) {
	l, err := b.startLoad(ctx)
	if err != nil {
		return findings{}, err
	}
	defer func() { err = errors.Join(err, l.Remove()) }()
	const writers = 16
	var peaks []int64
	for _, long := range []time.Duration{shortTime, longTime} {
		b.say("long: %d writers for %s", writers, long)
		_, peak, err := l.durability(ctx, writers, long)
		if err != nil {
			return findings{}, err
		}
		peaks = append(peaks, peak)
	}
	ratio := float64(peaks[1]) / float64(peaks[0])
	return findings{rows: []row{{
		what: fmt.Sprintf("memory of `verify durability`, %d writers for %s", writers, longTime),
		ours: fmt.Sprintf("%.0f MiB", float64(peaks[1])/(1<<20)), plain: fmt.Sprintf("for %s: %.0f MiB", shortTime, float64(peaks[0])/(1<<20)),
		ratio:  fmt.Sprintf("%.2f", ratio),
		target: fmt.Sprintf("under %d MiB, flat: at most %.1f times", loadPeakTarget>>20, flatTarget),
		met:    yesOrNo(peaks[1] < loadPeakTarget && ratio <= flatTarget),
	}}}, nil
}

// measureReadBack compares what verify durability does at the end, which is to read every row back and to
// write nothing, with one pass of psql.
func measureReadBack(ctx context.Context, b *bench) (_ findings, err error) {
	t, err := b.startTables(ctx, readBackRows)
	if err != nil {
		return findings{}, err
	}
	defer func() { err = errors.Join(err, t.Remove()) }()
	const database = "readback"
	t.say("readback: %s rows", grouped(readBackRows))
	if _, err := t.fill(ctx, database, readBackRows); err != nil {
		return findings{}, err
	}
	readBack := func(ctx context.Context) (time.Duration, error) {
		return t.check(ctx, database, readBackRows, 0, "--rows=0")
	}
	pass := t.psql(database, sumStatement)
	if err := t.warmUp(ctx, database, readBack, pass); err != nil {
		return findings{}, err
	}
	for range b.runs {
		if err := errors.Join(t.times.add(ctx, "psql", pass), t.times.add(ctx, "verify", readBack)); err != nil {
			return findings{}, err
		}
	}
	return findings{
		rows:  []row{beside("final read-back of "+grouped(readBackRows)+" rows", t.times["verify"], "one pass of psql", t.times["psql"], readBackTarget)},
		notes: []string{"The read-back is `verify check --rows=0`, which reads as `verify durability` does at its end. One pass of psql: `" + sumStatement + "`. In turns, after one of each."},
	}, nil
}
