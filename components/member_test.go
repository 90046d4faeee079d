package components

import (
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// memberImage is an image with Patroni. What the scripts ask Patroni's ConfigMaps
// is answered from the environment: TRUSTED has every acknowledged write.
func memberImage() map[string]string {
	programs := image("")
	maps.Copy(programs, map[string]string{
		"patroni":       `echo "patroni" >>"$RECORD"`,
		"pg_rewind":     "",
		"pg_basebackup": "",
		"python3": `if [ -n "${UNREACHABLE-}" ]; then echo "the API server cannot be reached: timed out" >"$TMPDIR/members.error"; exit 1; fi
case $2 in
trusted) echo "$TRUSTED" ;;
primary) echo "${PRIMARY-}" ;;
leader) echo "${TRUSTED%% *}" ;;
seed) echo "seed" >>"$RECORD" ;;
esac`,
	})
	return programs
}

func newMember(t *testing.T, name, trusted string) *pod {
	t.Helper()
	p := newPod(t, memberImage())
	secret := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(secret, "REPLICATION_PASSWORD"), []byte("hunter2"), 0o600))
	p.env = append(p.env, "HIGH_AVAILABILITY=true", "STATEFUL_SET=postgres", "MEMBERS=postgres-ha", "NAMESPACE=shop",
		"POD_NAME="+name, "TRUSTED="+trusted, "MEMBERS_SECRET="+secret)
	return p
}

// An empty volume is filled from the server that has every write. A new database
// begins only where there never was one.
func TestEmptyVolumeOfAMember(t *testing.T) {
	t.Parallel()
	const (
		copies  = "start: the volume is empty; the server copies the primary's files (ConfigMap postgres-ha-sync: "
		refused = "start: nothing was started: "
		again   = "begin again without the old rows: pulumi config set initializeEmptyVolume true\n"
		alone   = refused + "only this server had every acknowledged write (ConfigMap postgres-ha-sync), and its volume is empty: " +
			"it was deleted or exchanged. Nothing was initialized. Restore the volume, or " + again
		lost = "start: this server had data, and its volume is empty: it was deleted or exchanged. " +
			"Nothing was initialized. Restore the volume, or " + again
		initialized = "PostgreSQL init process complete\n"
	)
	const member, expected = "volume/pgdata.member", "expected/README"
	for name, test := range map[string]struct {
		pod, trusted string
		files        []string
		variable     string
		says         string
		record       string
	}{
		"first start, the first":          {"postgres-0", "", nil, "", initialized, "seed\npatroni\n"},
		"first start, another":            {"postgres-1", "", nil, "", copies + "nobody yet)\n", "patroni\n"},
		"another has every write":         {"postgres-0", "postgres-1", []string{expected}, "", copies + "postgres-1)\n", "patroni\n"},
		"without the marker":              {"postgres-0", "postgres-1 postgres-2", nil, "", copies + "postgres-1 postgres-2)\n", "patroni\n"},
		"a standby has every write":       {"postgres-0", "postgres-0 postgres-2", []string{expected}, "", copies + "postgres-2)\n", "patroni\n"},
		"only the first had every write":  {"postgres-0", "postgres-0", []string{expected}, "", alone, ""},
		"only it had, without the marker": {"postgres-0", "postgres-0", nil, "", alone, ""},
		"only it had, emptied":            {"postgres-0", "postgres-0", []string{expected, member}, "", alone, ""},
		"only another had every write":    {"postgres-1", "postgres-1", []string{expected}, "", alone, ""},
		"nobody knows":                    {"postgres-0", "", []string{expected}, "", lost, ""},
		"the API server is away":          {"postgres-0", "", nil, "UNREACHABLE=true", refused + "the API server cannot be reached: timed out\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newMember(t, test.pod, test.trusted)
			p.env = append(p.env, test.variable)
			for _, file := range test.files {
				path := filepath.Join(p.dir, file)
				require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
				require.NoError(t, os.WriteFile(path, nil, 0o600))
			}
			code := p.run(t, "start.sh", "-c", "some=thing")
			require.Equal(t, test.says, p.console.String())
			if test.record == "" {
				require.Equal(t, 1, code)
				require.NoFileExists(t, filepath.Join(p.dir, "record"))
				require.NoDirExists(t, p.data)
				return
			}
			require.Zero(t, code)
			require.FileExists(t, p.data+".member")
			record := p.record(t)
			require.Equal(t, test.record, record[max(0, len(record)-len(test.record)):])
			if test.says != initialized {
				require.Equal(t, test.record, record)
				require.NoDirExists(t, p.data)
			}
		})
	}
}

// Patroni copies nothing into a folder that holds something. What it wrote itself, where the files of a
// running server were taken away, is in nobody's way; what anybody else wrote is left alone.
func TestLeftoversOfAMember(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		files []string
		says  string
		code  int
	}{
		"of Patroni": {[]string{"standby.signal", "recovery.signal", "patroni.dynamic.json"},
			"start: the volume is empty; the server copies the primary's files (ConfigMap postgres-ha-sync: postgres-1)\n", 0},
		"of a server": {[]string{"standby.signal", "pg_wal"},
			"/pgdata holds something that is not a PostgreSQL data directory: pg_wal. Nothing was changed. Empty it, and the server copies the primary's files\n", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newMember(t, "postgres-0", "postgres-1")
			for _, file := range test.files {
				p.write(t, file)
			}
			require.Equal(t, test.code, p.run(t, "start.sh", "-c", "some=thing"), p.console.String())
			require.True(t, strings.HasSuffix(p.console.String(), test.says), p.console.String())
			if test.code == 0 {
				require.NoDirExists(t, p.data)
				require.Equal(t, "patroni\n", p.record(t))
				return
			}
			for _, file := range test.files {
				require.FileExists(t, filepath.Join(p.data, file))
			}
			require.NoFileExists(t, filepath.Join(p.dir, "record"))
		})
	}
}

// A database that was one of several is nothing without the ConfigMap that says
// who has every write.
func TestDatabaseOfAMember(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		pod, trusted, primary string
		member                bool
		refused               string
		record                string
	}{
		"alone so far":     {"postgres-0", "", "", false, "", "seed\npatroni\n"},
		"alone again":      {"postgres-0", "postgres-1", "", false, "", "seed\npatroni\n"},
		"of a moment ago":  {"postgres-0", "postgres-0", "postgres-0", false, "", "seed\npatroni\n"},
		"a member":         {"postgres-0", "postgres-1", "postgres-1", true, "", "patroni\n"},
		"nobody knows":     {"postgres-1", "", "", true, "does not say who has every acknowledged write. This server is at ", ""},
		"no member's own":  {"postgres-1", "postgres-0", "", false, "the volume holds a database that was no member. Nothing was changed", ""},
		"once the primary": {"postgres-1", "postgres-1", "postgres-1", false, "the volume holds a database that was no member. Nothing was changed", ""},
		"another leads":    {"postgres-0", "postgres-1", "postgres-1", false, "the volume holds a database that was no member, and postgres-1 takes the writes. Nothing was changed", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newMember(t, test.pod, test.trusted)
			p.env = append(p.env, "PRIMARY="+test.primary)
			p.program(t, "pg_controldata", "")
			p.write(t, "PG_VERSION")
			if test.member {
				p.write(t, "../pgdata.member")
			}
			code := p.run(t, "start.sh", "-c", "some=thing")
			if test.refused != "" {
				require.Equal(t, 1, code)
				require.Contains(t, p.console.String(), test.refused)
				require.NoFileExists(t, filepath.Join(p.dir, "record"))
				return
			}
			require.Zero(t, code, p.console.String())
			require.Equal(t, test.record, p.record(t))
			require.FileExists(t, p.data+".member")
		})
	}
}

// A copy of the primary's files is a member's database as soon as all of them are there, and nothing before. Where
// the volume of a server that runs is emptied, Patroni copies without another start.
func TestCopyOfThePrimaryIsADatabaseWhenAllIsThere(t *testing.T) {
	t.Parallel()
	p := newMember(t, "postgres-1", "postgres-0")
	run := t.TempDir()
	p.env = append(p.env, "TMPDIR="+run)
	p.program(t, "pg_basebackup", `printf '%s\n' "$@" >>"$RECORD"
mkdir "${1#--pgdata=}" && echo 15 >"${1#--pgdata=}/PG_VERSION"
exit "$ENDS"`)
	starts := func() {
		t.Helper()
		require.Zero(t, p.run(t, "start.sh", "-c", "some=thing"), p.console.String())
		require.Equal(t, "patroni\n", p.record(t))
		require.NoError(t, os.Remove(filepath.Join(p.dir, "record")))
	}
	copies := func(ends string) error {
		command := exec.Command(filepath.Join(run, "bin", "pg_basebackup"), "--pgdata="+p.data, "-X", "stream", "--dbname=host=10.0.0.1 port=5432")
		command.Env = append(p.env, "ENDS="+ends)
		err := command.Run()
		require.Equal(t, "--pgdata="+p.data+".copying\n-X\nstream\n--dbname=host=10.0.0.1 port=5432\n", p.record(t))
		require.NoError(t, os.Remove(filepath.Join(p.dir, "record")))
		return err
	}
	starts()
	volume := filepath.Dir(p.data)
	require.NoError(t, os.RemoveAll(volume))
	require.NoError(t, os.Mkdir(volume, 0o700))

	require.Error(t, copies("1"))
	require.NoDirExists(t, p.data)
	require.FileExists(t, p.data+".copying/PG_VERSION", "as if it had been killed")
	starts()
	require.NoDirExists(t, p.data+".copying")

	require.NoError(t, os.RemoveAll(volume))
	require.NoError(t, os.Mkdir(volume, 0o700))
	require.Error(t, copies("1"))
	require.NoError(t, copies("0"))
	require.FileExists(t, p.data+"/PG_VERSION")
	require.NoDirExists(t, p.data+".copying")
	starts()
}

// accessTo is a pod's access to an API server.
func accessTo(t *testing.T, api *httptest.Server) []string {
	t.Helper()
	account := t.TempDir()
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: api.Certificate().Raw})
	require.NoError(t, os.WriteFile(filepath.Join(account, "ca.crt"), authority, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(account, "token"), []byte("token\n"), 0o600))
	host, port, err := net.SplitHostPort(api.Listener.Addr().String())
	require.NoError(t, err)
	return []string{"ACCOUNT=" + account, "KUBERNETES_SERVICE_HOST=" + host, "KUBERNETES_SERVICE_PORT=" + port}
}

// With the real python: what it asks, and that all that it can be asked for is there.
func TestMembersAskTheAPIServer(t *testing.T) {
	t.Parallel()
	const sync = `{"leader": "postgres-1", "sync_standby": "postgres-0,postgres-2"}`
	// By the name of the test, which is the namespace.
	leaders := map[string]string{}
	api := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path, found := strings.CutPrefix(r.URL.Path, "/api/v1/namespaces/")
		namespace, name, _ := strings.Cut(path, "/configmaps/")
		annotations := map[string]string{"postgres-ha-sync": sync, "postgres-ha-leader": leaders[namespace]}[name]
		if r.Header.Get("Authorization") != "Bearer token" || !found || annotations == "" {
			http.NotFound(w, r)
			return
		}
		fmt.Fprintf(w, `{"metadata": {"annotations": %s}}`, annotations)
	}))
	t.Cleanup(api.Close)
	access := accessTo(t, api)
	renewed := func(ago time.Duration) string {
		return fmt.Sprintf(`{"leader": "postgres-1", "renewTime": %q}`, time.Now().Add(-ago).UTC().Format("2006-01-02T15:04:05.000000+00:00"))
	}
	const missing = "no server takes the writes: only postgres-1 or postgres-0 or postgres-2 has every acknowledged one (ConfigMap postgres-ha-sync)\n"
	tests := map[string]struct{ command, leader, says string }{
		"who-has-every-write": {"trusted", "{}", "postgres-1 postgres-0 postgres-2\n"},
		"who-took-the-writes": {"leader", "{}", "postgres-1\n"},
		"who-takes-them":      {"primary", renewed(time.Second), "postgres-1\n"},
		"nobody-takes-them":   {"primary", renewed(time.Minute), "\n"},
		"a-primary":           {"missing", renewed(time.Second), ""},
		"an-election":         {"missing", renewed(20 * time.Second), ""},
		"a-primary-is-dead":   {"missing", renewed(time.Minute), missing},
		"a-primary-let-go":    {"missing", "{}", missing},
	}
	for name, test := range tests {
		leaders[name] = test.leader
	}
	for name, test := range tests {
		python := exec.CommandContext(t.Context(), "python3", "scripts/members.py", test.command)
		python.Env = append(os.Environ(), "POD_NAME=postgres-0", "MEMBERS=postgres-ha", "NAMESPACE="+name, "TMPDIR="+t.TempDir())
		python.Env = append(python.Env, access...)
		said, err := python.CombinedOutput()
		require.NoError(t, err, "%s", said)
		require.Equal(t, test.says, string(said), name)
	}
}

func TestServerThatWaitsForTheLogInVainIsHelped(t *testing.T) {
	t.Parallel()
	p := newPod(t, map[string]string{"psql": `case "$*" in
*"show primary_conninfo"*) echo "host=10.0.0.1 port=5432" ;;
*"show primary_slot_name"*) echo postgres_0 ;;
*walreceiver*) echo 123 ;;
*pg_last_wal_replay_lsn*) echo 1/5000148 16777216 ;;
*"<= '0000000100000005'"*) if [ -z "${REMOVED-}" ]; then echo 1; fi ;;
*"host=10.0.0.1"*) exit "${PRIMARY-0}" ;;
*) exit 1 ;;
esac`})
	var called []string
	patroni := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		called = append(called, r.Method+" "+r.URL.Path+" "+user+" "+password)
	}))
	t.Cleanup(patroni.Close)
	require.NoError(t, os.WriteFile(filepath.Join(p.dir, "CALL_PASSWORD"), []byte("secret"), 0o600))
	// waited runs what a probe runs, after a receiver has waited so long.
	waited := func(receiver string, seconds int, with ...string) (log string) {
		called = nil
		since := fmt.Appendf(nil, "%s %d", receiver, time.Now().Unix()-int64(seconds))
		require.NoError(t, os.WriteFile(filepath.Join(p.dir, "waits"), since, 0o600))
		require.NoError(t, os.WriteFile(filepath.Join(p.dir, "log"), nil, 0o600))
		python := exec.CommandContext(t.Context(), "python3", "scripts/members.py", "catch_up")
		python.Env = append(append(slices.Clone(p.env), "POD_NAME=postgres-0", "MEMBERS=postgres-ha", "TMPDIR="+p.dir, "MEMBERS_SECRET="+p.dir,
			"PATRONI_API="+patroni.URL+"/", "POD_LOG="+filepath.Join(p.dir, "log")), with...)
		said, err := python.CombinedOutput()
		require.Equal(t, slices.Contains(with, "PRIMARY=2"), err != nil, "%s", said)
		written, err := os.ReadFile(filepath.Join(p.dir, "log"))
		require.NoError(t, err)
		return string(written)
	}
	require.Empty(t, waited("123", 15))
	require.Empty(t, called)
	require.Empty(t, waited("122", 90), "another receiver waited")
	require.Empty(t, called)
	require.Empty(t, waited("123", 90, "PRIMARY=2"), "the primary does not answer")
	require.Empty(t, called)
	require.Equal(t, "members: the primary answers, and its log does not come; the server restarts, and is compared with the primary\n", waited("123", 90))
	require.Equal(t, []string{"POST /restart members secret"}, called)

	const removed, needed = "REMOVED=true", "segment 0000000100000005"
	require.Empty(t, waited("123", 90, removed), "something else was waited for")
	require.Empty(t, called)
	require.Empty(t, waited(needed, 5, removed), "it may replay what it has itself")
	require.Empty(t, called)
	require.Equal(t, "members: the primary has no longer segment 0000000100000005 of the log, which this server needs; it copies all files anew\n", waited(needed, 15, removed))
	require.Equal(t, []string{"POST /reinitialize members secret"}, called)
}

// newPatroni is a pod in which members.py can write Patroni's configuration.
func newPatroni(t *testing.T) *pod {
	t.Helper()
	p := newPod(t, nil)
	for name, content := range map[string]string{
		"CALL_PASSWORD": "secret", "REPLICATION_PASSWORD": "hunter2",
		"patroni.json.in": `{"postgresql": {"config_dir": "` + filepath.Join(p.dir, "conf") + `", "custom_conf": "/etc/postgresql.conf", "authentication": {"replication": {}, "rewind": {}}}}`,
	} {
		require.NoError(t, os.WriteFile(filepath.Join(p.dir, name), []byte(content), 0o600))
	}
	p.env = append(p.env, "POD_NAME=postgres-0", "POD_IP=10.0.0.7", "MEMBERS=postgres-ha", "NAMESPACE=shop", "MEMBERS_SECRET="+p.dir,
		"PATRONI_CONFIG="+filepath.Join(p.dir, "patroni.json.in"), "SOCKETS="+p.dir)
	return p
}

func TestMemberWithAnotherAddressDoesNotTellTheOldOne(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ annotations, change string }{
		"as before": {`{"status": "{\"api_url\": \"http://10.0.0.7:8008/patroni\"}"}`, ""},
		"another":   {`{"status": "{\"api_url\": \"http://10.0.0.70:8008/patroni\"}", "other": "x"}`, `{"metadata": {"annotations": {"status": null}}}`},
		"a new pod": {`null`, ""},
		"not known": {`{"status": "{}"}`, `{"metadata": {"annotations": {"status": null}}}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPatroni(t)
			var changes []string
			api := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch path := strings.TrimPrefix(r.URL.Path, "/api/v1/namespaces/shop/"); {
				case r.Method == http.MethodPatch:
					change, _ := io.ReadAll(r.Body)
					changes = append(changes, path+" "+string(change))
					fmt.Fprint(w, "{}")
				case path == "pods/postgres-0":
					fmt.Fprintf(w, `{"metadata": {"annotations": %s}}`, test.annotations)
				default:
					fmt.Fprint(w, `{"metadata": {}}`)
				}
			}))
			t.Cleanup(api.Close)
			python := exec.CommandContext(t.Context(), "python3", "scripts/members.py", "config")
			python.Env = append(slices.Clone(p.env), accessTo(t, api)...)
			said, err := python.CombinedOutput()
			require.NoError(t, err, "%s", said)
			require.Equal(t, filepath.Join(p.dir, "patroni.json")+"\n", string(said))
			if test.change == "" {
				require.Empty(t, changes)
				return
			}
			require.Equal(t, []string{"pods/postgres-0 " + test.change}, changes)
		})
	}
}

// Patroni reads its configuration again when it is told to (SIGHUP).
func TestPatroniIsToldOfNewPasswords(t *testing.T) {
	t.Parallel()
	p := newPatroni(t)
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGHUP)
	t.Cleanup(func() { signal.Stop(told) })
	python := exec.CommandContext(t.Context(), "python3", "scripts/members.py", "reload")
	python.Env = append(slices.Clone(p.env), fmt.Sprintf("PATRONI_PID=%d", os.Getpid()))
	said, err := python.CombinedOutput()
	require.NoError(t, err, "%s", said)
	select {
	case <-told:
	case <-time.After(10 * time.Second):
		require.FailNow(t, "Patroni was not told")
	}
	written, err := os.ReadFile(filepath.Join(p.dir, "patroni.json"))
	require.NoError(t, err)
	require.Contains(t, string(written), `"password": "hunter2"`)
}
