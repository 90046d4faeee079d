package rows

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"stateful-postgres/verify/internal/ledger"
	"stateful-postgres/verify/internal/payload"
)

// How a query is made to read: from the heap alone, or through the primary key.
const (
	// Compiling takes longer than it saves here.
	noCompilation = `set local jit = off`
	throughHeap   = `set local enable_indexscan = off; set local enable_indexonlyscan = off;
		set local enable_bitmapscan = off; set local enable_seqscan = on`
	throughIndex = `set local enable_indexscan = on; set local enable_indexonlyscan = on;
		set local enable_bitmapscan = off; set local enable_seqscan = off`
)

// EverythingLost is the audit of a table that is not there.
func EverythingLost(state *ledger.State) *Audit {
	audit := newAudit(state)
	for _, run := range state.Runs {
		auditor := newRunAuditor(audit, run)
		auditor.absent(0, run.Next())
		auditor.settle()
	}
	return audit
}

func newAudit(state *ledger.State) *Audit {
	return &Audit{Count: map[Kind]int64{}, Required: state.Required()}
}

// Index says what is done about the primary key in an audit.
type Index int

const (
	// NoIndex: there is none.
	NoIndex Index = iota
	// UseIndex reads through it where that is faster. What it yields has to explain what the
	// heap holds, so it is not trusted.
	UseIndex
	// CompareIndex also counts the rows it leads to and names those that only one of heap and
	// index yields.
	CompareIndex
)

// Compare audits the table against the ledger in one snapshot: one pass on the server, and a
// closer look at the segments that are not as they should be.
func Compare(ctx context.Context, conn *pgx.Conn, state *ledger.State, index Index) (*Audit, error) {
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	// Read only: there is nothing to keep, and an error here says no more than the first one.
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	if err := checkHash(ctx, tx); err != nil {
		return nil, err
	}

	c := &comparison{tx: tx, state: state, audit: newAudit(state), runs: map[int64]*runAuditor{}, counts: map[segmentKey]int64{}}
	for _, run := range state.Runs {
		c.runs[run.ID] = newRunAuditor(c.audit, run)
	}
	if err := c.look(ctx, index); err != nil {
		return nil, fmt.Errorf("audit table %s: %w", Table, err)
	}
	for _, suspect := range c.suspects {
		if err := c.examine(ctx, suspect); err != nil {
			return nil, fmt.Errorf("audit run %d: %w", suspect.run.run.ID, err)
		}
	}
	for _, run := range state.Runs {
		c.runs[run.ID].settle()
	}
	if current := state.Current(); current != nil {
		c.audit.Used = max(current.Next(), c.runs[current.ID].used)
	}
	slices.SortFunc(c.audit.Unrecorded, func(a, b Unrecorded) int { return cmp.Compare(a.Run, b.Run) })
	return c.audit, nil
}

// checkHash makes sure that the server's hash function is the one that is reckoned with here:
// it is another one on a big-endian machine, and nothing promises that it stays.
func checkHash(ctx context.Context, tx pgx.Tx) error {
	probe := payload.NewSource(1, 2).Text(3)
	var hash int64
	if err := tx.QueryRow(ctx, `select hashtextextended($1::text collate "C", 4)`, probe).Scan(&hash); err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	if expected := payload.Hash([]byte(probe), 4); hash != expected {
		return fmt.Errorf("audit: the server's hashtextextended yields %d for %q, expected %d: rows cannot be compared "+
			"with this server (is it big-endian?)", hash, probe, expected)
	}
	return nil
}

// comparison is one audit of one snapshot.
type comparison struct {
	tx       pgx.Tx
	state    *ledger.State
	audit    *Audit
	runs     map[int64]*runAuditor
	suspects []suspect
	// counts is the number of rows that the heap yields, to compare the index with.
	counts map[segmentKey]int64
}

type segmentKey struct{ run, number int64 }

// first and end delimit the sequence numbers of a segment. The end of the very last one wraps
// around, which is why ranges reach SQL with their last number instead.
func (k segmentKey) first() int64 { return k.number << segmentBits }
func (k segmentKey) end() int64   { return (k.number + 1) << segmentBits }

// suspect is a segment that needs a closer look.
type suspect struct {
	segmentKey
	run   *runAuditor
	found payload.Digest
}

// look goes no further than it has to: one pass over the whole table when nothing is wrong or
// one segment is, and a digest of every segment otherwise.
func (c *comparison) look(ctx context.Context, index Index) error {
	computed := make(chan map[segmentKey]expectation, 1)
	go func() { computed <- c.expectAll(ctx) }()
	if _, err := c.tx.Exec(ctx, noCompilation); err != nil {
		return err
	}
	found, err := c.readTotals(ctx)
	if err != nil {
		return err
	}
	c.audit.Rows = found.digest.Rows
	agree := true
	if index == CompareIndex {
		if agree, err = c.indexAgrees(ctx, found.digest.Rows); err != nil {
			return err
		}
	}
	expected := <-computed
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if !agree {
		return c.lookEverywhere(ctx, expected, true)
	}
	var all expectation
	var wanted totals
	for key, part := range expected {
		all.required.Merge(part.required)
		all.optional.Merge(part.optional)
		wanted.weighted += part.tops * key.number
	}
	if found.digest == all.required || found.digest == all.everything() {
		for key, part := range expected {
			digest := part.required
			if found.digest != all.required {
				digest = part.everything()
			}
			c.runs[key.run].accept(key.first(), key.end(), digest, part)
		}
		return nil
	}
	if index != NoIndex && all.optional.Rows == 0 {
		wanted.digest = all.required
		located, err := c.locate(ctx, expected, found.minus(wanted))
		if err != nil || located {
			return err
		}
	}
	return c.lookEverywhere(ctx, expected, false)
}

// totals are sums over the whole table.
type totals struct {
	digest payload.Digest
	// weighted is the sum of the upper bits of the hashes times the number of the row's segment,
	// modulo 2^64. If a single segment differs, the difference is that number times the
	// difference of the upper bits, and the digest tells the latter but for a few units.
	weighted int64
}

func (t totals) minus(other totals) totals {
	return totals{digest: t.digest.Minus(other.digest), weighted: t.weighted - other.weighted}
}

// readTotals reads the whole table once, through the heap: what is there, whatever an index
// says.
func (c *comparison) readTotals(ctx context.Context) (totals, error) {
	if _, err := c.tx.Exec(ctx, throughHeap); err != nil {
		return totals{}, err
	}
	var rows int64
	var sum, weighted string
	// A segment number is cut to 40 bits, so that no row that somebody puts there makes the
	// product overflow.
	err := c.tx.QueryRow(ctx, fmt.Sprintf(`
		select count(*), coalesce(sum(hash)::text, ''),
			coalesce(sum((hash >> %[1]d) * ((seq >> %[2]d) & 1099511627775))::text, '')
		from (select seq, hashtextextended(payload, run # seq) as hash from verify.rows) as rows`, payload.TopShift, segmentBits)).
		Scan(&rows, &sum, &weighted)
	if err != nil {
		return totals{}, err
	}
	digest, digestErr := payload.ParseDigest(rows, sum)
	weightedDigest, weightedErr := payload.ParseDigest(0, weighted)
	return totals{digest: digest, weighted: weightedDigest.Low()}, errors.Join(digestErr, weightedErr)
}

// fewRows is up to how many wrong rows a single differing segment is looked for.
const fewRows = 4

// locate finds the segment that explains the whole difference, if it is a single one with few
// wrong rows. It returns false when it is not.
func (c *comparison) locate(ctx context.Context, expected map[segmentKey]expectation, difference totals) (bool, error) {
	if _, err := c.tx.Exec(ctx, throughIndex); err != nil {
		return false, err
	}
	for tops := difference.digest.Top() - fewRows; tops <= difference.digest.Top()+fewRows; tops++ {
		if tops == 0 || difference.weighted%tops != 0 {
			continue
		}
		for _, run := range c.state.Runs {
			key := segmentKey{run: run.ID, number: difference.weighted / tops}
			if _, known := expected[key]; !known {
				continue
			}
			found, err := c.readRange(ctx, run.ID, key.first(), key.end())
			if err != nil {
				return false, err
			}
			if found.Minus(expected[key].required) == difference.digest {
				c.suspectOne(expected, key, found)
				return true, nil
			}
		}
	}
	return false, nil
}

// suspectOne accepts all segments but one.
func (c *comparison) suspectOne(expected map[segmentKey]expectation, key segmentKey, found payload.Digest) {
	for other, part := range expected {
		if other != key {
			c.runs[other.run].accept(other.first(), other.end(), part.required, part)
		}
	}
	c.suspects = []suspect{{segmentKey: key, run: c.runs[key.run], found: found}}
}

// readRange returns the digest of a range of rows, as the transaction is set to read them.
func (c *comparison) readRange(ctx context.Context, run, first, end int64) (payload.Digest, error) {
	var rows int64
	var sum string
	err := c.tx.QueryRow(ctx, `select count(*), coalesce(sum(hashtextextended(payload, run # seq))::text, '')
		from verify.rows where run = $1 and seq between $2 and $3`, run, first, end-1).Scan(&rows, &sum)
	if err != nil {
		return payload.Digest{}, err
	}
	return payload.ParseDigest(rows, sum)
}

// lookEverywhere compares the digest of every segment, read through the heap.
func (c *comparison) lookEverywhere(ctx context.Context, expected map[segmentKey]expectation, indexDisagrees bool) error {
	digests, foreign, err := c.readDigests(ctx)
	if err != nil {
		return err
	}
	for run, rows := range foreign {
		c.audit.Unrecorded = append(c.audit.Unrecorded, Unrecorded{Run: run, Rows: rows})
	}
	for key := range expected {
		if _, found := digests[key]; !found {
			digests[key] = payload.Digest{}
		}
	}
	for key, digest := range digests {
		run := c.runs[key.run]
		if !run.accept(key.first(), key.end(), digest, expected[key]) {
			c.suspects = append(c.suspects, suspect{segmentKey: key, run: run, found: digest})
		}
	}
	c.sortSuspects()
	if indexDisagrees {
		return c.compareIndex(ctx)
	}
	return nil
}

// sortSuspects puts the suspects in order: the first rows that are wrong are the ones to name.
func (c *comparison) sortSuspects() {
	slices.SortFunc(c.suspects, func(a, b suspect) int {
		return cmp.Or(cmp.Compare(a.segmentKey.run, b.segmentKey.run), cmp.Compare(a.number, b.number))
	})
}

// readDigests returns what the heap holds: a digest for each segment of the ledger's runs, and
// the number of rows of all other runs.
func (c *comparison) readDigests(ctx context.Context) (map[segmentKey]payload.Digest, map[int64]int64, error) {
	if _, err := c.tx.Exec(ctx, throughHeap); err != nil {
		return nil, nil, err
	}
	found, err := c.tx.Query(ctx, fmt.Sprintf(`
		select run, seq >> %d, count(*), coalesce(sum(hashtextextended(payload, run # seq))::text, '')
		from verify.rows group by 1, 2`, segmentBits))
	if err != nil {
		return nil, nil, err
	}
	defer found.Close()
	digests, foreign := map[segmentKey]payload.Digest{}, map[int64]int64{}
	for found.Next() {
		var key segmentKey
		var count int64
		var sum string
		if err := found.Scan(&key.run, &key.number, &count, &sum); err != nil {
			return nil, nil, err
		}
		c.counts[key] += count
		if c.runs[key.run] == nil {
			foreign[key.run] += count
			continue
		}
		if digests[key], err = payload.ParseDigest(count, sum); err != nil {
			return nil, nil, err
		}
	}
	return digests, foreign, found.Err()
}

// expectAll computes what every segment should be, while the server is busy with its pass.
func (c *comparison) expectAll(ctx context.Context) map[segmentKey]expectation {
	expected := map[segmentKey]expectation{}
	for _, run := range c.state.Runs {
		source := payload.NewSource(run.Seed, run.ID)
		for first := int64(0); first < run.Next() && ctx.Err() == nil; first += segmentRows {
			expected[segmentKey{run.ID, first >> segmentBits}] = expect(run, source, first, first+segmentRows)
		}
	}
	return expected
}

// examine narrows a suspect segment down to its rows.
func (c *comparison) examine(ctx context.Context, s suspect) error {
	if s.found.Rows == 0 {
		s.run.absent(s.first(), s.end())
		return nil
	}
	blocks, total, err := c.readBlocks(ctx, s)
	if err != nil {
		return err
	}
	if total != s.found {
		// The index does not lead to the rows that the heap holds: the heap decides.
		return c.readRows(ctx, s.run, s.first(), s.end(), throughHeap)
	}
	var differing []int64
	for i := range int64(segmentRows / blockRows) {
		first := s.first() + i*blockRows
		number := first >> blockBits
		if !s.run.matches(blocks[number], s.run.expect(first, first+blockRows)) {
			differing = append(differing, number)
		}
	}
	if len(differing) > maximumBlocks {
		return c.readRows(ctx, s.run, s.first(), s.end(), throughIndex)
	}
	for i := range int64(segmentRows / blockRows) {
		first := s.first() + i*blockRows
		number := first >> blockBits
		if !slices.Contains(differing, number) {
			s.run.accept(first, first+blockRows, blocks[number], s.run.expect(first, first+blockRows))
		} else if err := c.readRows(ctx, s.run, first, first+blockRows, throughIndex); err != nil {
			return err
		}
	}
	return nil
}

// readBlocks returns the digest of each block of a segment, and of all of them.
func (c *comparison) readBlocks(ctx context.Context, s suspect) (map[int64]payload.Digest, payload.Digest, error) {
	var total payload.Digest
	if _, err := c.tx.Exec(ctx, throughIndex); err != nil {
		return nil, total, err
	}
	found, err := c.tx.Query(ctx, fmt.Sprintf(`
		select seq >> %d, count(*), coalesce(sum(hashtextextended(payload, run # seq))::text, '')
		from verify.rows where run = $1 and seq between $2 and $3 group by 1`, blockBits), s.run.run.ID, s.first(), s.end()-1)
	if err != nil {
		return nil, total, err
	}
	defer found.Close()
	blocks := map[int64]payload.Digest{}
	for found.Next() {
		var number, count int64
		var sum string
		if err := found.Scan(&number, &count, &sum); err != nil {
			return nil, total, err
		}
		if blocks[number], err = payload.ParseDigest(count, sum); err != nil {
			return nil, total, err
		}
		total.Merge(blocks[number])
	}
	return blocks, total, found.Err()
}

// readRows compares the rows of a range one by one.
func (c *comparison) readRows(ctx context.Context, run *runAuditor, first, end int64, through string) error {
	if _, err := c.tx.Exec(ctx, through); err != nil {
		return err
	}
	// What is longer than it should be is altered, however long it is.
	found, err := c.tx.Query(ctx, fmt.Sprintf(`
		select seq, coalesce(left(payload, %d), '') from verify.rows
		where run = $1 and seq between $2 and $3 order by seq`, 2*payload.Size), run.run.ID, first, end-1)
	if err != nil {
		return err
	}
	defer found.Close()
	next := first
	last := first - 1
	for found.Next() {
		var seq int64
		var text string
		if err := found.Scan(&seq, &text); err != nil {
			return err
		}
		if seq == last {
			run.duplicated(seq, text)
			continue
		}
		run.absent(next, seq)
		run.present(seq, text)
		next, last = seq+1, seq
	}
	run.absent(next, end)
	return found.Err()
}
