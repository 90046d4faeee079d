package command_test

import (
	"bytes"
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"stateful-postgres/verify/internal/command"
	"stateful-postgres/verify/internal/pgtest"
	"stateful-postgres/verify/internal/report"
)

// run runs a command line.
func run(args ...string) (exitCode int, stdout, stderr string) {
	var out, err bytes.Buffer
	exitCode = command.Run(args, command.Streams{Out: &out, Err: &err})
	return exitCode, out.String(), err.String()
}

// onDatabase are the arguments for a database and a ledger of the test's own.
func onDatabase(t *testing.T, verb string, more ...string) []string {
	t.Helper()
	dsn := pgtest.Shared(t).CreateDatabase(t)
	args := []string{verb, "--dsn", dsn, "--ledger", filepath.Join(t.TempDir(), "ledger")}
	return append(args, more...)
}

func decode(t *testing.T, stdout string) report.Report {
	t.Helper()
	var r report.Report
	require.NoError(t, json.Unmarshal([]byte(stdout), &r), stdout)
	return r
}

func TestUsageErrorsSayWhatWasExpected(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		args     []string
		expected []string
	}{
		"unknown flag":          {[]string{"--foo"}, []string{"unknown flag: --foo"}},
		"unknown verb":          {[]string{"chekc"}, []string{`unexpected argument "chekc"`}},
		"argument":              {[]string{"check", "dev"}, []string{`unexpected argument "dev"`}},
		"bad duration":          {[]string{"--timeout", "5"}, []string{"--timeout"}},
		"bad values together":   {[]string{"--timeout", "0s", "--output", "xml", "--via", "tunnel"}, []string{"--timeout 0s", `--output "xml"`, `--via "tunnel"`}},
		"negative rows":         {[]string{"--rows", "-1"}, []string{"--rows -1"}},
		"negative hold":         {[]string{"--hold", "-1s"}, []string{"--hold -1s"}},
		"dsn and stack":         {[]string{"--dsn", "x", "--stack", "y"}, []string{"--dsn and --stack exclude each other"}},
		"dsn and namespace":     {[]string{"--dsn", "x", "--namespace", "y"}, []string{"--dsn and --namespace exclude each other"}},
		"namespace and stack":   {[]string{"-n", "x", "--stack", "y"}, []string{"--namespace and --stack exclude each other"}},
		"dsn and via":           {[]string{"--dsn", "x", "--via", "nodeport"}, []string{"--dsn and --via exclude each other"}},
		"stateful set alone":    {[]string{"--stateful-set", "x"}, []string{"--stateful-set needs --namespace"}},
		"dsn that is none":      {[]string{"--dsn", "postgres://a:b:c"}, []string{"--dsn"}},
		"password on the line":  {[]string{"--dsn", "postgres://u:not-a-real-one@127.0.0.1/d"}, []string{"PGPASSWORD"}},
		"password, encoded":     {[]string{"--dsn", "postgres://u:not%2Da-real-one@127.0.0.1/d"}, []string{"PGPASSWORD"}},
		"password as a setting": {[]string{"--dsn", "host=127.0.0.1 user=u password = 'not-a-real-one'"}, []string{"PGPASSWORD"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			exitCode, stdout, stderr := run(test.args...)
			require.Equal(t, report.ExitUsage, exitCode, stderr)
			require.Empty(t, stdout)
			for _, expected := range test.expected {
				require.Contains(t, stderr, expected)
			}
			require.NotContains(t, stderr, "not-a-real-one")
		})
	}
}

func TestHelpShowsExamplesAndExitCodes(t *testing.T) {
	t.Parallel()
	exitCode, stdout, _ := run("--help")
	require.Zero(t, exitCode)
	for _, expected := range []string{"Exit codes: 0 proven", "--dsn", "go build -o", "Examples:"} {
		require.Contains(t, stdout, expected)
	}
	for line := range strings.Lines(stdout) {
		require.LessOrEqual(t, len([]rune(line)), 140, line)
	}
}

func TestCheckIsTheDefaultVerb(t *testing.T) {
	t.Parallel()
	args := onDatabase(t, "check", "-o", "json")
	exitCode, stdout, _ := run(args...)
	require.Zero(t, exitCode, stdout)
	require.Equal(t, report.Proven, decode(t, stdout).Verdict)
	exitCode, stdout, stderr := run(args[1:]...)
	require.Zero(t, exitCode, stdout)
	require.Empty(t, stderr, "what is quick needs no progress")
	r := decode(t, stdout)
	require.Equal(t, "check", r.Command)
	require.EqualValues(t, 10, r.Rows.Required)
}

func TestNewLedgerKeepsTheOldOne(t *testing.T) {
	t.Parallel()
	args := onDatabase(t, "check", "-o", "json")
	exitCode, _, _ := run(args...)
	require.Zero(t, exitCode)
	exitCode, stdout, stderr := run(append(args, "--new-ledger")...)
	require.Zero(t, exitCode)
	r := decode(t, stdout)
	require.Zero(t, r.Rows.Required)
	require.EqualValues(t, 10, r.Rows.Unrecorded)
	kept, err := filepath.Glob(r.Ledger + ".2*")
	require.NoError(t, err)
	require.Len(t, kept, 1)
	require.Contains(t, stderr, kept[0])
}

func TestDamagedLedgerIsNeverAFreshStart(t *testing.T) {
	t.Parallel()
	args := onDatabase(t, "check", "-o", "json")
	exitCode, stdout, _ := run(args...)
	require.Zero(t, exitCode)
	path := decode(t, stdout).Ledger
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	content[len(content)/2] ^= 1
	require.NoError(t, os.WriteFile(path, content, 0o600))
	exitCode, stdout, _ = run(args...)
	require.Equal(t, report.ExitUnknown, exitCode)
	require.Contains(t, decode(t, stdout).Checks[0].Detail, "damaged at offset")
}

func TestLedgerWithoutAProjectLiesInTheUsersState(t *testing.T) {
	state := t.TempDir()
	t.Setenv("XDG_STATE_HOME", state)
	dsn := pgtest.Shared(t).CreateDatabase(t)
	exitCode, stdout, _ := run("--dsn", dsn, "-o", "json")
	require.Zero(t, exitCode)
	require.True(t, strings.HasPrefix(decode(t, stdout).Ledger, state), stdout)
}

func TestLedgerThatWasLeftBehindUnderAnotherNameIsNamed(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	dsn := pgtest.Shared(t).CreateDatabase(t)
	exitCode, stdout, _ := run("--dsn", dsn, "-o", "json")
	require.Zero(t, exitCode, stdout)
	before := decode(t, stdout).Ledger

	renamed := strings.Replace(dsn, "127.0.0.1", "localhost", 1)
	for _, verb := range [][]string{{"check"}, {"fill", "--rows", "5"}, {"check", "--rows", "0"}} {
		exitCode, stdout, _ = run(append(verb, "--dsn", renamed, "-o", "json")...)
		require.Equal(t, report.ExitUnknown, exitCode, stdout)
		r := decode(t, stdout)
		found := r.Checks[len(r.Checks)-1]
		require.Contains(t, found.Detail, before+", with 10 acknowledged rows")
		require.Contains(t, found.Hint, "mv "+before+" "+r.Ledger)
	}
	require.NoError(t, os.Rename(before, decode(t, stdout).Ledger))
	exitCode, stdout, _ = run("--dsn", renamed, "-o", "json")
	require.Zero(t, exitCode, stdout)
	require.EqualValues(t, 10, decode(t, stdout).Rows.Intact)

	// A ledger that somebody chose is theirs.
	exitCode, stdout, _ = run("--dsn", dsn, "-o", "json", "--ledger", filepath.Join(t.TempDir(), "ledger"))
	require.Zero(t, exitCode, stdout)
}

func TestPGVariablesAreEnoughOutsideAProject(t *testing.T) {
	dsn, err := url.Parse(pgtest.Shared(t).CreateDatabase(t))
	require.NoError(t, err)
	t.Setenv("PGHOST", dsn.Hostname())
	t.Setenv("PGPORT", dsn.Port())
	t.Setenv("PGUSER", dsn.User.Username())
	t.Setenv("PGDATABASE", dsn.Path[1:])
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	t.Chdir(t.TempDir())
	exitCode, stdout, stderr := run("-o", "json")
	require.Zero(t, exitCode, stderr)
	require.Equal(t, dsn.Path[1:], decode(t, stdout).Target.Database)
}

func TestNeitherProjectNorServerIsAUsageError(t *testing.T) {
	t.Setenv("PGHOST", "")
	t.Chdir(t.TempDir())
	exitCode, stdout, stderr := run()
	require.Equal(t, report.ExitUsage, exitCode)
	require.Empty(t, stdout)
	require.Contains(t, stderr, "no Pulumi project")
	require.Contains(t, stderr, "--dsn or --namespace")
}

// A stack's kubernetes:cluster counts more than the cluster of its context.
func TestClusterOfTheStackIsTheOneThatIsLookedAt(t *testing.T) {
	bin, project := t.TempDir(), t.TempDir()
	kubeconfig, err := json.Marshal(`apiVersion: v1
kind: Config
current-context: one
clusters: [{name: c1, cluster: {server: "https://127.0.0.1:1"}}, {name: c2, cluster: {server: "https://127.0.0.1:2"}}]
users: [{name: u, user: {token: not-a-real-one}}]
contexts: [{name: one, context: {cluster: c1, user: u}}]
`)
	require.NoError(t, err)
	outputs := `{"namespace":"n","statefulSet":"s","service":"s","headlessService":"h","claim":"c","database":"d","user":"u","password":"p","replicas":1,` +
		`"serviceType":"NodePort","port":5432,"context":"one","cluster":"CLUSTER","kubeconfig":` + string(kubeconfig) + `}`
	require.NoError(t, os.WriteFile(filepath.Join(project, "Pulumi.yaml"), nil, 0o644))
	t.Setenv("PATH", bin+":/usr/bin:/bin")
	t.Chdir(project)
	for cluster, address := range map[string]string{"": "127.0.0.1:1", "c2": "127.0.0.1:2"} {
		require.NoError(t, os.WriteFile(filepath.Join(bin, "outputs"), []byte(strings.Replace(outputs, "CLUSTER", cluster, 1)), 0o600))
		script := "#!/bin/sh\ncase \"$*\" in *output*) cat " + filepath.Join(bin, "outputs") + ";; *) echo dev;; esac\n"
		require.NoError(t, os.WriteFile(filepath.Join(bin, "pulumi"), []byte(script), 0o755))
		exitCode, stdout, _ := run("-o", "json")
		require.Equal(t, report.ExitUnknown, exitCode)
		require.Contains(t, decode(t, stdout).Checks[0].Detail, address)
	}
}

func TestStackThatWasNeverDeployedIsSaidInTheReport(t *testing.T) {
	bin, project := t.TempDir(), t.TempDir()
	script := "#!/bin/sh\ncase \"$*\" in *output*) echo '{}';; *) echo dev;; esac\n"
	require.NoError(t, os.WriteFile(filepath.Join(bin, "pulumi"), []byte(script), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(project, "Pulumi.yaml"), nil, 0o644))
	t.Setenv("PATH", bin+":/usr/bin:/bin")
	t.Chdir(project)
	exitCode, stdout, _ := run("-o", "json")
	require.Equal(t, report.ExitUnknown, exitCode)
	r := decode(t, stdout)
	require.Contains(t, r.Checks[0].Detail, "has never been deployed")
	require.Equal(t, "run: pulumi up", r.Checks[0].Hint)
	_, err := os.Stat(filepath.Join(project, ".local"))
	require.ErrorIs(t, err, os.ErrNotExist, "no ledger is begun for nothing")
}
