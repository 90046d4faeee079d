package components

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// pod is a directory that stands in for the container: programs on its PATH
// that record how they were called, and a volume.
type pod struct {
	dir     string
	data    string
	env     []string
	console bytes.Buffer
}

func newPod(t *testing.T, programs map[string]string) *pod {
	t.Helper()
	dir := t.TempDir()
	bin, volume := filepath.Join(dir, "bin"), filepath.Join(dir, "volume")
	require.NoError(t, os.Mkdir(bin, 0o755))
	require.NoError(t, os.Mkdir(volume, 0o755))
	for name, body := range programs {
		require.NoError(t, os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\n"+body), 0o755))
	}
	password := filepath.Join(dir, "password")
	require.NoError(t, os.WriteFile(password, []byte(`it's "$HOME" \ %s`), 0o600))
	config := filepath.Join(dir, "postgresql.conf")
	require.NoError(t, os.WriteFile(config, []byte("work_mem = '4MB'\n"), 0o600))
	access := filepath.Join(dir, "pg_hba.conf")
	require.NoError(t, os.WriteFile(access, []byte("local all all trust\n"), 0o600))
	p := &pod{dir: dir, data: filepath.Join(volume, "pgdata")}
	p.env = []string{
		"PATH=" + bin + ":" + os.Getenv("PATH"), "RECORD=" + filepath.Join(dir, "record"),
		"PGDATA=" + p.data, "DATA_EXPECTED=" + filepath.Join(dir, "expected"),
		"POSTGRES_USER=clerk", "POSTGRES_DB=shop", "POSTGRES_PASSWORD_FILE=" + password,
		"RELOADED_FILES=" + config + " " + access, "TMPDIR=" + dir,
	}
	return p
}

// run runs a script and returns its exit code.
func (p *pod) run(t *testing.T, script string, args ...string) int {
	t.Helper()
	command := exec.Command("/bin/sh", append([]string{filepath.Join("scripts", script)}, args...)...)
	command.Env, command.Stdout, command.Stderr = p.env, &p.console, &p.console
	if err := command.Run(); err != nil {
		var exit *exec.ExitError
		require.ErrorAs(t, err, &exit)
	}
	return command.ProcessState.ExitCode()
}

// record is what the stand-ins wrote down.
func (p *pod) record(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(p.dir, "record"))
	require.NoError(t, err)
	return string(text)
}

func (p *pod) write(t *testing.T, name string) {
	t.Helper()
	path := filepath.Join(p.data, name)
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
	require.NoError(t, os.WriteFile(path, []byte("15\n"), 0o600))
}

// image is an image whose entrypoint initializes as the official one does: it
// asks the server for a setting, and in the end becomes the server.
func image(extra string) map[string]string {
	return map[string]string{
		"docker-entrypoint.sh": `echo "entrypoint: $*" >>"$RECORD"
mkdir -p "$PGDATA"
echo "setting: $(postgres -C password_encryption)" >>"$RECORD"
echo 15 >"$PGDATA/PG_VERSION"
export POSTGRES_PASSWORD=hunter2
` + extra + `
exec "$@"`,
		"postgres": `if [ "$1" = -C ]; then echo scram; exit; fi
if [ "$1" = --version ]; then echo "postgres (PostgreSQL) ${IMAGE_VERSION-15.4 (Debian 15.4-1)}"; exit; fi
echo "server: $* in $PGDATA, password ${POSTGRES_PASSWORD-unset}" >>"$RECORD"`,
	}
}

func TestFirstStartInitializesAndBecomesTheServer(t *testing.T) {
	t.Parallel()
	p := newPod(t, image(""))
	require.Zero(t, p.run(t, startScript, "-c", "some=thing"), p.console.String())
	require.Equal(t, "entrypoint: postgres\nsetting: scram\nserver: -c some=thing in "+p.data+", password unset\n", p.record(t))
	require.FileExists(t, filepath.Join(p.data, "PG_VERSION"))
	require.NoDirExists(t, p.data+".initializing")
}

func TestExistingDataIsStartedAsItIs(t *testing.T) {
	t.Parallel()
	p := newPod(t, image(""))
	p.write(t, "PG_VERSION")
	p.write(t, "rows")
	require.Zero(t, p.run(t, startScript, "-c", "some=thing"))
	require.Equal(t, "server: -c some=thing in "+p.data+", password unset\n", p.record(t))
	require.FileExists(t, filepath.Join(p.data, "rows"))
}

func TestMajorVersionOfTheImageHasToBeTheVolumes(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		image string
		major string
	}{
		{"15.20", ""}, {"15devel", ""}, {"17.2 (Debian 17.2-1.pgdg120+1)", "17"}, {"14.13", "14"}, {"18beta1", "18"},
	} {
		t.Run(test.image, func(t *testing.T) {
			t.Parallel()
			p := newPod(t, image(""))
			p.env = append(p.env, "IMAGE_VERSION="+test.image)
			p.write(t, "PG_VERSION")
			code := p.run(t, startScript, "-c", "some=thing")
			if test.major == "" {
				require.Zero(t, code, p.console.String())
				require.Contains(t, p.record(t), "server:")
				return
			}
			require.Equal(t, 1, code)
			require.Equal(t, "start: the volume holds data of PostgreSQL 15, and the image is PostgreSQL "+test.major+
				". Nothing was touched. Set an image of PostgreSQL 15, or move the rows with pg_dump into a stack with the other one\n",
				p.console.String())
			require.NoFileExists(t, filepath.Join(p.dir, "record"))
		})
	}
}

func TestInterruptedFirstStartIsNeverTakenForData(t *testing.T) {
	t.Parallel()
	p := newPod(t, image("exit 7"))
	require.Equal(t, 7, p.run(t, startScript, "-c", "some=thing"), "as when the node dies halfway")
	require.NoDirExists(t, p.data)

	p.write(t, "../pgdata.initializing/half")
	require.Equal(t, 7, p.run(t, startScript, "-c", "some=thing"))
	require.NoFileExists(t, p.data+".initializing/half", "begun afresh")
	require.NotContains(t, p.record(t), "server:")
}

func TestFirstStartStopsWhenThePodIsStopped(t *testing.T) {
	t.Parallel()
	p := newPod(t, image(`kill -TERM "$PPID"; while kill -0 "$PPID"; do sleep 0.05; done 2>/dev/null`))
	require.Equal(t, 143, p.run(t, startScript, "-c", "some=thing"))
	require.NoDirExists(t, p.data)
}

func TestEmptyVolumeWhereDataIsExpectedIsNotInitialized(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name        string
		variable    string
		expected    bool
		initialized bool
	}{
		{"first start", "", false, true},
		{"volume lost", "", true, false},
		{"volume lost, setting false", "INITIALIZE_EMPTY_VOLUME=false", true, false},
		{"volume lost, begin again on purpose", "INITIALIZE_EMPTY_VOLUME=true", true, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := newPod(t, image(""))
			p.env = append(p.env, test.variable)
			if test.expected {
				p.write(t, "../../expected/README")
			}
			code := p.run(t, startScript, "-c", "some=thing")
			if test.initialized {
				require.Zero(t, code)
				require.FileExists(t, filepath.Join(p.data, "PG_VERSION"))
				return
			}
			require.Equal(t, 1, code)
			require.Equal(t, "start: this server had data, and its volume is empty: it was deleted or exchanged. "+
				"Nothing was initialized. Restore the volume, or begin again without the old rows: "+
				"pulumi config set initializeEmptyVolume true\n", p.console.String())
			require.NoDirExists(t, p.data)
			require.NoDirExists(t, p.data+".initializing")
		})
	}
}

func TestExpectedDataIsStarted(t *testing.T) {
	t.Parallel()
	p := newPod(t, image(""))
	p.write(t, "../../expected/README")
	p.write(t, "PG_VERSION")
	require.Zero(t, p.run(t, startScript, "-c", "some=thing"))
}

func TestForeignFilesAreNotTouched(t *testing.T) {
	t.Parallel()
	p := newPod(t, image(""))
	p.write(t, "letter.txt")
	require.Equal(t, 1, p.run(t, startScript, "-c", "some=thing"))
	require.Contains(t, p.console.String(), "holds something that is not a PostgreSQL data directory; nothing was changed")
	require.FileExists(t, filepath.Join(p.data, "letter.txt"))
	require.NoFileExists(t, filepath.Join(p.dir, "record"))
}

// server answers as pg_isready does with the given status, and records what
// psql was given.
func server(status string) map[string]string {
	return map[string]string{
		"pg_isready": "exit " + status,
		"psql":       `echo "args: $*" >>"$RECORD"; echo "options: $PGOPTIONS" >>"$RECORD"; cat >>"$RECORD"; exit "${PSQL_STATUS:-0}"`,
		"timeout":    `echo "timeout: $1" >>"$RECORD"; shift; "$@" </dev/null`,
	}
}

func TestStartedOnceTheRoleHasThePassword(t *testing.T) {
	t.Parallel()
	p := newPod(t, server("0"))
	require.Zero(t, p.run(t, startedScript))
	arguments, input, found := strings.Cut(p.record(t), "\noptions: ")
	require.True(t, found)
	require.Contains(t, arguments, `--username=clerk --dbname=shop --command=\password`)
	require.NotContains(t, arguments, "it's", "a command line can be read by everybody on the node")
	_, passwords, _ := strings.Cut(input, "\n")
	require.Equal(t, strings.Repeat(`it's "$HOME" \ %s`+"\n", 2), passwords)
	require.Empty(t, p.console.String(), "the output of a probe ends up in events")
}

func TestNotStartedWhileTheServerDoesNotAnswer(t *testing.T) {
	t.Parallel()
	for _, status := range []string{"1", "2", "3"} {
		p := newPod(t, server(status))
		require.NotZero(t, p.run(t, startedScript))
		require.NoFileExists(t, filepath.Join(p.dir, "record"))
	}
}

func TestNotStartedWhenThePasswordCouldNotBeSet(t *testing.T) {
	t.Parallel()
	p := newPod(t, server("0"))
	p.env = append(p.env, "PSQL_STATUS=2")
	require.NotZero(t, p.run(t, startedScript))
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
			require.Equal(t, test.alive, newPod(t, server(test.status)).run(t, aliveScript) == 0)
		})
	}
}

func TestServerReadsItsConfigurationAgainWhenAFileHasChanged(t *testing.T) {
	t.Parallel()
	programs := image("")
	for name, body := range server("0") {
		programs[name] = body
	}
	p := newPod(t, programs)
	p.write(t, "PG_VERSION")
	require.Zero(t, p.run(t, startScript, "-c", "some=thing"), p.console.String())
	require.Zero(t, p.run(t, readyScript), p.console.String())
	require.NotContains(t, p.record(t), "pg_reload_conf", "it started with this file")

	for i, file := range []string{"postgresql.conf", "pg_hba.conf"} {
		require.NoError(t, os.WriteFile(filepath.Join(p.dir, file), []byte("something else\n"), 0o600))
		p.env = append(p.env, "PSQL_STATUS=2")
		require.NotZero(t, p.run(t, readyScript), "not ready while it runs with another %s", file)
		p.env = append(p.env, "PSQL_STATUS=0")
		require.Zero(t, p.run(t, readyScript))
		require.Zero(t, p.run(t, readyScript))
		require.Equal(t, 2*(i+1), strings.Count(p.record(t), "pg_reload_conf"), "%s: once refused, once done, and no third time", file)
	}
}

func TestNotReadyWhileTheServerDoesNotAnswer(t *testing.T) {
	t.Parallel()
	for _, status := range []string{"1", "2", "3"} {
		require.NotZero(t, newPod(t, server(status)).run(t, readyScript))
	}
}

func TestRefusedParametersAreNamed(t *testing.T) {
	t.Parallel()
	p := newPod(t, map[string]string{
		"initdb": `for argument; do case "$argument" in --pgdata=*) mkdir "${argument#*=}"; echo 15 >"${argument#*=}/PG_VERSION" ;; esac; done`,
		"postgres": `echo "server: $*" >>"$RECORD"
if [ -z "${REFUSED-}" ]; then echo 140; exit; fi
echo 'LOG:  skipping missing configuration file "/var/lib/postgredb/pgdata/postgresql.conf"'
echo 'LOG:  unrecognized configuration parameter "no_such" in file "/tmp/postgresql.conf" line 4'
echo 'LOG:  invalid value for parameter "huge_pages": "perhaps"'
echo 'HINT:  Available values: off, on, try.'
echo 'FATAL:  configuration file "/tmp/postgresql.conf" contains errors'
exit 1`,
	})
	p.env = append(p.env, "CONFIG=work_mem = '4MB'\n")
	require.Zero(t, p.run(t, checkScript), p.console.String())
	require.Empty(t, p.console.String())
	require.Contains(t, p.record(t), "-C shared_memory_size")
	config, err := os.ReadFile(filepath.Join(p.dir, "postgresql.conf"))
	require.NoError(t, err)
	require.Equal(t, "work_mem = '4MB'\n", string(config))

	require.NoError(t, os.RemoveAll(filepath.Join(p.dir, "data")))
	p.env = append(p.env, "REFUSED=yes")
	require.Equal(t, 1, p.run(t, checkScript))
	require.Equal(t, `check: PostgreSQL 15 refuses the parameters, and the server was left as it is. It says:
  unrecognized configuration parameter "no_such"
  invalid value for parameter "huge_pages": "perhaps"
    HINT: Available values: off, on, try.
Correct one with: pulumi config set --path parameters.NAME VALUE, or remove it with: pulumi config rm --path parameters.NAME
`, p.console.String())
}

func TestStopGoesOnWhetherTheCheckpointFinishesOrNot(t *testing.T) {
	t.Parallel()
	for _, status := range []string{"0", "2", "124"} {
		p := newPod(t, server("0"))
		p.env = append(p.env, "PSQL_STATUS="+status)
		require.Zero(t, p.run(t, checkpointScript, "60"))
		require.Contains(t, p.record(t), "timeout: 60\n")
		require.Contains(t, p.record(t), "--command=CHECKPOINT")
	}
}
