package components

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"stateful-postgres/components/scripts"
)

// pod is a directory that stands in for the container: the scripts, programs on
// its PATH that record how they were called, and a volume.
type pod struct {
	dir     string
	data    string
	env     []string
	console bytes.Buffer
	// account is the one that process 1 runs as, nil for the test's own.
	account *syscall.Credential
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
	// As the kubelet lays them out of the ConfigMap.
	for _, path := range slices.Concat(scripts.OfTheServer(), scripts.OfAMember(), []string{scripts.Check}) {
		file := filepath.Join(dir, "scripts", path)
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(t, os.WriteFile(file, []byte(scripts.Text(path)), 0o555))
	}
	p := &pod{dir: dir, data: filepath.Join(volume, "pgdata")}
	p.env = []string{
		"PATH=" + bin + ":" + os.Getenv("PATH"), "RECORD=" + filepath.Join(dir, "record"),
		"PGDATA=" + p.data, "DATA_EXPECTED=" + filepath.Join(dir, "expected"),
		"POSTGRES_USER=clerk", "POSTGRES_DB=shop", "POSTGRES_PASSWORD_FILE=" + password,
		"RELOADED_FILES=" + config + " " + access, "TMPDIR=" + dir,
		"SET_USER=set the one that it has with: pulumi config set user",
		"SET_DATABASE=set one that it has with: pulumi config set database",
		"BEGIN_AGAIN=begin again without the old rows: pulumi config set initializeEmptyVolume true",
		"FIX_OWNER=Have it given to this user: pulumi config set fixVolumeOwner true",
	}
	return p
}

// run runs a script and returns its exit code.
func (p *pod) run(t *testing.T, script string, args ...string) int {
	t.Helper()
	command := p.command(script, args...)
	command.Stdout, command.Stderr = &p.console, &p.console
	if err := command.Run(); err != nil {
		var exit *exec.ExitError
		require.ErrorAs(t, err, &exit)
	}
	return command.ProcessState.ExitCode()
}

func (p *pod) command(script string, args ...string) *exec.Cmd {
	command := exec.Command("/bin/sh", append([]string{filepath.Join(p.dir, "scripts", script)}, args...)...)
	command.Env = p.env
	return command
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
echo "PostgreSQL init process complete"
exec "$@"`,
		"postgres": `if [ "$1" = -C ]; then echo scram; exit; fi
if [ "$1" = --version ]; then echo "postgres (PostgreSQL) ${IMAGE_VERSION-15.4 (Debian 15.4-1)}"; exit; fi
echo "server: $* in $PGDATA, password ${POSTGRES_PASSWORD-unset}" >>"$RECORD"`,
	}
}

func TestFirstStartInitializesAndBecomesTheServer(t *testing.T) {
	t.Parallel()
	p := newPod(t, image(""))
	require.Zero(t, p.run(t, "start.sh", "-c", "some=thing"), p.console.String())
	require.Equal(t, "entrypoint: postgres\nsetting: scram\nserver: -c some=thing in "+p.data+", password unset\n", p.record(t))
	require.FileExists(t, filepath.Join(p.data, "PG_VERSION"))
	require.NoDirExists(t, p.data+".initializing")
	require.Equal(t, "PostgreSQL init process complete\n", p.console.String())
}

func TestExistingDataIsStartedAsItIs(t *testing.T) {
	t.Parallel()
	p := newPod(t, image(""))
	p.write(t, "PG_VERSION")
	p.write(t, "rows")
	require.Zero(t, p.run(t, "start.sh", "-c", "some=thing"))
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
			code := p.run(t, "start.sh", "-c", "some=thing")
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
	require.Equal(t, 7, p.run(t, "start.sh", "-c", "some=thing"), "as when the node dies halfway")
	require.NoDirExists(t, p.data)

	p.write(t, "../pgdata.initializing/half")
	require.Equal(t, 7, p.run(t, "start.sh", "-c", "some=thing"))
	require.NoFileExists(t, p.data+".initializing/half", "begun afresh")
	require.NotContains(t, p.record(t), "server:")
}

func TestInitializationThatAScriptEndsIsNotTakenForComplete(t *testing.T) {
	t.Parallel()
	const run = "docker-entrypoint.sh: sourcing /docker-entrypoint-initdb.d/"
	for _, test := range []struct {
		name, entrypoint string
		code             int
		expect           string
	}{
		{"exit 0 in the second of three", "echo '" + run + "10-first.sh'; echo '" + run + "20-second.sh'; exit 0; echo '" + run + "30-third.sh'", 1,
			"start: nothing was started: initializing the volume: sourcing /docker-entrypoint-initdb.d/20-second.sh ended with exit code 0 " +
				"before the initialization was complete. Nothing of it is kept; the next start begins anew. " +
				"A script must not exit: those after it would not run\n"},
		{"an error in SQL", "echo 'docker-entrypoint.sh: running /docker-entrypoint-initdb.d/10-table.sql'; echo 'psql: ERROR: no such table' >&2; exit 3", 3,
			"psql: ERROR: no such table\nstart: nothing was started: initializing the volume: running /docker-entrypoint-initdb.d/10-table.sql ended with exit code 3 "},
		{"before any script", "exit 1", 1, "start: nothing was started: initializing the volume ended with exit code 1 "},
		{"a question to the server is no end", "postgres -C password_encryption; postgres --version; exit 0", 1, "ended with exit code 0 "},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := newPod(t, image(test.entrypoint))
			for range 2 {
				p.console.Reset()
				require.Equal(t, test.code, p.run(t, "start.sh", "-c", "some=thing"))
				require.Contains(t, p.console.String(), test.expect)
				require.NoDirExists(t, p.data)
				require.NotContains(t, p.record(t), "server: ")
			}
			p.program(t, "docker-entrypoint.sh", image("")["docker-entrypoint.sh"])
			require.Zero(t, p.run(t, "start.sh", "-c", "some=thing"), "corrected: %s", p.console.String())
			require.Contains(t, p.record(t), "server: ")
		})
	}
}

func TestProcessThatAnInitScriptLeavesBehindHoldsNothingUp(t *testing.T) {
	t.Parallel()
	p := newPod(t, image(`sleep 600 & echo "child: $!" >>"$RECORD"`))
	s := p.begin(t, "-c", "some=thing")
	s.exited()
	require.Zero(t, s.cmd.ProcessState.ExitCode(), s.console())
	require.Contains(t, s.console(), "PostgreSQL init process complete\n")
	require.Contains(t, p.record(t), "server: ")
}

func TestFirstStartStopsWhenThePodIsStopped(t *testing.T) {
	t.Parallel()
	p := newPod(t, image(`sleep 600 & echo "child: $!" >>"$RECORD"; wait`))
	s := p.begin(t, "-c", "some=thing")
	p.child(t)
	s.signal(syscall.SIGTERM)
	s.exited()
	require.Equal(t, 143, s.cmd.ProcessState.ExitCode())
	require.NoDirExists(t, p.data)
}

func TestImageInWhichTheUserHasNoName(t *testing.T) {
	t.Parallel()
	p := newPod(t, image(""))
	p.program(t, "id", `case "$1" in -un) exit 1 ;; *) echo 70999 ;; esac`)
	wrappers, err := filepath.Glob("/usr/lib/*/libnss_wrapper.so")
	require.NoError(t, err)
	if len(wrappers) > 0 {
		require.Zero(t, p.run(t, "start.sh"), "the image's entrypoint uses it: %s", p.console.String())
		return
	}
	require.Equal(t, 1, p.run(t, "start.sh"))
	require.Equal(t, "start: nothing was started: the image has no user 70999 and no libnss_wrapper.so, and without one of them "+
		"no database can be made or taken over. Set an image that has one, such as the official one\n", p.console.String())
	require.NoFileExists(t, filepath.Join(p.dir, "record"))

	p.write(t, "PG_VERSION")
	require.Zero(t, p.run(t, "start.sh"), "a database that is there needs no name: %s", p.console.String())
}

func TestWhatAlterSystemHasSetIsNamedAfterAStartThatFailed(t *testing.T) {
	t.Parallel()
	p := newPod(t, image(""))
	p.write(t, "PG_VERSION")
	require.NoError(t, os.WriteFile(filepath.Join(p.data, "postgresql.auto.conf"),
		[]byte("# Do not edit this file manually!\nmax_connections = '1'\nprimary_conninfo = 'password=hunter2'\n"), 0o600))
	require.Zero(t, p.run(t, "start.sh"))
	require.Empty(t, p.console.String(), "nothing has failed yet")
	require.Zero(t, p.run(t, "start.sh"))
	require.Equal(t, "start: this server did not become ready at its last start. These parameters were set with ALTER SYSTEM, "+
		"on the volume, and count more than a file: max_connections primary_conninfo "+
		"- if one of them keeps it from starting, set that one among the stack's parameters, whose value then counts\n", p.console.String())
}

func TestVolumeOfAnotherUserIsNamed(t *testing.T) {
	t.Parallel()
	me := fmt.Sprintf("%d:%d", os.Getuid(), os.Getgid())
	for _, test := range []struct {
		name    string
		prepare func(t *testing.T, p *pod)
		expect  string
	}{
		{"the volume is root's", func(t *testing.T, p *pod) {
			require.NoError(t, os.Chown(filepath.Dir(p.data), os.Getuid(), os.Getgid()))
			require.NoError(t, os.Chmod(filepath.Dir(p.data), 0o555))
		}, "cannot write to the volume: VOLUME belongs to " + me + " (mode 555), Permission denied. Have it given to this user: pulumi config set fixVolumeOwner true, or give the volume away in a pod that runs as root: chown -R UID:GID\n"},
		{"only a part of it was given away", func(t *testing.T, p *pod) {
			require.NoError(t, os.WriteFile(p.data+".lock", nil, 0o444))
			require.NoError(t, os.Chmod(p.data+".lock", 0o444))
		}, "cannot write to the volume: VOLUME belongs to OWNER (mode 755), VOLUME/pgdata.lock belongs to " + me + " (mode 444), Permission denied. " +
			"Have it given to this user: pulumi config set fixVolumeOwner true, or give the volume away in a pod that runs as root: chown -R UID:GID\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := newUnprivileged(t, image(""))
			test.prepare(t, p)
			s := p.begin(t)
			s.exited()
			require.Equal(t, 1, s.cmd.ProcessState.ExitCode())
			uid, gid := fmt.Sprint(os.Getuid()), fmt.Sprint(os.Getgid())
			if p.account != nil {
				uid, gid = fmt.Sprint(p.account.Uid), fmt.Sprint(p.account.Gid)
			}
			expect := strings.NewReplacer("VOLUME", filepath.Dir(p.data), "UID", uid, "GID", gid, "OWNER", uid+":"+gid).Replace(test.expect)
			require.Equal(t, "start: nothing was started: this server runs as user and group "+uid+":"+gid+" and "+expect, s.console())
		})
	}
}

func TestDatabaseOfAnotherUserIsNamed(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("only root can make files that belong to somebody else")
	}
	p := newUnprivileged(t, image(""))
	p.write(t, "PG_VERSION")
	s := p.begin(t)
	s.exited()
	id := fmt.Sprintf("%d:%d", p.account.Uid, p.account.Gid)
	require.Equal(t, "start: nothing was started: this server runs as user and group "+id+" and cannot use the database of another user: "+
		p.data+" belongs to 0:0 (mode 700), and PostgreSQL wants its own. "+
		"Have it given to this user: pulumi config set fixVolumeOwner true, or give the volume away in a pod that runs as root: chown -R "+id+"\n", s.console())
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
			code := p.run(t, "start.sh", "-c", "some=thing")
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
	require.Zero(t, p.run(t, "start.sh", "-c", "some=thing"))
}

func TestForeignFilesAreNotTouched(t *testing.T) {
	t.Parallel()
	p := newPod(t, image(""))
	p.write(t, "letter.txt")
	require.Equal(t, 1, p.run(t, "start.sh", "-c", "some=thing"))
	require.Equal(t, "start: nothing was started: "+p.data+" holds something that is not a PostgreSQL data directory: letter.txt. "+
		"Nothing was changed. Restore the database's files, or move these away\n", p.console.String())
	require.FileExists(t, filepath.Join(p.data, "letter.txt"))
	require.NoFileExists(t, filepath.Join(p.dir, "record"))
}
