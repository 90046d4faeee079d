package register_test

import (
	"bytes"
	"context"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"stateful-postgres/verify/internal/commit"
	"stateful-postgres/verify/internal/ledger"
	"stateful-postgres/verify/internal/pgtest"
	"stateful-postgres/verify/internal/register"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// workload is a run against a server, by clients that connect anew when they have to.
type workload struct {
	t   *testing.T
	run *register.Run
	// dsn is where a client connects to.
	dsn func(client int) string
	// wrap gets between a client and its server; it may be nil.
	wrap func(client int, conn net.Conn) net.Conn
}

func newWorkload(t *testing.T, dsn string, options register.Options) *workload {
	t.Helper()
	w := &workload{t: t, dsn: func(int) string { return dsn }}
	w.run = register.NewRun(ledger.NewRunID(), time.Now(), options)
	session := w.connect(-1)
	require.NotNil(t, session)
	defer session.Close()
	require.NoError(t, register.Create(t.Context(), session.Exec))
	return w
}

// connect returns nil when there is no server.
func (w *workload) connect(client int) *commit.Session {
	config, err := pgx.ParseConfig(w.dsn(client))
	if err != nil {
		return nil
	}
	if dial := config.DialFunc; w.wrap != nil {
		config.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dial(ctx, network, address)
			if err == nil {
				conn = w.wrap(client, conn)
			}
			return conn, err
		}
	}
	ctx, cancel := context.WithTimeout(w.t.Context(), 5*time.Second)
	defer cancel()
	session, err := commit.Connect(ctx, config)
	if err != nil {
		return nil
	}
	return session
}

// work lets clients do operations until each has done its share, and returns how the transactions went.
// meanwhile, which may be nil, happens once a quarter of the work is done.
func (w *workload) work(clients, share int, meanwhile func()) map[commit.Outcome]int {
	w.t.Helper()
	var done atomic.Int64
	var all sync.WaitGroup
	var mutex sync.Mutex
	outcomes := map[commit.Outcome]int{}
	quarter := make(chan struct{})
	for i := range clients {
		all.Go(func() {
			client := w.run.Client(uint64(i))
			var session *commit.Session
			deadline := time.Now().Add(time.Minute)
			for left := share; left > 0 && time.Now().Before(deadline); {
				if session == nil || !session.Usable() {
					if session = w.connect(i); session == nil {
						time.Sleep(10 * time.Millisecond)
						continue
					}
					client.Use(session)
				}
				answer, err := client.Do(w.t.Context(), client.Next())
				if (err == nil) != (answer.Commit == commit.Acknowledged) {
					w.t.Errorf("%s: %v", answer.Commit, err)
				}
				mutex.Lock()
				outcomes[answer.Commit]++
				mutex.Unlock()
				if answer.Operation.Outcome != register.Done {
					continue
				}
				left--
				if done.Add(1) == int64(clients*share/4) {
					close(quarter)
				}
			}
			if session != nil {
				_ = session.Close()
			}
		})
	}
	if meanwhile != nil {
		<-quarter
		meanwhile()
	}
	all.Wait()
	require.GreaterOrEqual(w.t, done.Load(), int64(clients*share), "the clients did not come to their end")
	return outcomes
}

// look reads every key once more.
func (w *workload) look() {
	w.t.Helper()
	session := w.connect(0)
	require.NotNil(w.t, session)
	defer session.Close()
	client := w.run.Client(0)
	client.Use(session)
	require.NoError(w.t, client.Look(w.t.Context()))
}

func (w *workload) requireLinearizable() *register.Result {
	w.t.Helper()
	result := register.Check(w.t.Context(), w.run.Operations())
	require.Equal(w.t, register.Linearizable, result.Verdict, "%s\n%s", result, result.Shortest())
	return result
}

// requireViolated returns what shows that no order explains what came back, which is short.
func (w *workload) requireViolated() *register.Violation {
	w.t.Helper()
	operations := w.run.Operations()
	result := register.Check(w.t.Context(), operations)
	require.Equal(w.t, register.Violated, result.Verdict, "%s", result)
	violation := result.Shortest()
	w.t.Logf("%s\n%s", result, violation)
	require.LessOrEqual(w.t, len(violation.Operations), 6)
	require.Empty(w.t, showsItself(violation, operations))
	return violation
}

func count(operations []register.Operation, is func(register.Operation) bool) int {
	n := 0
	for _, op := range operations {
		if is(op) {
			n++
		}
	}
	return n
}

func TestPostgresIsLinearizable(t *testing.T) {
	t.Parallel()
	w := newWorkload(t, pgtest.Shared(t).CreateDatabase(t), register.Options{Keys: 3, PerKey: 100})
	outcomes := w.work(8, 150, nil)
	w.look()
	require.Equal(t, map[commit.Outcome]int{commit.Acknowledged: 1200}, outcomes)
	result := w.requireLinearizable()
	// That says something: there was everything that could have gone wrong.
	operations := w.run.Operations()
	require.Len(t, operations, 1200+w.run.Keys())
	require.Greater(t, w.run.Keys(), 8)
	require.Len(t, result.Keys, w.run.Keys())
	reads := count(operations, func(op register.Operation) bool { return op.Kind == register.Read && op.Found != 0 })
	writes := count(operations, func(op register.Operation) bool { return op.Kind == register.Write })
	took := count(operations, func(op register.Operation) bool { return op.Took })
	refused := count(operations, func(op register.Operation) bool { return op.Kind == register.Swap && !op.Took })
	inserted := count(operations, func(op register.Operation) bool { return op.Kind == register.Swap && op.Expected == 0 })
	t.Logf("%d reads of a value, %d writes, %d swaps took place (%d tried where nothing was), %d did not",
		reads, writes, took, inserted, refused)
	for _, n := range []int{reads, writes, took, refused} {
		require.Greater(t, n, 60)
	}
	atOnce := count(operations, func(op register.Operation) bool {
		return slices.ContainsFunc(operations, func(other register.Operation) bool {
			return other.Client != op.Client && other.Key == op.Key && other.CallUS <= op.ReturnUS && op.CallUS <= other.ReturnUS
		})
	})
	require.Greater(t, atOnce, 300)
	for _, key := range result.Keys {
		require.LessOrEqual(t, key.Operations, 150, "a fresh key takes the place of one that had enough")
	}
}

// conn is a connection that may do something else than to send what it is given.
type conn struct {
	net.Conn
	write func(conn net.Conn, data []byte) (int, error)
}

func (c conn) Write(data []byte) (int, error) { return c.write(c.Conn, data) }

func TestLostAnswersAreNoViolation(t *testing.T) {
	t.Parallel()
	w := newWorkload(t, pgtest.Shared(t).CreateDatabase(t), register.Options{Keys: 3, PerKey: 100})
	var mutex sync.Mutex
	random := rand.New(rand.NewPCG(1, 1))
	w.wrap = func(_ int, to net.Conn) net.Conn {
		return conn{to, func(to net.Conn, data []byte) (int, error) {
			mutex.Lock()
			chance := random.IntN(60)
			mutex.Unlock()
			atCommit := bytes.Contains(data, []byte("commit\x00"))
			if chance == 0 && atCommit || chance == 1 && bytes.Contains(data, []byte("verify.registers")) {
				// The server never sees it.
				to.Close()
			}
			n, err := to.Write(data)
			if chance == 2 && atCommit {
				// The answer is lost.
				to.Close()
			}
			return n, err
		}}
	}
	outcomes := w.work(8, 150, nil)
	w.wrap = nil
	w.look()
	require.Greater(t, outcomes[commit.Unknown], 10)
	require.Greater(t, outcomes[commit.Failed], 2)
	result := w.requireLinearizable()
	require.Equal(t, outcomes[commit.Unknown], result.Unknown)
	// Of the unknown ones some happened, and some did not.
	operations := w.run.Operations()
	unknown := count(operations, func(op register.Operation) bool {
		return op.Outcome == register.Unknown && (op.Kind == register.Write || op.Took)
	})
	happened := count(operations, func(op register.Operation) bool {
		return op.Outcome == register.Unknown && op.Kind != register.Read && slices.ContainsFunc(operations, func(saw register.Operation) bool {
			return saw.Kind == register.Read && saw.Found == op.Value && saw.Outcome == register.Done
		})
	})
	require.Greater(t, happened, 0)
	require.Less(t, happened, unknown)
	// Whoever got no answer went on as somebody else, who began later.
	last := map[int32]int64{}
	for _, op := range operations {
		last[op.Client] = max(last[op.Client], op.CallUS)
	}
	for _, op := range operations {
		if op.Outcome == register.Unknown {
			require.Equal(t, last[op.Client], op.CallUS)
		}
	}
}

func TestACrashIsNoViolation(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	w := newWorkload(t, server.CreateDatabase(t), register.Options{Keys: 3})
	outcomes := w.work(8, 150, func() {
		server.StopImmediate(t)
		server.Run(t)
	})
	w.look()
	require.Greater(t, outcomes[commit.Failed]+outcomes[commit.Unknown], 0)
	w.requireLinearizable()
}

func TestAFailoverToASynchronousStandbyIsNoViolation(t *testing.T) {
	t.Parallel()
	primary := pgtest.Start(t)
	dsn := primary.CreateDatabase(t)
	standby := primary.Standby(t, "second")
	primary.WaitFor(t, "second")
	w := newWorkload(t, dsn, register.Options{Keys: 3})
	elsewhere := at(t, dsn, standby)

	// A standby answers nobody: it does not take writes.
	w.dsn = func(int) string { return elsewhere }
	session := w.connect(0)
	require.NotNil(t, session)
	client := w.run.Client(1)
	client.Use(session)
	answer, err := client.Do(t.Context(), register.Operation{Kind: register.Read})
	require.ErrorContains(t, err, "read key 0: begin: ")
	require.Equal(t, commit.Failed, answer.Commit)
	require.Equal(t, register.Failed, answer.Operation.Outcome)
	require.Empty(t, w.run.Operations(), "nothing was said about the key")
	require.NoError(t, session.Close())

	var promoted atomic.Bool
	w.dsn = func(int) string {
		if promoted.Load() {
			return elsewhere
		}
		return dsn
	}
	w.work(8, 150, func() {
		primary.StopImmediate(t)
		standby.Promote(t)
		promoted.Store(true)
	})
	w.look()
	w.requireLinearizable()
}

// at is a connection string to the same database on another server.
func at(t *testing.T, dsn string, server *pgtest.Server) string {
	t.Helper()
	config, err := pgx.ParseConfig(dsn)
	require.NoError(t, err)
	return server.DSN(config.Database)
}

func TestAFailoverThatLosesWritesIsAViolation(t *testing.T) {
	t.Parallel()
	primary := pgtest.Start(t)
	dsn := primary.CreateDatabase(t)
	standby := primary.Standby(t, "second")
	w := newWorkload(t, dsn, register.Options{Keys: 3})
	primary.WaitFor(t, "second")
	w.work(4, 50, nil)
	w.requireLinearizable()
	// Nobody waits for the standby any more, which gets nothing any more.
	primary.WaitFor(t, "")
	standby.Exec(t, standby.DSN("postgres"), "alter system set primary_conninfo = ''", "select pg_reload_conf()")
	require.Eventually(t, func() bool {
		return primary.Query(t, "select count(*)::text from pg_stat_replication") == "0"
	}, 30*time.Second, 20*time.Millisecond)
	w.work(4, 50, nil)
	w.requireLinearizable()
	primary.StopImmediate(t)
	standby.Promote(t)
	elsewhere := at(t, dsn, standby)
	w.dsn = func(int) string { return elsewhere }
	w.look()
	require.Regexp(t, `^Client \d+ read (\d+|nothing) at .*, and \d+ is newer\.$`, w.requireViolated().Sentence)
}

func TestTwoPrimariesAreAViolation(t *testing.T) {
	t.Parallel()
	primary := pgtest.Start(t)
	dsn := primary.CreateDatabase(t)
	standby := primary.Standby(t, "second")
	primary.WaitFor(t, "second")
	w := newWorkload(t, dsn, register.Options{Keys: 3})
	w.work(4, 50, nil)
	w.requireLinearizable()
	// The old primary still answers one client.
	standby.Promote(t)
	primary.WaitFor(t, "")
	elsewhere := at(t, dsn, standby)
	w.dsn = func(client int) string {
		if client == 0 {
			return dsn
		}
		return elsewhere
	}
	w.work(4, 50, nil)
	w.requireViolated()
}

func TestReadsOfAnEarlierMomentAreAViolation(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	dsn := server.CreateDatabase(t)
	w := newWorkload(t, dsn, register.Options{Keys: 3})
	w.work(4, 50, nil)
	// Its name is as long, so that the messages stay well-formed.
	server.Exec(t, dsn, "create table verify.snapshots as table verify.registers")
	w.work(4, 50, nil)
	w.requireLinearizable()
	w.wrap = func(client int, to net.Conn) net.Conn {
		if client != 0 {
			return to
		}
		return conn{to, func(to net.Conn, data []byte) (int, error) {
			return to.Write(bytes.Replace(data, []byte("select value from verify.registers"), []byte("select value from verify.snapshots"), 1))
		}}
	}
	w.work(4, 50, nil)
	violation := w.requireViolated()
	require.Regexp(t, `^Client \d+ read (\d+|nothing) at .*, and \d+ is newer\.$`, violation.Sentence)
}

func TestWritesThatAreNotKeptAreAViolation(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	dsn := server.CreateDatabase(t)
	w := newWorkload(t, dsn, register.Options{Keys: 3})
	server.Exec(t, dsn, `create function forget() returns trigger language plpgsql as $$
			begin return case when new.value % 20 = 0 then old else new end; end $$`,
		`create trigger forget before update on verify.registers for each row execute function forget()`)
	w.work(4, 100, nil)
	w.requireViolated()
}

func TestSwapsThatTakePlaceInAnyCaseAreAViolation(t *testing.T) {
	t.Parallel()
	w := newWorkload(t, pgtest.Shared(t).CreateDatabase(t), register.Options{Keys: 3})
	w.wrap = func(_ int, to net.Conn) net.Conn {
		return conn{to, func(to net.Conn, data []byte) (int, error) {
			if at := bytes.Index(data, []byte(" and value = ")); at >= 0 && bytes.Contains(data, []byte("update verify.registers")) {
				data = slices.Clone(data)
				copy(data[at:], " and value > ")
				end := at + len(" and value > ") + bytes.IndexByte(data[at+len(" and value > "):], 0)
				for i := at + len(" and value > "); i < end; i++ {
					data[i] = '0'
				}
			}
			return to.Write(data)
		}}
	}
	w.work(4, 100, nil)
	w.requireViolated()
}

func TestACommitOnThePrimaryAloneIsNotDone(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	dsn := server.CreateDatabase(t)
	w := newWorkload(t, dsn, register.Options{})
	session := w.connect(0)
	require.NotNil(t, session)
	defer session.Close()
	client := w.run.Client(1)
	client.Use(session)
	server.Exec(t, server.DSN("postgres"), "alter system set synchronous_standby_names = 'nobody'", "select pg_reload_conf()")
	require.Eventually(t, func() bool {
		return server.Query(t, "show synchronous_standby_names") == "nobody"
	}, 30*time.Second, 20*time.Millisecond)

	type result struct {
		answer register.Answer
		err    error
	}
	written := make(chan result, 1)
	go func() {
		answer, err := client.Do(t.Context(), register.Operation{Kind: register.Write, Value: 5})
		written <- result{answer, err}
	}()
	require.Eventually(t, func() bool {
		return server.Query(t, "select count(pg_cancel_backend(pid))::text from pg_stat_activity where wait_event = 'SyncRep'") == "1"
	}, 30*time.Second, 20*time.Millisecond)
	write := <-written
	answer := write.answer
	require.NoError(t, write.err)
	require.Equal(t, commit.AcknowledgedLocally, answer.Commit)
	require.Equal(t, register.Unknown, answer.Operation.Outcome)

	read, err := client.Do(t.Context(), register.Operation{Kind: register.Read})
	require.NoError(t, err, "a read has nothing to wait for")
	require.EqualValues(t, 5, read.Operation.Found)
	require.NotEqual(t, answer.Operation.Client, read.Operation.Client)
	require.Equal(t, []register.Operation{answer.Operation, read.Operation}, w.run.Operations())
}

func TestOperationsSayWhatTheServerSaid(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Shared(t).CreateDatabase(t)
	w, other := newWorkload(t, dsn, register.Options{}), newWorkload(t, dsn, register.Options{})
	session := w.connect(0)
	require.NotNil(t, session)
	defer session.Close()
	client, neighbour := w.run.Client(1), other.run.Client(1)
	client.Use(session)
	neighbour.Use(session)
	do := func(client *register.Client, op register.Operation) register.Operation {
		t.Helper()
		before := time.Now()
		answer, err := client.Do(t.Context(), op)
		require.NoError(t, err)
		require.Equal(t, commit.Acknowledged, answer.Commit)
		require.Equal(t, register.Done, answer.Operation.Outcome)
		require.Greater(t, answer.Operation.CallUS, int64(0))
		require.Greater(t, answer.Operation.ReturnUS, answer.Operation.CallUS)
		require.LessOrEqual(t, answer.Took, time.Since(before))
		require.Greater(t, answer.Took.Microseconds(), answer.Operation.ReturnUS-answer.Operation.CallUS-1)
		return answer.Operation
	}
	read := func() int64 { return do(client, register.Operation{Kind: register.Read, Key: 7}).Found }
	swap := func(expected, value int64) bool {
		return do(client, register.Operation{Kind: register.Swap, Key: 7, Expected: expected, Value: value}).Took
	}
	require.Zero(t, read())
	require.False(t, swap(4, 1))
	require.True(t, swap(0, 2))
	require.False(t, swap(0, 3))
	require.EqualValues(t, 2, read())
	do(client, register.Operation{Kind: register.Write, Key: 7, Value: 4})
	require.False(t, swap(2, 5))
	require.True(t, swap(4, 6))
	require.EqualValues(t, 6, read())
	require.Zero(t, do(neighbour, register.Operation{Kind: register.Read, Key: 7}).Found, "another run has other keys")
	do(neighbour, register.Operation{Kind: register.Write, Key: 7, Value: 9})
	require.EqualValues(t, 6, read())
	require.Len(t, w.run.Operations(), 10)
	w.requireLinearizable()
}

func TestTheTableIsMadeOnce(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Shared(t).CreateDatabase(t)
	var all sync.WaitGroup
	for range 6 {
		all.Go(func() {
			config, err := pgx.ParseConfig(dsn)
			if err != nil {
				t.Error(err)
				return
			}
			session, err := commit.Connect(t.Context(), config)
			if err != nil {
				t.Error(err)
				return
			}
			defer session.Close()
			for range 3 {
				if err := register.Create(t.Context(), session.Exec); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
}

func TestARecordThatIsFullTakesTheLastLookOnly(t *testing.T) {
	t.Parallel()
	w := newWorkload(t, pgtest.Shared(t).CreateDatabase(t), register.Options{Keys: 2, Limit: 10})
	session := w.connect(0)
	require.NotNil(t, session)
	defer session.Close()
	client := w.run.Client(1)
	client.Use(session)
	for range 10 {
		_, err := client.Do(t.Context(), client.Next())
		require.NoError(t, err)
	}
	_, err := client.Do(t.Context(), client.Next())
	require.ErrorIs(t, err, register.ErrFull)
	require.Len(t, w.run.Operations(), 10)
	require.NoError(t, client.Look(t.Context()))
	require.Len(t, w.run.Operations(), 12)
}

func TestARecordLastsAsLongAsTheRun(t *testing.T) {
	t.Parallel()
	lasts := 2 * time.Second
	w := newWorkload(t, pgtest.Shared(t).CreateDatabase(t), register.Options{})
	session := w.connect(0)
	require.NotNil(t, session)
	defer session.Close()
	for _, test := range []struct {
		options register.Options
		enough  bool
	}{{register.Options{Limit: 100, Lasts: lasts}, true}, {register.Options{Limit: 100}, false}} {
		began := time.Now()
		client := register.NewRun(ledger.NewRunID(), began, test.options).Client(1)
		client.Use(session)
		for time.Since(began) < lasts*9/10 {
			client.Wait(t.Context())
			if _, err := client.Do(t.Context(), client.Next()); err != nil {
				require.ErrorIs(t, err, register.ErrFull)
				break
			}
		}
		require.Equal(t, test.enough, time.Since(began) >= lasts*9/10)
	}
	run := register.NewRun(1, time.Now().Add(time.Hour), register.Options{Lasts: time.Hour})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	run.Client(1).Wait(ctx)
}

func TestThereAreMoreKeysForMoreClients(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ keys, clients, expected int }{{0, 1, 5}, {0, 15, 5}, {0, 16, 6}, {0, 256, 86}, {4, 256, 4}} {
		run := register.NewRun(1, time.Now(), register.Options{Keys: test.keys})
		picked := map[int32]bool{}
		for i := range test.clients {
			client := run.Client(uint64(i))
			for range 100 {
				picked[client.Next().Key] = true
			}
		}
		require.Equal(t, test.expected, run.Keys())
		require.Len(t, picked, test.expected)
	}
}

func TestASeedDecidesWhatAClientDoes(t *testing.T) {
	t.Parallel()
	pick := func(seed uint64) []register.Operation {
		client := register.NewRun(1, time.Now(), register.Options{}).Client(seed)
		var picked []register.Operation
		for range 100 {
			picked = append(picked, client.Next())
		}
		return picked
	}
	require.Equal(t, pick(1), pick(1))
	require.NotEqual(t, pick(1), pick(2))
	values := map[int64]bool{}
	run := register.NewRun(1, time.Now(), register.Options{})
	for seed := range uint64(4) {
		client := run.Client(seed)
		for range 100 {
			if op := client.Next(); op.Value != 0 {
				require.False(t, values[op.Value], "a value is written twice")
				values[op.Value] = true
			}
		}
	}
	require.Greater(t, len(values), 50)
	require.NotEqual(t, ledger.NewRunID(), ledger.NewRunID())
}
