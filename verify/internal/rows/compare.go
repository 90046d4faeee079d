package rows

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"stateful-postgres/verify/internal/ledger"
	"stateful-postgres/verify/internal/payload"
	"stateful-postgres/verify/internal/server"
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

// Options say how an audit looks.
type Options struct {
	// Index compares the rows that the primary key leads to with those of the heap, too.
	Index bool
	// Withdrawable says that a timeline ended before any standby had all of it: rows that were never
	// acknowledged, and were seen there, may have gone with it. Adopted rows may have been
	// acknowledged to somebody else.
	Withdrawable bool
}

// Compare audits the table against the ledger in one snapshot. One pass on the server is enough
// when nothing is wrong; otherwise a second one finds the segments that differ, and the rows of
// those are compared one by one. With the index, the rows that the primary key leads to are
// counted, too, and those that only one of heap and index yields are named.
func Compare(ctx context.Context, conn *pgx.Conn, state *ledger.State, options Options) (*Audit, error) {
	c := &comparison{state: state, audit: newAudit(state), runs: map[int64]*runAuditor{}, numbers: map[int64]bool{}}
	for _, run := range state.Runs {
		c.runs[run.ID] = newRunAuditor(c.audit, run)
		c.runs[run.ID].withdrawable = options.Withdrawable && !run.Adopted
	}
	if err := server.Read(ctx, conn, func(tx pgx.Tx) error { return c.compare(ctx, tx, options.Index) }); err != nil {
		return nil, fmt.Errorf("audit: %w", err)
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

// compare reads what the audit needs, in one transaction.
func (c *comparison) compare(ctx context.Context, tx pgx.Tx, index bool) error {
	c.tx = tx
	if err := checkHash(ctx, tx); err != nil {
		return err
	}
	if err := c.look(ctx, index); err != nil {
		return fmt.Errorf("table %s: %w", Table, err)
	}
	for _, suspect := range c.suspects {
		if err := c.examine(ctx, suspect); err != nil {
			return fmt.Errorf("run %d: %w", suspect.run.run.ID, err)
		}
	}
	return nil
}

// checkHash makes sure that the server's hash function is the one that is reckoned with here:
// it is another one on a big-endian machine, and nothing promises that it stays.
func checkHash(ctx context.Context, tx pgx.Tx) error {
	probe := payload.NewSource(1, 2).Text(3)
	var hash int64
	if err := tx.QueryRow(ctx, `select hashtextextended($1::text collate "C", 4)`, probe).Scan(&hash); err != nil {
		return err
	}
	if expected := payload.Hash([]byte(probe), 4); hash != expected {
		return fmt.Errorf("the server's hashtextextended yields %d for %q, expected %d: rows cannot be compared "+
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
	// numbers are those of the segments to look for.
	numbers map[int64]bool
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

// look reads the table once, and a second time by segments when something is wrong.
func (c *comparison) look(ctx context.Context, index bool) error {
	computing, stop := context.WithCancel(ctx)
	expected := sync.OnceValue(func() map[int64]runExpectation { return c.expectRuns(computing) })
	go expected()
	defer func() { stop(); expected() }()
	if _, err := c.tx.Exec(ctx, noCompilation); err != nil {
		return err
	}
	found, err := All.read(ctx, c.tx)
	if err != nil {
		return err
	}
	c.audit.Rows, c.audit.Total = found.Rows, found
	agree := true
	if index {
		if agree, err = c.indexAgrees(ctx, found.Rows); err != nil {
			return err
		}
	}
	runs := expected()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if !agree || !c.acceptAll(runs, found) {
		return c.lookEverywhere(ctx, !agree)
	}
	return nil
}

// acceptAll takes all rows for what they should be when the digest of the whole table says so.
func (c *comparison) acceptAll(runs map[int64]runExpectation, found payload.Digest) bool {
	var all expectation
	for _, part := range runs {
		all.merge(part.expectation)
	}
	if found != all.required && found != all.everything() {
		return false
	}
	for _, run := range c.state.Runs {
		part := runs[run.ID]
		digest := part.required
		if found != all.required {
			digest = part.everything()
		}
		c.runs[run.ID].accept(0, run.Next(), digest, part.expectation)
		c.audit.Computed = append(c.audit.Computed, ledger.RunDigest{Run: run.ID, Rows: part.begin.Rows, Sum: part.begin.Sum()})
	}
	return true
}

// conflictAttempts is how often the rows of a standby are read that is cut off by what it replays.
const (
	conflictAttempts     = 5
	serializationFailure = "40001"
)

// Selection is which rows of the table are read.
type Selection struct {
	// runs are the runs that they belong to; nil for all.
	runs []int64
}

// All selects every row of the table.
var All = &Selection{}

// OfLedger selects the rows of the runs that a ledger knows.
func OfLedger(state *ledger.State) *Selection {
	selection := &Selection{runs: []int64{}}
	for _, run := range state.Runs {
		selection.runs = append(selection.runs, run.ID)
	}
	return selection
}

// Digest reads the selected rows once, and returns how many there are and what they hold.
func (s *Selection) Digest(ctx context.Context, conn *pgx.Conn) (payload.Digest, error) {
	for attempt := 1; ; attempt++ {
		var found payload.Digest
		err := server.Read(ctx, conn, func(tx pgx.Tx) (err error) {
			if _, err = tx.Exec(ctx, noCompilation); err == nil {
				found, err = s.read(ctx, tx)
			}
			return err
		})
		var serverError *pgconn.PgError
		if errors.As(err, &serverError) && serverError.Code == serializationFailure && attempt < conflictAttempts {
			// Replaying a vacuum took away rows that the query could see (max_standby_streaming_delay).
			continue
		}
		if err != nil {
			return found, fmt.Errorf("read table %s: %w", Table, err)
		}
		return found, nil
	}
}

// read reads the selected rows once, through the heap: what is there, whatever an index says.
func (s *Selection) read(ctx context.Context, tx pgx.Tx) (payload.Digest, error) {
	if _, err := tx.Exec(ctx, throughHeap); err != nil {
		return payload.Digest{}, err
	}
	var rows int64
	var sum string
	query, arguments := `select count(*), coalesce(sum(hashtextextended(payload, run # seq))::text, '') from verify.rows`, []any(nil)
	if s.runs != nil {
		query, arguments = query+` where run = any($1)`, []any{s.runs}
	}
	err := tx.QueryRow(ctx, query, arguments...).Scan(&rows, &sum)
	if err != nil {
		return payload.Digest{}, err
	}
	return payload.ParseDigest(rows, sum)
}

// lookEverywhere compares the digest of every segment, read through the heap.
func (c *comparison) lookEverywhere(ctx context.Context, indexDisagrees bool) error {
	computing, stop := context.WithCancel(ctx)
	computed := sync.OnceValue(func() map[segmentKey]expectation { return c.expectSegments(computing) })
	go computed()
	defer func() { stop(); computed() }()
	for _, run := range c.state.Runs {
		for number := int64(0); number<<segmentBits < run.Next(); number++ {
			c.numbers[number] = true
		}
	}
	found, err := c.readSegments(ctx, throughHeap, "coalesce(sum(hashtextextended(payload, run # seq))::text, '')")
	if err != nil {
		return err
	}
	expected := computed()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	for key := range expected {
		if _, there := found[key]; !there {
			found[key] = payload.Digest{}
		}
	}
	foreign := map[int64]int64{}
	for key, digest := range found {
		run := c.runs[key.run]
		if run == nil {
			foreign[key.run] += digest.Rows
		} else if !run.accept(key.first(), key.end(), digest, expected[key]) {
			c.suspects = append(c.suspects, suspect{segmentKey: key, run: run, found: digest})
		}
	}
	for run, rows := range foreign {
		c.audit.Unrecorded = append(c.audit.Unrecorded, Unrecorded{Run: run, Rows: rows})
	}
	// The first rows that are wrong are the ones to name.
	slices.SortFunc(c.suspects, func(a, b suspect) int { return compareKeys(a.segmentKey, b.segmentKey) })
	if indexDisagrees {
		return c.compareIndex(ctx, found)
	}
	return nil
}

func compareKeys(a, b segmentKey) int {
	return cmp.Or(cmp.Compare(a.run, b.run), cmp.Compare(a.number, b.number))
}

// readSegments returns the digest of every segment that has rows, of all runs. The sum is the SQL
// of its sum of hashes.
func (c *comparison) readSegments(ctx context.Context, through, sum string) (map[segmentKey]payload.Digest, error) {
	if _, err := c.tx.Exec(ctx, through); err != nil {
		return nil, err
	}
	digests, complete, err := c.groupBySegments(ctx, sum)
	if err != nil || complete {
		return digests, err
	}
	// The table holds rows beyond those that the ledger knows.
	found, err := c.tx.Query(ctx, fmt.Sprintf(`select distinct seq >> %d from verify.rows where not seq >> %[1]d = any ($1)`, segmentBits),
		c.knownNumbers())
	if err != nil {
		return nil, err
	}
	further, err := pgx.CollectRows(found, pgx.RowTo[int64])
	if err != nil {
		return nil, err
	}
	for _, number := range further {
		c.numbers[number] = true
	}
	digests, _, err = c.groupBySegments(ctx, sum)
	return digests, err
}

// knownNumbers are the numbers as an argument of a query, in which nil would be unknown.
func (c *comparison) knownNumbers() []int64 {
	return slices.AppendSeq([]int64{}, maps.Keys(c.numbers))
}

// groupBySegments reads the segments with the numbers that are known, and says whether that were
// all of the table. The numbers are joined because the planner knows how many they are: it would
// expect a group for every row, and sort the whole table on the server's disk.
func (c *comparison) groupBySegments(ctx context.Context, sum string) (digests map[segmentKey]payload.Digest, complete bool, err error) {
	found, err := c.tx.Query(ctx, fmt.Sprintf(`
		select run, number, count(*), %s
		from verify.rows left join unnest($1::bigint[]) as number on seq >> %d = number group by 1, 2`, sum, segmentBits),
		c.knownNumbers())
	if err != nil {
		return nil, false, err
	}
	defer found.Close()
	digests, complete = map[segmentKey]payload.Digest{}, true
	for found.Next() {
		var key segmentKey
		var number *int64
		var count int64
		var sum string
		if err := found.Scan(&key.run, &number, &count, &sum); err != nil {
			return nil, false, err
		}
		if number == nil {
			complete = false
			continue
		}
		key.number = *number
		if digests[key], err = payload.ParseDigest(count, sum); err != nil {
			return nil, false, err
		}
	}
	return digests, complete, found.Err()
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
