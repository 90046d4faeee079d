package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Targets of this section.
const (
	fillTarget  = 0.8
	checkTarget = 1.0
	// alteredTarget is of the check of an intact table: the check reads the table
	// again, in ever smaller parts, until it can name the row.
	alteredTarget = 4.0
	// peakTarget is of one process of verify; flat is what its peak may differ by
	// between a thousandth of the rows and all of them.
	peakTarget = 64 << 20
	flatTarget = 1.5
)

const (
	// leastRows leaves ten for the smallest table.
	leastRows = 10_000
	// A row takes this on disk, with its index, its write-ahead log and its part of
	// the smaller tables; the rest is what an empty server may come to.
	bytesPerRow  = 400
	bytesBesides = 3 << 30
)

// sumStatement reads every row of the table and hashes it once: no check of rows
// can do with less.
const sumStatement = "select count(*), sum(hashtextextended(payload, 0)) from verify.rows"

// peaks are the most memory that verify used, in bytes, by what it did.
type peaks map[string]int64

func (p peaks) add(name string, bytes int64) { p[name] = max(p[name], bytes) }

// tables measures verify on a server of the run's own.
type tables struct {
	*bench
	*postgres
	times series
	peaks peaks
}

// measureTables compares verify with psql on few and on many rows.
func measureTables(ctx context.Context, b *bench) (_ findings, err error) {
	t, err := b.startTables(ctx, b.rows)
	if err != nil {
		return findings{}, err
	}
	defer func() { err = errors.Join(err, t.Remove()) }()
	if err := t.measure(ctx); err != nil {
		return findings{}, err
	}
	return t.findings(), nil
}

func lookForPsql() error {
	if _, err := exec.LookPath("psql"); err != nil {
		return errors.New("psql is not on PATH, and verify is compared with it: install it, on Debian with `apt-get install postgresql-client`, or leave this part out with -run")
	}
	return nil
}

// startTables starts a server with room for some rows.
func (b *bench) startTables(ctx context.Context, rows int64) (*tables, error) {
	if err := lookForPsql(); err != nil {
		return nil, err
	}
	if err := checkFreeDisk(b.Folder, rows*bytesPerRow+bytesBesides); err != nil {
		return nil, err
	}
	b.say("a PostgreSQL of this run's own")
	server, err := startPostgres(ctx, filepath.Join(b.Folder, "postgres"))
	if err != nil {
		return nil, err
	}
	return &tables{bench: b, postgres: server, times: series{}, peaks: peaks{}}, nil
}

func (t *tables) measure(ctx context.Context) error {
	small, medium, large := t.rows/1000, t.rows/10, t.rows
	if _, err := t.fill(ctx, "small", small); err != nil {
		return err
	}
	if err := t.compareFill(ctx, medium); err != nil {
		return err
	}
	t.say("fill: %s rows", grouped(large))
	if _, err := t.fill(ctx, "large", large); err != nil {
		return err
	}
	for _, table := range []struct {
		database string
		rows     int64
	}{{"small", small}, {"medium", medium}, {"large", large}} {
		if err := t.compareChecks(ctx, table.database, table.rows, table.rows == large); err != nil {
			return err
		}
	}
	return nil
}

// checkFreeDisk fails where a folder's disk is too full to begin.
func checkFreeDisk(folder string, need int64) error {
	var disk syscall.Statfs_t
	if err := syscall.Statfs(folder, &disk); err != nil {
		return fmt.Errorf("free disk of %s: %w", folder, err)
	}
	if free := int64(disk.Bavail) * disk.Bsize; free < need {
		return fmt.Errorf("%s: %.1f GiB free, expected %.1f or more: make room, or measure with fewer -rows",
			folder, float64(free)/(1<<30), float64(need)/(1<<30))
	}
	return nil
}

// verify runs verify on a database to the expected exit code.
func (t *tables) verify(ctx context.Context, expected int, database string, arguments ...string) (outcome, error) {
	command := append([]string{t.Verify}, arguments...)
	return t.client(ctx, expected, append(command, "--output=json", "--timeout="+commandTimeout.String(),
		"--dsn", t.DSN(database), "--ledger", t.ledger(database))...)
}

func (t *tables) ledger(database string) string { return filepath.Join(t.Folder, database+".ledger") }

// fill makes a database and fills it.
func (t *tables) fill(ctx context.Context, database string, rows int64) (time.Duration, error) {
	if err := t.exec(ctx, "postgres", "create database "+database, "checkpoint"); err != nil {
		return 0, err
	}
	done, err := t.verify(ctx, 0, database, "fill", "--rows", strconv.FormatInt(rows, 10))
	if err != nil {
		return 0, err
	}
	t.peaks.add(onRows("fill", rows), done.peak)
	return done.taken, nil
}

// compareFill fills with verify and with psql in turns, each into a database of
// its own; the last one that verify fills stays as "medium".
func (t *tables) compareFill(ctx context.Context, rows int64) error {
	t.say("fill and \\copy, %s rows: warming up", grouped(rows))
	file := filepath.Join(t.Folder, "rows.copy")
	if _, err := t.fill(ctx, "origin", rows); err != nil {
		return err
	}
	if _, err := t.psql("origin", "\\copy verify.rows to '"+file+"'")(ctx); err != nil {
		return err
	}
	// An empty table that is the same as verify's in everything.
	if err := t.exec(ctx, "origin", "truncate verify.rows"); err != nil {
		return err
	}
	for run := range longRuns + 1 {
		name := onRows("fill", rows)
		copyIn := func(ctx context.Context) (time.Duration, error) {
			return t.psql("copied", "\\copy verify.rows from '"+file+"'")(ctx)
		}
		if err := t.exec(ctx, "postgres", "create database copied template origin", "checkpoint"); err != nil {
			return err
		}
		if run == 0 {
			if _, err := copyIn(ctx); err != nil {
				return err
			}
		} else if err := t.times.add(ctx, "psql "+name, copyIn); err != nil {
			return err
		}
		if err := t.exec(ctx, "postgres", "drop database copied"); err != nil {
			return err
		}
		if run == 0 {
			continue
		}
		t.say("fill and \\copy, %s rows: %d of %d", grouped(rows), run, longRuns)
		database := "medium"
		if run < longRuns {
			database = fmt.Sprintf("filled_%d", run)
		}
		if err := t.times.add(ctx, name, func(ctx context.Context) (time.Duration, error) {
			return t.fill(ctx, database, rows)
		}); err != nil {
			return err
		}
		if run < longRuns {
			if err := t.exec(ctx, "postgres", "drop database "+database); err != nil {
				return err
			}
		}
	}
	return t.exec(ctx, "postgres", "drop database origin")
}

// warmUp leaves the server nothing to do later, and does once what is measured.
func (t *tables) warmUp(ctx context.Context, database string, steps ...step) error {
	if err := t.exec(ctx, database, "vacuum (analyze) verify.rows", "checkpoint"); err != nil {
		return err
	}
	for _, warm := range steps {
		if _, err := warm(ctx); err != nil {
			return err
		}
	}
	return nil
}

// compareChecks measures the check of a table beside one pass of psql over it,
// and on request the check that finds one altered row.
func (t *tables) compareChecks(ctx context.Context, database string, rows int64, altered bool) error {
	t.say("check, %s rows: warming up", grouped(rows))
	check := func(expectedAltered int64) step {
		return func(ctx context.Context) (time.Duration, error) { return t.check(ctx, database, rows, expectedAltered) }
	}
	sum := t.psql(database, sumStatement)
	if err := t.warmUp(ctx, database, check(0), sum); err != nil {
		return err
	}
	for run := range longRuns {
		t.say("check, %s rows: %d of %d", grouped(rows), run+1, longRuns)
		if err := errors.Join(
			t.times.add(ctx, onRows("psql", rows), sum),
			t.times.add(ctx, onRows("check", rows), check(0)),
		); err != nil {
			return err
		}
		if !altered {
			continue
		}
		if err := t.alterRow(ctx, database, rows/2, func() error {
			return t.times.add(ctx, onRows("altered", rows), check(1))
		}); err != nil {
			return err
		}
	}
	return nil
}

// check checks a table, and makes sure of what it says.
func (t *tables) check(ctx context.Context, database string, rows, altered int64, flags ...string) (time.Duration, error) {
	expected, verdict := 0, "proven"
	if altered > 0 {
		expected, verdict = 1, "violated"
	}
	done, err := t.verify(ctx, expected, database, append([]string{"check"}, flags...)...)
	if err != nil {
		return 0, err
	}
	var answer struct {
		Verdict string
		Rows    struct{ Required, Intact, Altered int64 }
	}
	if err := json.Unmarshal([]byte(done.stdout), &answer); err != nil {
		return 0, fmt.Errorf("verify check: %w", err)
	}
	if answer.Verdict != verdict || answer.Rows.Altered != altered || answer.Rows.Required < rows ||
		answer.Rows.Intact != answer.Rows.Required-altered {
		return 0, fmt.Errorf("verify check of %d rows, %d of them altered, says: %s", rows, altered, done.stdout)
	}
	t.peaks.add(onRows("check", rows), done.peak)
	return done.taken, nil
}

// alterRow alters one row of the fill while f runs.
func (t *tables) alterRow(ctx context.Context, database string, seq int64, f func() error) error {
	// The checks write runs of few rows, which do not come to this number.
	swap := fmt.Sprintf("update verify.rows set payload = reverse(payload) where seq = %d", seq)
	if err := t.exec(ctx, database, swap); err != nil {
		return err
	}
	if err := f(); err != nil {
		return err
	}
	return t.exec(ctx, database, swap)
}

func (t *tables) findings() findings {
	small, medium, large := t.rows/1000, t.rows/10, t.rows
	fill := onRows("fill", medium)
	result := findings{
		rows: []row{rate("`verify fill`, "+grouped(medium)+" rows", medium, t.times[fill], "`psql \\copy`", t.times["psql "+fill], fillTarget)},
		notes: []string{
			"Tables are on a PostgreSQL of the run's own with its default settings, autovacuum off, reached through loopback. Both sides of each were run once before.",
			"`psql \\copy`: the same rows, from a file, in one transaction, into an empty table that is the same as verify's.",
			"One pass of psql: `" + sumStatement + "`. The check also writes ten rows and enters its result in the ledger; its first run after a start of the server also compares heap and index, and is not among these.",
			"An altered row: one payload in the middle of the table, found and named each time; beside the intact check.",
			"Memory is the maximum resident set size of the process, the most of all its runs; the ratio is of the most rows to the fewest.",
		},
	}
	for _, rows := range []int64{medium, large} {
		result.rows = append(result.rows, beside("`verify check`, "+grouped(rows)+" rows",
			t.times[onRows("check", rows)], "one pass of psql", t.times[onRows("psql", rows)], checkTarget))
	}
	result.rows = append(result.rows,
		beside("1 altered row in "+grouped(large), t.times[onRows("altered", large)], "intact", t.times[onRows("check", large)], alteredTarget))
	sizes := []int64{small, medium, large}
	for _, verb := range []string{"check", "fill"} {
		var of []int64
		for _, rows := range sizes {
			of = append(of, t.peaks[onRows(verb, rows)])
		}
		result.rows = append(result.rows, memory("memory of `verify "+verb+"`", sizes, of))
	}
	return result
}

// onRows names something that is measured on several numbers of rows.
func onRows(what string, rows int64) string { return fmt.Sprintf("%s %d", what, rows) }

// rate compares rows a second.
func rate(what string, rows int64, ours times, plainWhat string, plain times, target float64) row {
	ratio := plain.median().Seconds() / ours.median().Seconds()
	perSecond := func(t times) string {
		return fmt.Sprintf("%s rows/s, %s", grouped(int64(float64(rows)/t.median().Seconds())), t)
	}
	return row{
		what: what, ours: perSecond(ours), plain: plainWhat + ": " + perSecond(plain), ratio: fmt.Sprintf("%.2f", ratio),
		target: fmt.Sprintf("at least %g times", target), met: yesOrNo(ratio >= target),
	}
}

// memory says whether peaks of memory, in bytes, stay the same with more rows.
func memory(what string, sizes, peaks []int64) row {
	var rows, used []string
	for i, size := range sizes {
		rows = append(rows, grouped(size))
		used = append(used, fmt.Sprintf("%.0f", float64(peaks[i])/(1<<20)))
	}
	ratio := float64(peaks[len(peaks)-1]) / float64(peaks[0])
	return row{
		what: what + ", " + strings.Join(rows, " / ") + " rows", ours: strings.Join(used, " / ") + " MiB", ratio: fmt.Sprintf("%.2f", ratio),
		target: fmt.Sprintf("under %d MiB, flat: at most %.1f times", peakTarget>>20, flatTarget),
		met:    yesOrNo(slices.Max(peaks) < peakTarget && ratio <= flatTarget),
	}
}

// grouped writes a number with a comma every three digits.
func grouped(number int64) string {
	digits := strconv.FormatInt(number, 10)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}
