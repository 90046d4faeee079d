package rows_test

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"stateful-postgres/verify/internal/commit"
	"stateful-postgres/verify/internal/ledger"
	"stateful-postgres/verify/internal/payload"
	"stateful-postgres/verify/internal/pgtest"
	"stateful-postgres/verify/internal/rows"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// bundle is a database with a table, a ledger and a writer.
type bundle struct {
	t      *testing.T
	server *pgtest.Server
	dsn    string
	conn   *pgx.Conn
	ledger *ledger.Ledger
	writer *rows.Writer
}

func setup(t *testing.T) *bundle { return setupOn(t, pgtest.Shared(t)) }

func setupOn(t *testing.T, server *pgtest.Server) *bundle {
	t.Helper()
	b := &bundle{t: t, server: server, dsn: server.CreateDatabase(t)}
	entries, err := ledger.Open(t.Context(), filepath.Join(t.TempDir(), "ledger"), func(string) {})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, entries.Close()) })
	b.ledger = entries
	b.writer, err = rows.NewWriter(entries, 0)
	require.NoError(t, err)
	b.connect()
	require.NoError(t, rows.Create(t.Context(), b.session().Exec))
	return b
}

// connect opens the connections, again after the server was restarted.
func (b *bundle) connect() {
	conn, err := pgx.Connect(b.t.Context(), b.dsn)
	require.NoError(b.t, err)
	b.t.Cleanup(func() { _ = conn.Close(b.t.Context()) })
	b.conn = conn
	b.writer.Use(b.session())
}

func (b *bundle) session() *commit.Session {
	config, err := pgx.ParseConfig(b.dsn)
	require.NoError(b.t, err)
	session, err := commit.Connect(b.t.Context(), config)
	require.NoError(b.t, err)
	b.t.Cleanup(func() { _ = session.Close() })
	return session
}

func (b *bundle) add(count int64) {
	b.t.Helper()
	written, err := b.writer.Add(b.t.Context(), count)
	require.NoError(b.t, err)
	require.Equal(b.t, commit.Acknowledged, written.Outcome)
}

func (b *bundle) exec(statements ...string) {
	b.t.Helper()
	for _, statement := range statements {
		_, err := b.conn.Exec(b.t.Context(), statement)
		require.NoError(b.t, err, statement)
	}
}

func (b *bundle) compare() *rows.Audit {
	b.t.Helper()
	audit, err := rows.Compare(b.t.Context(), b.conn, b.ledger.State(), rows.Options{Index: true})
	require.NoError(b.t, err)
	require.NoError(b.t, b.ledger.Saw(ledger.Sighting{At: time.Now(), Digests: audit.Computed}))
	return audit
}

// insert puts rows of the writer's run into the table without the ledger's knowledge.
func (b *bundle) insert(first, count int64) {
	source := payload.NewSource(b.writer.Run().Seed, b.writer.Run().ID)
	for seq := first; seq < first+count; seq++ {
		b.exec(fmt.Sprintf("insert into verify.rows values (%d, %d, '%s')", b.writer.Run().ID, seq, source.Text(seq)))
	}
}

func TestIntactRowsAreFoundIntact(t *testing.T) {
	t.Parallel()
	b := setup(t)
	require.Zero(t, b.compare().Rows)
	// One batch ends within a segment, one spans several, one is a single row.
	for _, count := range []int64{1000, 150_000, 1} {
		b.add(count)
	}
	audit := b.compare()
	require.EqualValues(t, 151_001, audit.Rows)
	require.EqualValues(t, 151_001, audit.Required)
	require.EqualValues(t, 151_001, audit.Intact)
	require.Zero(t, audit.Wrong())
	require.Empty(t, audit.Count)
	require.Empty(t, audit.Unrecorded)
	require.True(t, audit.IndexCompared)
	require.EqualValues(t, 151_001, audit.Used)
}

func TestDamageIsFoundAndNamed(t *testing.T) {
	t.Parallel()
	type expected struct {
		count  map[rows.Kind]int64
		named  []int64
		intact int64
	}
	for name, test := range map[string]struct {
		damage   []string
		expected expected
	}{
		"one row deleted": {
			[]string{"delete from verify.rows where seq = 70001"},
			expected{map[rows.Kind]int64{rows.Lost: 1}, []int64{70001}, 149_999},
		},
		"rows deleted in two segments": {
			[]string{"delete from verify.rows where seq in (5, 65536, 65535, 149999)"},
			expected{map[rows.Kind]int64{rows.Lost: 4}, []int64{5, 65535, 65536, 149999}, 149_996},
		},
		"every hundredth row deleted": {
			[]string{"delete from verify.rows where seq % 100 = 0"},
			expected{map[rows.Kind]int64{rows.Lost: 1500}, []int64{0, 100, 200, 300, 400, 500, 600, 700, 800, 900}, 148_500},
		},
		"one payload altered": {
			[]string{"update verify.rows set payload = overlay(payload placing 'g' from 3) where seq = 12345"},
			expected{map[rows.Kind]int64{rows.Altered: 1}, []int64{12345}, 149_999},
		},
		"payload emptied and grown": {
			[]string{"update verify.rows set payload = case seq when 1 then '' else repeat(payload, 100000) end where seq in (1, 2)"},
			expected{map[rows.Kind]int64{rows.Altered: 2}, []int64{1, 2}, 149_998},
		},
		"payload nulled": {
			[]string{"alter table verify.rows alter payload drop not null", "update verify.rows set payload = null where seq = 9"},
			expected{map[rows.Kind]int64{rows.Altered: 1}, []int64{9}, 149_999},
		},
		"two rows trade their payloads": {
			[]string{"update verify.rows a set payload = (select payload from verify.rows b where b.seq = 41 - a.seq and b.run = a.run) where seq in (20, 21)"},
			expected{map[rows.Kind]int64{rows.Altered: 2}, []int64{20, 21}, 149_998},
		},
		"one row doubled": {
			[]string{"alter table verify.rows drop constraint rows_pkey", "insert into verify.rows select * from verify.rows where seq = 77777"},
			expected{map[rows.Kind]int64{rows.Duplicated: 1}, []int64{77777}, 150_000},
		},
		"one row doubled instead of another": {
			[]string{"alter table verify.rows drop constraint rows_pkey", "delete from verify.rows where seq = 7", "insert into verify.rows select * from verify.rows where seq = 8"},
			expected{map[rows.Kind]int64{rows.Lost: 1, rows.Duplicated: 1}, []int64{7, 8}, 149_999},
		},
		"rows nobody wrote": {
			[]string{"insert into verify.rows select run, v, 'x' from verify.runs, unnest(array[150000, -5, 9223372036854775807]) v"},
			expected{map[rows.Kind]int64{rows.Phantom: 3}, []int64{-5, 150000, 9223372036854775807}, 150_000},
		},
		"table truncated": {
			[]string{"truncate verify.rows"},
			expected{map[rows.Kind]int64{rows.Lost: 150_000}, []int64{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, 0},
		},
		"every payload altered": {
			[]string{"update verify.rows set payload = upper(payload) || 'Z'"},
			expected{map[rows.Kind]int64{rows.Altered: 150_000}, []int64{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, 0},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.add(150_000)
			require.NotNil(t, b.compare().Computed)
			b.exec(test.damage...)
			audit := b.compare()
			require.Nil(t, audit.Computed)
			require.Equal(t, test.expected.count, audit.Count)
			require.Equal(t, test.expected.intact, audit.Intact)
			var named []int64
			for _, finding := range audit.Findings {
				named = append(named, finding.Seq)
				require.Equal(t, b.writer.Run().ID, finding.Run)
				if finding.Kind != rows.Phantom {
					require.Equal(t, ledger.Acknowledged, finding.Status)
					require.False(t, finding.At.IsZero())
					require.Len(t, finding.Expected, payload.Size)
				}
			}
			require.Equal(t, test.expected.named, named)
		})
	}
}

func TestWhatAnEarlierAuditComputedIsNotBelieved(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.add(100)
	run := b.writer.Run()
	known := payload.NewSource(run.Seed, run.ID).Digest(0, 60)
	for name, test := range map[string]struct {
		remembered ledger.RunDigest
		matches    bool
	}{
		"right":          {ledger.RunDigest{Run: run.ID, Rows: 60, Sum: known.Sum()}, true},
		"of another run": {ledger.RunDigest{Run: run.ID + 1, Rows: 60, Sum: "7"}, true},
		"of more rows":   {ledger.RunDigest{Run: run.ID, Rows: 101, Sum: "7"}, true},
		"no number":      {ledger.RunDigest{Run: run.ID, Rows: 60, Sum: "x"}, true},
		"wrong":          {ledger.RunDigest{Run: run.ID, Rows: 60, Sum: "7"}, false},
	} {
		require.NoError(t, b.ledger.Saw(ledger.Sighting{At: time.Now(), Digests: []ledger.RunDigest{test.remembered}}), name)
		audit, err := rows.Compare(t.Context(), b.conn, b.ledger.State(), rows.Options{Index: true})
		require.NoError(t, err, name)
		require.EqualValues(t, 100, audit.Intact, name)
		require.Empty(t, audit.Count, name)
		require.Equal(t, test.matches, audit.Computed != nil, name)
	}
	require.NoError(t, b.ledger.Saw(ledger.Sighting{At: time.Now()}))
	require.Equal(t, []ledger.RunDigest{{Run: run.ID, Rows: 100, Sum: payload.NewSource(run.Seed, run.ID).Digest(0, 100).Sum()}}, b.compare().Computed)
}

func TestDamageIsFoundWhereverItLies(t *testing.T) {
	t.Parallel()
	b := setup(t)
	// Three chunks, in the middle of the last of which the rows end.
	b.add(600_000)
	require.EqualValues(t, 600_000, b.compare().Intact)
	altered, lost := map[int64]bool{}, map[int64]bool{}
	for _, step := range []struct {
		seq    int64
		delete bool
	}{{599_999, false}, {262_144, true}, {5, false}, {262_143, true}, {524_288, false}, {599_998, true}} {
		if step.delete {
			b.exec(fmt.Sprintf("delete from verify.rows where seq = %d", step.seq))
			lost[step.seq] = true
		} else {
			b.exec(fmt.Sprintf("update verify.rows set payload = 'x' where seq = %d", step.seq))
			altered[step.seq] = true
		}
		audit := b.compare()
		require.EqualValues(t, len(altered), audit.Count[rows.Altered])
		require.EqualValues(t, len(lost), audit.Count[rows.Lost])
		require.EqualValues(t, 600_000-len(altered)-len(lost), audit.Intact)
		for _, finding := range audit.Findings {
			require.True(t, finding.Kind == rows.Altered && altered[finding.Seq] || finding.Kind == rows.Lost && lost[finding.Seq], finding)
		}
	}
	withoutIndex, err := rows.Compare(t.Context(), b.conn, b.ledger.State(), rows.Options{Index: false})
	require.NoError(t, err)
	require.False(t, withoutIndex.IndexCompared)
	require.Equal(t, map[rows.Kind]int64{rows.Altered: 3, rows.Lost: 3}, withoutIndex.Count)
	// A row that somebody else's run holds, besides.
	b.exec("insert into verify.rows values (1, 1, 'x')")
	audit := b.compare()
	require.EqualValues(t, len(lost), audit.Count[rows.Lost])
	require.Equal(t, []rows.Unrecorded{{Run: 1, Rows: 1}}, audit.Unrecorded)
}

func TestRowThatMovedToAnotherRunIsMissed(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.add(100)
	b.exec("update verify.rows set run = run + 1 where seq = 7")
	audit := b.compare()
	require.Equal(t, map[rows.Kind]int64{rows.Lost: 1}, audit.Count)
	require.Equal(t, []rows.Unrecorded{{Run: b.writer.Run().ID + 1, Rows: 1}}, audit.Unrecorded)
}

func TestMissingTableIsEverythingLost(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.add(100_000)
	b.exec("drop schema verify cascade")
	condition, err := rows.Inspect(t.Context(), b.conn, 0)
	require.NoError(t, err)
	require.False(t, condition.Exists())
	audit := rows.EverythingLost(b.ledger.State())
	require.EqualValues(t, 100_000, audit.Count[rows.Lost])
	require.Len(t, audit.Findings, rows.Named)

	require.NoError(t, rows.Create(t.Context(), b.session().Exec))
	require.EqualValues(t, 100_000, b.compare().Count[rows.Lost], "a table made anew is as empty as none")
}

func TestInspectSeesWhatIsWrongWithTheTable(t *testing.T) {
	t.Parallel()
	b := setup(t)
	inspect := func() rows.Condition {
		condition, err := rows.Inspect(t.Context(), b.conn, 0)
		require.NoError(t, err)
		return condition
	}
	made := inspect()
	require.NotZero(t, made.OID)
	require.Equal(t, rows.Condition{OID: made.OID, Columns: true, Complete: true, PrimaryKey: "verify.rows_pkey"}, made)
	require.NoError(t, rows.Create(t.Context(), b.session().Exec), "making it again changes nothing")
	b.exec("alter table verify.rows drop constraint rows_pkey")
	made.PrimaryKey = ""
	require.Equal(t, made, inspect())
	b.exec("alter table verify.rows rename payload to other")
	require.False(t, inspect().Columns)
	b.exec("drop table verify.rows", "create view verify.rows as select 1")
	require.Contains(t, inspect().Unseen, "is a view")
	b.exec("drop view verify.rows", "drop table verify.runs")
	require.Equal(t, rows.Condition{}, inspect())
}

func TestFailedRowsThatAreThereArePhantoms(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.add(10)
	require.NoError(t, b.ledger.Intend(b.writer.Run().ID, 10, 5, 5))
	require.NoError(t, b.ledger.Resolve(b.writer.Run().ID, 10, 5, ledger.Failed))
	require.Zero(t, b.compare().Wrong())
	b.insert(12, 2)
	audit := b.compare()
	require.Equal(t, map[rows.Kind]int64{rows.Phantom: 2}, audit.Count)
	require.EqualValues(t, 12, audit.Findings[0].Seq)
	require.Equal(t, ledger.Failed, audit.Findings[0].Status)
}

func TestUndecidedTransactionsMayBeThereButWhole(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		// insert lists first row and count of what did arrive of rows 65530 to 65549, sent in
		// transactions of 5 rows: one of them crosses the end of a segment.
		insert          [][2]int64
		present, absent int64
		seen            [][2]int64
		torn            []int64
	}{
		"nothing arrived":           {present: 0, absent: 20},
		"everything arrived":        {[][2]int64{{65530, 20}}, 20, 0, [][2]int64{{65530, 5}, {65535, 5}, {65540, 5}, {65545, 5}}, nil},
		"the first two arrived":     {[][2]int64{{65530, 10}}, 10, 10, [][2]int64{{65530, 5}, {65535, 5}}, nil},
		"one torn in a segment":     {[][2]int64{{65545, 3}}, 3, 17, nil, []int64{65545}},
		"one torn between segments": {[][2]int64{{65536, 4}}, 4, 16, nil, []int64{65535}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.add(65530)
			require.NoError(t, b.ledger.Intend(b.writer.Run().ID, 65530, 20, 5))
			for _, arrived := range test.insert {
				b.insert(arrived[0], arrived[1])
			}
			audit := b.compare()
			require.EqualValues(t, 65530, audit.Intact)
			require.Equal(t, test.present, audit.UndecidedPresent)
			require.Equal(t, test.absent, audit.UndecidedAbsent)
			var seen [][2]int64
			for _, s := range audit.Seen {
				seen = append(seen, [2]int64{s.First, s.Rows})
			}
			require.Equal(t, test.seen, seen)
			var torn []int64
			for _, finding := range audit.Of(rows.Torn) {
				torn = append(torn, finding.Seq)
			}
			require.Equal(t, test.torn, torn)

			// Once seen, they must stay.
			for _, s := range audit.Seen {
				require.NoError(t, b.ledger.Resolve(s.Run, s.First, s.Rows, ledger.Seen))
			}
			b.exec("delete from verify.rows where seq >= 65530")
			require.EqualValues(t, len(audit.Seen)*5, b.compare().Count[rows.Lost])
		})
	}
}

func TestRowsNoLedgerKnowsAreReportedApart(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.add(10)
	b.insert(10, 3)
	b.exec("insert into verify.rows select 77, v, 'x' from generate_series(1, 5) v")
	audit := b.compare()
	require.Zero(t, audit.Wrong())
	require.ElementsMatch(t, []rows.Unrecorded{{Run: 77, Rows: 5}, {Run: b.writer.Run().ID, Rows: 3, Ours: true}}, audit.Unrecorded)
	require.EqualValues(t, 13, audit.Used)

	// A writer does not reuse the numbers that its ledger has forgotten.
	writer, err := rows.NewWriter(b.ledger, audit.Used)
	require.NoError(t, err)
	require.NotEqual(t, b.writer.Run().ID, writer.Run().ID)
	same, err := rows.NewWriter(b.ledger, 0)
	require.NoError(t, err)
	require.Equal(t, writer.Run().ID, same.Run().ID)
	seed, err := rows.Seed(t.Context(), b.conn, b.writer.Run().ID)
	require.NoError(t, err)
	require.Equal(t, b.writer.Run().Seed, seed)
}

func TestRowsFarFromAllThatTheLedgerKnowsAreFound(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec("insert into verify.rows values (77, -1, 'x'), (77, 9223372036854775807, 'x'), (78, 700000, 'x')")
	foreign := []rows.Unrecorded{{Run: 77, Rows: 2}, {Run: 78, Rows: 1}}
	audit := b.compare()
	require.Zero(t, audit.Wrong())
	require.Equal(t, foreign, audit.Unrecorded)

	b.add(10)
	b.exec(fmt.Sprintf("insert into verify.rows values (%d, 1099511627776, 'x')", b.writer.Run().ID))
	audit = b.compare()
	require.EqualValues(t, 10, audit.Intact)
	require.Equal(t, map[rows.Kind]int64{rows.Phantom: 1}, audit.Count)
	require.EqualValues(t, 1099511627776, audit.Findings[0].Seq)
	require.ElementsMatch(t, foreign, audit.Unrecorded)
}

func TestRefusedBatchIsEnteredAsFailed(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.add(10)
	b.insert(15, 1)
	written, err := b.writer.Add(t.Context(), 10)
	require.ErrorContains(t, err, "23505")
	require.Equal(t, commit.Failed, written.Outcome)
	require.EqualValues(t, 10, b.writer.Run().Count(ledger.Failed))
	b.add(5)
	require.EqualValues(t, 25, b.writer.Run().Next(), "numbers of failed rows are not used again")
	require.EqualValues(t, 15, b.compare().Intact)
}

func TestRowOutsideTheIndexIsNamed(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.add(70_000)
	// An index that is marked as not ready is not maintained.
	b.exec("delete from verify.rows where seq = 66000")
	b.exec("update pg_index set indisready = false where indexrelid = 'verify.rows_pkey'::regclass")
	b.connect()
	b.insert(66000, 1)
	b.exec("update pg_index set indisready = true where indexrelid = 'verify.rows_pkey'::regclass")
	b.connect()
	audit := b.compare()
	require.Equal(t, map[rows.Kind]int64{rows.Unindexed: 1}, audit.Count)
	require.EqualValues(t, 66000, audit.Findings[0].Seq)
	require.EqualValues(t, 70_000, audit.Intact, "the row is there")
	require.Zero(t, audit.Wrong())

	// Damage in the same segment is named from the heap, which is what counts.
	b.exec("set enable_indexscan = off", "set enable_bitmapscan = off", "delete from verify.rows where seq in (66000, 66001)")
	b.exec("set enable_indexscan = on", "set enable_bitmapscan = on")
	require.EqualValues(t, 2, b.compare().Count[rows.Lost])
}

func TestRowOnlyInTheIndexIsNamed(t *testing.T) {
	t.Parallel()
	b := setupOn(t, pgtest.Start(t))
	b.add(1000)
	// On an all-visible page an index-only scan does not look at the heap.
	b.exec("vacuum (freeze, analyze) verify.rows")
	var file string
	var block, item int
	require.NoError(t, b.conn.QueryRow(t.Context(), `
		select pg_relation_filepath('verify.rows'), (ctid::text::point)[0]::int, (ctid::text::point)[1]::int
		from verify.rows where seq = 500`).Scan(&file, &block, &item))
	b.exec("checkpoint")
	b.server.StopFast(t)

	// Take the row's line pointer away, as a lost page write can.
	path := filepath.Join(b.server.DataDirectory, file)
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	const pageSize, pageHeader = 8192, 24
	pointer := block*pageSize + pageHeader + (item-1)*4
	require.NotZero(t, binary.LittleEndian.Uint32(content[pointer:]))
	binary.LittleEndian.PutUint32(content[pointer:], 0)
	require.NoError(t, os.WriteFile(path, content, 0o600))
	b.server.DisableChecksums(t)

	b.server.Run(t)
	b.connect()
	audit := b.compare()
	require.Equal(t, map[rows.Kind]int64{rows.Lost: 1, rows.Dangling: 1}, audit.Count)
	require.EqualValues(t, 500, audit.Of(rows.Lost)[0].Seq)
	require.EqualValues(t, 500, audit.Of(rows.Dangling)[0].Seq)
}
