package components

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// callers answer as pg_isready does with the given status, and record what psql
// was given. A login with a password ends with LOGIN, everything else with PSQL.
func callers(status string) map[string]string {
	return map[string]string{
		"pg_isready": `echo "pg_isready: $* at $PGHOST:$PGPORT" >>"$RECORD"; exit ` + status,
		"psql": `echo "psql: $* at $PGHOST:$PGPORT as $PGUSER in $PGDATABASE" >>"$RECORD"
echo "options: $PGOPTIONS" >>"$RECORD"
if [ -n "${PGPASSWORD-}" ]; then echo "login: $PGPASSWORD" >>"$RECORD"; exit "${LOGIN:-0}"; fi
cat >>"$RECORD"
if [ -n "${SAYS-}" ]; then echo "$SAYS" >&2; fi
exit "${PSQL:-0}"`,
		"timeout": `echo "timeout: $1" >>"$RECORD"; shift; exec "$@"`,
		// Whoever waits need not wait for long.
		"sleep": `echo "sleep: $1" >>"$RECORD"`,
	}
}

// newRunning is a pod whose server says of itself what the last line of its
// postmaster.pid says. It was ready before when it was started.
func newRunning(t *testing.T, status, says string, started bool) *pod {
	t.Helper()
	p := newPod(t, callers(status))
	p.write(t, "PG_VERSION")
	require.NoError(t, os.WriteFile(filepath.Join(p.data, "postmaster.pid"),
		[]byte(fmt.Sprintf("%d\n%s\n1700000000\n6543\n/somewhere\n*\n  100 200\n%-8s", os.Getpid(), p.data, says)), 0o600))
	if started {
		p.put(t, "started", "")
		p.put(t, "ready", "")
	}
	return p
}

// put writes one of the files by which the scripts know about a start.
func (p *pod) put(t *testing.T, name, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(p.dir, name), []byte(text), 0o600))
}

func TestReadyOnceTheRoleHasThePassword(t *testing.T) {
	t.Parallel()
	const secret = `it's "$HOME" \ %s`
	for _, test := range []struct {
		name, login string
		written     bool
	}{{"it has it", "0", false}, {"it has another", "2", true}} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := newRunning(t, "0", "ready", false)
			p.env = append(p.env, "LOGIN="+test.login)
			require.Zero(t, p.run(t, "ready.sh"), p.console.String())
			require.Empty(t, p.console.String(), "the output of a probe ends up in events")
			record := p.record(t)
			require.Contains(t, record, "psql: --no-psqlrc --quiet --no-password --host=127.0.0.1 --command= at /somewhere:6543 as clerk in shop\n")
			require.Contains(t, record, "login: "+secret+"\n")
			require.Equal(t, test.written, strings.Contains(record, "psql: --no-psqlrc --quiet --no-password --command=\\password at /somewhere:6543"))
			require.Equal(t, test.written, strings.Contains(record, strings.Repeat(secret+"\n", 2)))
			for line := range strings.Lines(record) {
				if strings.HasPrefix(line, "psql: ") || strings.HasPrefix(line, "options: ") {
					require.NotContains(t, line, "it's", "a command line can be read by everybody on the node")
				}
			}
			require.NotContains(t, record, "pg_isready", "the login was the proof")

			require.NoError(t, os.Remove(filepath.Join(p.dir, "record")))
			require.Zero(t, p.run(t, "ready.sh"))
			require.Equal(t, "sleep: 4\npg_isready: --quiet --host=127.0.0.1 at /somewhere:6543\n", p.record(t), "once is enough")
		})
	}
}

func TestNotReadyWhenThePasswordCouldNotBeSet(t *testing.T) {
	t.Parallel()
	p := newRunning(t, "0", "ready", false)
	p.env = append(p.env, "LOGIN=2", "PSQL=1", `SAYS=ERROR:  role "clerk" does not exist`)
	for range 2 {
		p.console.Reset()
		require.Equal(t, 1, p.run(t, "ready.sh"))
		require.Equal(t, "ERROR:  role \"clerk\" does not exist\n"+
			"role clerk does not have the password of the Secret, and could not be given it\n", p.console.String())
		require.NoFileExists(t, filepath.Join(p.dir, "started"))
	}
}

func TestNotReadySaysWhy(t *testing.T) {
	t.Parallel()
	const refused = `psql: error: connection to server at "127.0.0.1", port 6543 failed: FATAL:  the database system is starting up`
	for _, test := range []struct {
		name    string
		says    string
		started bool
		prepare func(t *testing.T, p *pod)
		expect  string
	}{
		{"waits for the volume", "", false, func(t *testing.T, p *pod) {
			p.put(t, "start.doing", "waiting\n")
			require.NoError(t, os.WriteFile(p.data+".lock", []byte("pod postgres-0 (uid 1) on node a since 2026-01-01T00:00:00Z\n"), 0o600))
		}, "waiting for the volume: pod postgres-0 (uid 1) on node a since 2026-01-01T00:00:00Z still lives on it. This pod starts as soon as that one is gone\n"},
		{"waits for a volume that is full", "", false, func(t *testing.T, p *pod) {
			p.put(t, "start.doing", "waiting\n")
			require.NoError(t, os.WriteFile(p.data+".lock", nil, 0o600))
		}, "waiting for the volume: another pod still lives on it. This pod starts as soon as that one is gone\n"},
		{"initializes", "", false, func(t *testing.T, p *pod) {
			p.put(t, "start.doing", "initializing the volume: running /docker-entrypoint-initdb.d/10-rows.sql\n")
		}, "initializing the volume: running /docker-entrypoint-initdb.d/10-rows.sql\n"},
		{"recovers", "starting", false, func(t *testing.T, p *pod) {
			p.put(t, "start.doing", "serving\n")
		}, "the server does not take connections: connection to server at \"127.0.0.1\", port 6543 failed: FATAL:  the database system is starting up\n"},
		{"recovers from a crash", "starting", true, func(*testing.T, *pod) {},
			"the server does not take connections: connection to server at \"127.0.0.1\", port 6543 failed: FATAL:  the database system is starting up\n"},
		{"hangs", "ready", true, func(_ *testing.T, p *pod) { p.env = append(p.env, "SAYS=", "PSQL=124") },
			"the server does not take connections: no answer within 5 seconds\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := newRunning(t, "1", test.says, test.started)
			p.env = append(p.env, "PSQL=2", "SAYS="+refused+"\n\tIs the server running?")
			test.prepare(t, p)
			require.Equal(t, 1, p.run(t, "ready.sh"))
			require.Equal(t, test.expect, p.console.String())
		})
	}
}

func TestRunOfTheReadinessProbeTakesLongerThanItsPeriod(t *testing.T) {
	t.Parallel()
	s := setup(t, nil, nil)
	for _, test := range []struct {
		name, says     string
		started        bool
		code           int
		interval, most float64
	}{
		{"waits for the first answer", "starting", false, 1, 0.1, 10},
		{"leaves a server alone that answered", "ready", true, 0, 4, 4},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := newRunning(t, "0", test.says, test.started)
			require.Equal(t, test.code, p.run(t, "ready.sh"))
			var waited float64
			for line := range strings.Lines(p.record(t)) {
				if text, found := strings.CutPrefix(strings.TrimSpace(line), "sleep: "); found {
					seconds, err := strconv.ParseFloat(text, 64)
					require.NoError(t, err)
					require.LessOrEqual(t, seconds, test.interval)
					waited += seconds
				}
			}
			require.Greater(t, waited, 2*s.container(t, "readinessProbe", "periodSeconds").(float64), "one run follows the other without a gap")
			require.LessOrEqual(t, waited, test.most)
			require.Less(t, test.most, s.container(t, "readinessProbe", "timeoutSeconds").(float64)/2)
		})
	}
}

func TestServerThatAnswersAgainIsReadyAtOnce(t *testing.T) {
	t.Parallel()
	p := newRunning(t, "1", "ready", true)
	p.env = append(p.env, "PSQL=2", "SAYS=psql: error: the database system is in recovery mode")
	require.Equal(t, 1, p.run(t, "ready.sh"))
	require.Equal(t, "the server does not take connections: the database system is in recovery mode\n", p.console.String())
	p.program(t, "pg_isready", `echo "pg_isready: $*" >>"$RECORD"; exit 0`)
	require.NoError(t, os.Remove(filepath.Join(p.dir, "record")))
	require.Zero(t, p.run(t, "ready.sh"))
	require.Equal(t, "pg_isready: --quiet --host=127.0.0.1\n", p.record(t), "without a pause, and without another look at the password")
}

// Every failover leaves the current segment of the log under one more timeline.
func TestServerThatTookTheWritesOverBeginsASegment(t *testing.T) {
	t.Parallel()
	p := newRunning(t, "0", "ready", false)
	require.NoError(t, os.WriteFile(filepath.Join(p.dir, "bin", "python3"), []byte("#!/bin/sh\nexit 0\n"), 0o755))
	p.put(t, "REPLICATION_PASSWORD", "hunter2")
	p.env = append(p.env, "HIGH_AVAILABILITY=true", "MEMBERS_SECRET="+p.dir, "REPLICATION_USER=ha")
	const begins = "SELECT pg_switch_wal()"
	require.Zero(t, p.run(t, "ready.sh"), p.console.String())
	require.Equal(t, 1, strings.Count(p.record(t), begins))

	require.Zero(t, p.run(t, "ready.sh"), p.console.String())
	require.Equal(t, 1, strings.Count(p.record(t), begins), "once is enough")

	p.write(t, "standby.signal")
	require.Zero(t, p.run(t, "ready.sh"), p.console.String())
	require.Equal(t, 1, strings.Count(p.record(t), begins), "a standby cannot")
	require.NoError(t, os.Remove(filepath.Join(p.data, "standby.signal")))
	require.Zero(t, p.run(t, "ready.sh"), p.console.String())
	require.Equal(t, 2, strings.Count(p.record(t), begins), "it took the writes over")

	for timeline, times := range []int{3, 4} {
		p.write(t, fmt.Sprintf("pg_wal/0000000%d.history", 2+timeline))
		for range 2 {
			require.Zero(t, p.run(t, "ready.sh"), p.console.String())
			require.Equal(t, times, strings.Count(p.record(t), begins), "it was restarted")
		}
	}
}

// Patroni tries for ever to start a server whose files were taken away, and says nothing of it to Kubernetes.
func TestMemberWithoutItsFilesSaysWhatToDo(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		member bool
		file   string
		says   string
	}{
		"its files are gone": {true, "standby.signal", "the server's files are gone from its volume; delete the pod, and it copies the primary's\n"},
		"it copies":          {true, "../pgdata.copying/PG_VERSION", "the server does not take connections: timeout expired\n"},
		"it has them":        {true, "PG_VERSION", "the server does not take connections: timeout expired\n"},
		"it is the only one": {false, "standby.signal", "the server does not take connections: timeout expired\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newRunning(t, "2", "ready", true)
			require.NoError(t, os.RemoveAll(p.data))
			p.write(t, test.file)
			p.env = append(p.env, "PSQL=2", "SAYS=psql: error: timeout expired", fmt.Sprintf("HIGH_AVAILABILITY=%t", test.member))
			require.Equal(t, 1, p.run(t, "ready.sh"))
			require.Equal(t, test.says, p.console.String())
		})
	}
}

func TestServerThatAnswersAnythingIsAlive(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, status string
		alive        bool
	}{
		{"accepting connections", "0", true},
		{"starting up, recovering or shutting down", "1", true},
		{"no response", "2", false},
		{"no attempt was made", "3", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := newRunning(t, test.status, "ready", true)
			p.env = append(p.env, "PSQL=2", "SAYS=psql: error: timeout expired")
			require.Equal(t, test.alive, p.run(t, "alive.sh") == 0)
			if test.alive {
				require.Empty(t, p.console.String())
			} else {
				require.Equal(t, "the server does not take connections: timeout expired\n", p.console.String())
			}
			require.Zero(t, newRunning(t, test.status, "starting", false).run(t, "alive.sh"), "it was not ready yet, and may take its time")
		})
	}
}

func TestServerThatWasReadyBeforeAnotherStartHasToBecomeReadyAgain(t *testing.T) {
	t.Parallel()
	programs := image("")
	for name, body := range callers("2") {
		programs[name] = body
	}
	p := newPod(t, programs)
	p.write(t, "PG_VERSION")
	p.put(t, "started", "")
	require.Zero(t, p.run(t, "start.sh"))
	require.NoFileExists(t, filepath.Join(p.dir, "started"))
	require.Zero(t, p.run(t, "alive.sh"), "nobody is killed for a start")
}

func TestStopGoesOnWhetherTheCheckpointFinishesOrNot(t *testing.T) {
	t.Parallel()
	for _, status := range []string{"0", "2", "124"} {
		p := newRunning(t, "0", "ready", true)
		p.env = append(p.env, "PSQL="+status)
		require.Zero(t, p.run(t, "checkpoint.sh", "60"))
		require.Contains(t, p.record(t), "timeout: 60\n")
		require.Contains(t, p.record(t), "--command=CHECKPOINT")
		require.Contains(t, p.record(t), "-c statement_timeout=0", "whatever the database is set to")
	}
}

// TestKilledProbeLeavesTheServerAlone: what a killed process has started becomes
// the server's child, and the server throws all clients out when a child ends
// with more than 1.
func TestKilledProbeLeavesTheServerAlone(t *testing.T) {
	t.Parallel()
	// Like process 1 of a container, this one is given the orphans.
	const setChildSubreaper = 36
	_, _, failed := syscall.Syscall(syscall.SYS_PRCTL, setChildSubreaper, 1, 0)
	require.Zero(t, failed)
	for _, script := range []string{"ready.sh", "alive.sh", "checkpoint.sh"} {
		t.Run(script, func(t *testing.T) {
			t.Parallel()
			p := newRunning(t, "2", "ready", true)
			// They hang until they are told to fail.
			for _, name := range []string{"pg_isready", "psql"} {
				p.program(t, name, `echo "child: $$" >>"$RECORD"; while [ ! -e "$RECORD.go" ]; do /bin/sleep 0.05; done; exit 2`)
			}
			probe := p.command(script, "60")
			require.NoError(t, probe.Start())
			p.child(t)
			children := childrenOf(probe.Process.Pid)
			require.Len(t, children, 1)
			require.NoError(t, probe.Process.Kill())
			require.Error(t, probe.Wait())
			require.NoError(t, os.WriteFile(filepath.Join(p.dir, "record.go"), nil, 0o600))
			var status syscall.WaitStatus
			_, err := syscall.Wait4(children[0], &status, 0, nil)
			require.NoError(t, err)
			require.True(t, status.Exited())
			require.LessOrEqual(t, status.ExitStatus(), 1)
		})
	}
}

// childrenOf are the processes that a process has started.
func childrenOf(process int) []int {
	var children []int
	folders, _ := filepath.Glob("/proc/[0-9]*")
	for _, folder := range folders {
		number, err := strconv.Atoi(filepath.Base(folder))
		if err != nil {
			continue
		}
		if _, parent := look(number); parent == process {
			children = append(children, number)
		}
	}
	return children
}

// startServer starts the pod with a real server that listens on a port of its own.
func (p *pod) startServer(t *testing.T, arguments ...string) *start {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	port := listener.Addr().(*net.TCPAddr).Port
	require.NoError(t, listener.Close())
	return p.begin(t, append([]string{
		"-c", "config_file=" + filepath.Join(p.dir, "server.conf"), "-c", "hba_file=" + filepath.Join(p.data, "pg_hba.conf"),
		"-c", "listen_addresses=127.0.0.1", "-c", "port=" + strconv.Itoa(port), "-c", "unix_socket_directories=" + p.dir,
	}, arguments...)...)
}

// newDatabase is a pod with a real server that has the database of the settings,
// and whose configuration is the file that the kubelet exchanges.
func newDatabase(t *testing.T) (*pod, *start) {
	t.Helper()
	p := newServer(t)
	config := filepath.Join(p.dir, "server.conf")
	p.configure(t, "")
	p.env = append(p.env, "RELOADED_FILES="+config)
	s := p.startServer(t)
	s.waitFor("database system is ready to accept connections")
	p.sql(t, "postgres", "create database shop")
	return p, s
}

// configure writes the server's configuration.
func (p *pod) configure(t *testing.T, text string) {
	t.Helper()
	path := filepath.Join(p.dir, "server.conf")
	require.NoError(t, os.WriteFile(path, []byte("include_if_exists = '"+p.data+"/postgresql.conf'\n"+text), 0o644))
}

// psql is a client at the socket. Its options are those of a user.
func (p *pod) psql(database string, statements ...string) *exec.Cmd {
	text, _ := os.ReadFile(filepath.Join(p.data, "postmaster.pid"))
	lines := strings.Split(string(text), "\n")
	arguments := []string{"--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1"}
	for _, statement := range statements {
		arguments = append(arguments, "--command="+statement)
	}
	command := exec.Command("psql", arguments...)
	command.Env = append(slices.Clip(os.Environ()), "PGHOST="+p.dir, "PGPORT="+lines[3], "PGUSER=clerk", "PGDATABASE="+database)
	return command
}

func (p *pod) sql(t *testing.T, database string, statements ...string) string {
	t.Helper()
	output, err := p.psql(database, statements...).CombinedOutput()
	require.NoError(t, err, "%s", output)
	return strings.TrimSpace(string(output))
}

// probe runs a probe as the kubelet does.
func (p *pod) probe(t *testing.T, script string) int {
	t.Helper()
	p.console.Reset()
	command := p.command(script)
	command.Stdout, command.Stderr = &p.console, &p.console
	command.SysProcAttr = &syscall.SysProcAttr{Credential: p.account}
	if err := command.Run(); err != nil {
		var exit *exec.ExitError
		require.ErrorAs(t, err, &exit)
	}
	return command.ProcessState.ExitCode()
}

// waitReady runs the readiness probe again and again, as the kubelet does.
func (p *pod) waitReady(t *testing.T) {
	t.Helper()
	for end := time.Now().Add(patience); p.probe(t, "ready.sh") != 0; {
		require.True(t, time.Now().Before(end), p.console.String())
	}
}

func TestProbeThatCameTooEarlyIsReadyAsSoonAsTheServerIs(t *testing.T) {
	t.Parallel()
	p, s := newDatabase(t)
	s.signal(syscall.SIGINT)
	s.exited()

	type result struct {
		code int
		at   time.Time
	}
	done := make(chan result, 1)
	go func() {
		code := p.probe(t, "ready.sh")
		done <- result{code, time.Now()}
	}()
	again := p.startServer(t)
	again.waitFor("database system is ready to accept connections")
	answers := time.Now()
	ready := <-done
	require.Zero(t, ready.code, p.console.String())
	t.Logf("ready %s after the server", ready.at.Sub(answers))
	require.Less(t, ready.at.Sub(answers), 3*time.Second)
}

func TestNothingThatAServerIsSetToKeepsItFromBeingReady(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name       string
		statements []string
	}{
		{"read only", []string{"alter system set default_transaction_read_only = on"}},
		{"a standby that does not come", []string{"alter system set synchronous_standby_names = '*'", "alter system set synchronous_commit = remote_apply"}},
		{"a library that is missing", []string{"alter system set session_preload_libraries = 'nosuch'"}},
		{"of the role", []string{
			"alter role clerk set local_preload_libraries = 'nosuch'",
			"alter role clerk set default_transaction_read_only = on", "alter role clerk set statement_timeout = 1",
			"alter role clerk in database shop set password_encryption = md5",
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p, s := newDatabase(t)
			require.Zero(t, p.probe(t, "ready.sh"), p.console.String())
			stored := func() string {
				// As somebody would have to.
				client := p.psql("shop", "select rolpassword from pg_authid where rolname = 'clerk'")
				client.Env = append(client.Env, "PGOPTIONS=-c session_preload_libraries= -c local_preload_libraries= -c statement_timeout=0")
				password, err := client.Output()
				require.NoError(t, err)
				return string(password)
			}
			before := stored()
			require.Contains(t, before, "SCRAM-SHA-256$")
			p.sql(t, "shop", append([]string{"set synchronous_commit = local"}, test.statements...)...)
			restart := func() {
				s.signal(syscall.SIGINT)
				s.exited()
				s = p.startServer(t)
				p.waitReady(t)
			}
			restart()
			require.Equal(t, before, stored(), "there was nothing to write")

			p.put(t, "password", "another one")
			restart()
			require.NotEqual(t, before, stored())
			require.NotContains(t, s.console(), "another one")
			client := exec.Command("psql", "--no-psqlrc", "--host=127.0.0.1", "--command=")
			client.Env = append(p.psql("shop").Env, "PGPASSWORD=another one", "PGOPTIONS=-c session_preload_libraries= -c local_preload_libraries=")
			output, err := client.CombinedOutput()
			require.NoError(t, err, "%s", output)
		})
	}
}

func TestReloadNeedsNoLogin(t *testing.T) {
	t.Parallel()
	p, s := newDatabase(t)
	require.Zero(t, p.probe(t, "ready.sh"), p.console.String())
	reloaded := func() int { return strings.Count(s.console(), "received SIGHUP, reloading configuration files") }

	p.configure(t, "session_preload_libraries = 'nosuch'\n")
	require.Zero(t, p.probe(t, "ready.sh"), p.console.String())
	require.Eventually(t, func() bool { return reloaded() == 1 && p.psql("shop", "select 1").Run() != nil }, patience, poll, "nobody can log in")
	require.Zero(t, p.probe(t, "ready.sh"), "it does not go off its Service for that: %s", p.console.String())

	p.configure(t, "work_mem = '9MB'\n")
	require.Zero(t, p.probe(t, "ready.sh"), p.console.String())
	require.Eventually(t, func() bool { return p.psql("shop", "select 1").Run() == nil }, patience, poll, "the correction came")
	require.Equal(t, "9MB", p.sql(t, "shop", "show work_mem"))
	require.Equal(t, 2, reloaded())
	require.Zero(t, p.probe(t, "ready.sh"))
	require.Equal(t, 2, reloaded(), "each change once")
}

func TestReloadNeedsNoFreeConnection(t *testing.T) {
	t.Parallel()
	p, s := newDatabase(t)
	s.signal(syscall.SIGINT)
	s.exited()
	s = p.startServer(t, "-c", "max_connections=4", "-c", "superuser_reserved_connections=0", "-c", "max_wal_senders=0")
	p.waitReady(t)
	require.Eventually(t, func() bool {
		output, _ := p.psql("shop", "select 1").CombinedOutput()
		if strings.Contains(string(output), "too many clients") {
			return true
		}
		// One more client that stays; a look from above may have taken its place.
		client := p.psql("shop", "select pg_sleep(600)")
		require.NoError(t, client.Start())
		t.Cleanup(func() {
			_ = client.Process.Kill()
			_ = client.Wait()
		})
		return false
	}, patience, 100*time.Millisecond)
	p.configure(t, "work_mem = '9MB'\n")
	require.Zero(t, p.probe(t, "ready.sh"), p.console.String())
	s.waitFor(`parameter "work_mem" changed to "9MB"`)
	require.Zero(t, p.probe(t, "alive.sh"), p.console.String())
}

func TestCorrectionReachesAServerThatIsNotReady(t *testing.T) {
	t.Parallel()
	p, s := newDatabase(t)
	p.sql(t, "postgres", "alter database shop rename to attic")
	require.Equal(t, 1, p.probe(t, "ready.sh"))
	require.Contains(t, p.console.String(), `database "shop" does not exist`)
	p.configure(t, "work_mem = '10MB'\n")
	require.Equal(t, 1, p.probe(t, "ready.sh"))
	s.waitFor(`parameter "work_mem" changed to "10MB"`)
}
