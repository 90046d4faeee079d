package components

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// database are the files of a data directory, in part.
var database = []string{
	".hidden", "0 before all others", "PG_VERSION", "a name", "base/1", "base/5", "global/pg_control", "pg_hba.conf", "pg_wal/000000010000000000000001",
}

// newVolume is a pod whose volume holds a database at its root, as it is when
// the volume itself was the data directory. Every call of a program that changes
// the volume is counted, and before the one that KILL_BEFORE names the script is
// killed.
func newVolume(t *testing.T) *pod {
	t.Helper()
	programs := image("")
	programs["pg_controldata"] = `echo "pg_control version number:            1300"
echo "Database cluster state:               ${STATE-shut down}"`
	programs["postgres"] = `if [ "$1" = --single ]; then
    echo "single: $*" >>"$RECORD"
    if [ "$(stat -c %a "$3")" != 700 ]; then echo "data directory has invalid permissions" >&2; exit 1; fi
    if [ -n "${BROKEN-}" ]; then echo "$BROKEN" >&2; exit 1; fi
    read -r query
    case $query in *"rolname = 'clerk'"*) echo '1: found = "found role"' ;; esac
    case $query in *"datname = 'shop'"*) echo '1: found = "found database"' ;; esac
    exit
fi
` + programs["postgres"]
	for _, program := range []string{"mv", "mkdir", "chmod"} {
		path, err := exec.LookPath(program)
		require.NoError(t, err)
		programs[program] = `calls=$(($(cat "$CALLS") + 1))
echo "$calls" >"$CALLS"
if [ "$calls" = "${KILL_BEFORE-}" ]; then kill -KILL "$PPID"; exit 1; fi
exec ` + path + ` "$@"`
	}
	programs["sync"] = "exit 0"
	p := newPod(t, programs)
	p.env = append(p.env, "CALLS="+filepath.Join(p.dir, "calls"))
	require.NoError(t, os.WriteFile(filepath.Join(p.dir, "calls"), []byte("0"), 0o600))
	for _, file := range database {
		p.write(t, "../"+file)
	}
	require.NoError(t, os.Mkdir(p.volume("pg_tblspc"), 0o700))
	require.NoError(t, os.Mkdir(p.volume("lost+found"), 0o700))
	return p
}

func (p *pod) volume(name string) string { return filepath.Join(filepath.Dir(p.data), name) }

// files are the files below a folder of the volume, without the locks.
func (p *pod) files(t *testing.T, folder string) []string {
	t.Helper()
	var found []string
	require.NoError(t, fs.WalkDir(os.DirFS(p.volume(folder)), ".", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() && !strings.HasPrefix(path, "pgdata.lock") {
			found = append(found, path)
		}
		return err
	}))
	return found
}

func TestDatabaseAtTheRootOfTheVolumeIsTakenOver(t *testing.T) {
	t.Parallel()
	p := newVolume(t)
	require.NoError(t, os.Chmod(p.volume(""), 0o770|os.ModeSetgid))
	require.Zero(t, p.run(t, "start.sh"), p.console.String())
	require.Equal(t, database, p.files(t, "pgdata"))
	require.DirExists(t, p.volume("pgdata/pg_tblspc"))
	require.DirExists(t, p.volume("lost+found"), "it is the file system's")
	left, err := os.ReadDir(p.volume(""))
	require.NoError(t, err)
	require.Len(t, left, 4, "and the locks")
	mode, err := os.Stat(p.data)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), mode.Mode().Perm())
	require.Contains(t, p.console.String(), "is now in "+p.data)
	require.Contains(t, p.record(t), "server: ")
	require.NotContains(t, p.record(t), "entrypoint", "nothing is initialized")

	p.console.Reset()
	require.Zero(t, p.run(t, "start.sh"))
	require.Empty(t, p.console.String(), "once is enough")
}

func TestTakeOverGoesOnWhereItWasInterrupted(t *testing.T) {
	t.Parallel()
	for call := 1; ; call++ {
		p := newVolume(t)
		environment := p.env
		p.env = append(slices.Clip(environment), "KILL_BEFORE="+strconv.Itoa(call))
		code := p.run(t, "start.sh")
		if code == 0 {
			require.Greater(t, call, len(database), "it was interrupted between any two files")
			return
		}
		require.Equal(t, -1, code, "killed")
		found := p.files(t, "")
		require.False(t, slices.Contains(found, "PG_VERSION") && slices.Contains(found, "pgdata.adopting/0 before all others"),
			"nobody takes what is left at the root for a database")
		for i, file := range found {
			for _, folder := range []string{"pgdata/", "pgdata.adopting/"} {
				found[i] = strings.TrimPrefix(found[i], folder)
			}
			require.False(t, strings.HasPrefix(file, "pgdata.initializing"))
		}
		slices.Sort(found)
		require.Equal(t, database, found, "killed before call %d: every file is in exactly one place", call)

		p.env = environment
		require.Zero(t, p.run(t, "start.sh"), "killed before call %d: %s", call, &p.console)
		require.Equal(t, database, p.files(t, "pgdata"))
		require.NoDirExists(t, p.volume("pgdata.adopting"))
	}
}

func TestDatabaseAtTheRootThatCannotBeTakenOverIsLeftAsItIs(t *testing.T) {
	t.Parallel()
	const refused = "start: the volume holds a database at its root, and it was left as it is: "
	for _, test := range []struct {
		name    string
		prepare func(t *testing.T, p *pod)
		expect  string
	}{
		{"running", func(_ *testing.T, p *pod) { p.env = append(p.env, "STATE=in production") },
			refused + "it was not shut down cleanly (in production). Start it once more where it ran before, and stop it without clients\n"},
		{"killed", func(t *testing.T, p *pod) {
			p.env = append(p.env, "STATE=in production")
			p.write(t, "../postmaster.pid")
		},
			refused + "it was not shut down cleanly (in production, postmaster.pid is there). Start it once more where it ran before, and stop it without clients\n"},
		{"starting", func(t *testing.T, p *pod) { p.write(t, "../postmaster.pid") },
			refused + "it was not shut down cleanly (shut down, postmaster.pid is there). Start it once more where it ran before, and stop it without clients\n"},
		{"a standby", func(_ *testing.T, p *pod) { p.env = append(p.env, "STATE=shut down in recovery") },
			refused + "it was not shut down cleanly (shut down in recovery). Start it once more where it ran before, and stop it without clients\n"},
		{"no state", func(_ *testing.T, p *pod) { p.env = append(p.env, "STATE=") },
			refused + "it was not shut down cleanly (no state). Start it once more where it ran before, and stop it without clients\n"},
		{"other release", func(_ *testing.T, p *pod) { p.env = append(p.env, "IMAGE_VERSION=17.2") },
			"start: the volume holds data of PostgreSQL 15, and the image is PostgreSQL 17. Nothing was touched. " +
				"Set an image of PostgreSQL 15, or move the rows with pg_dump into a stack with the other one\n"},
		{"tablespaces", func(t *testing.T, p *pod) { require.NoError(t, os.Symlink("/elsewhere", p.volume("pg_tblspc/16384"))) },
			refused + "it has tablespaces. Move their tables into pg_default and drop them, where it ran before\n"},
		{"log elsewhere", func(t *testing.T, p *pod) {
			require.NoError(t, os.Rename(p.volume("pg_wal"), filepath.Join(p.dir, "wal")))
			require.NoError(t, os.Symlink("/elsewhere", p.volume("pg_wal")))
		}, refused + "its write-ahead log is elsewhere, at /elsewhere\n"},
		{"another user's", func(t *testing.T, p *pod) {
			// As the script sees it: a test cannot give files away.
			require.NoError(t, os.WriteFile(filepath.Join(p.dir, "bin", "id"), []byte("#!/bin/sh\necho 70999\n"), 0o755))
		}, refused + fmt.Sprintf("it belongs to user %d, and this server runs as 70999. "+
			"Give it away first, in a pod that runs as root: chown -R 70999:70999\n", os.Getuid())},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := newVolume(t)
			test.prepare(t, p)
			before := p.files(t, "")
			require.Equal(t, 1, p.run(t, "start.sh"))
			require.Equal(t, test.expect, p.console.String())
			require.Equal(t, before, p.files(t, ""))
			require.NoDirExists(t, p.volume("pgdata.adopting"))
			require.NoDirExists(t, p.data)
		})
	}
}

func TestWrongNamesCanBeCorrectedDuringATakeOver(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, variable, expect string }{
		{"role", "POSTGRES_USER=nobody",
			"start: the volume's database has no superuser nobody; set the one that it has with: pulumi config set user\n"},
		{"database", "POSTGRES_DB=nothing",
			"start: the volume's database server has no database nothing; set one that it has with: pulumi config set database\n"},
		{"image", "BROKEN=FATAL:  database locale is incompatible with operating system",
			"start: the database that was at the root of the volume does not open in this image: FATAL:  database locale is incompatible with operating system\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := newVolume(t)
			environment := p.env
			p.env = append(slices.Clip(environment), test.variable)
			for range 2 {
				p.console.Reset()
				require.Equal(t, 1, p.run(t, "start.sh"))
				require.Equal(t, test.expect, p.console.String())
				require.NoDirExists(t, p.data)
			}
			p.env = environment
			require.Zero(t, p.run(t, "start.sh"), p.console.String())
			require.Equal(t, database, p.files(t, "pgdata"))
		})
	}
}

func TestTakeOverOverwritesNothing(t *testing.T) {
	t.Parallel()
	p := newVolume(t)
	p.write(t, "../pgdata.adopting/base/1")
	require.Equal(t, 1, p.run(t, "start.sh"))
	require.Contains(t, p.console.String(), "both hold base; nothing more was moved")
	require.FileExists(t, p.volume("base/1"))
	require.FileExists(t, p.volume("pgdata.adopting/base/1"))
}

func TestEmptyFolderOfATakeOverIsNoDatabase(t *testing.T) {
	t.Parallel()
	p := newPod(t, image(""))
	require.NoError(t, os.Mkdir(p.data+".adopting", 0o700))
	p.write(t, "../letter.txt")
	require.Zero(t, p.run(t, "start.sh"), p.console.String())
	require.Contains(t, p.record(t), "entrypoint: postgres", "initialized as an empty volume is")
	require.FileExists(t, p.volume("letter.txt"))
}

func TestModesThatTheKubeletSetAreTheServersAgain(t *testing.T) {
	t.Parallel()
	for had, want := range map[os.FileMode]os.FileMode{
		0o770 | os.ModeSetgid: 0o700, 0o777: 0o700, 0o750: 0o750, 0o700: 0o700,
	} {
		p := newPod(t, image(""))
		p.write(t, "PG_VERSION")
		require.NoError(t, os.Chmod(p.data, had))
		require.Zero(t, p.run(t, "start.sh"), p.console.String())
		after, err := os.Stat(p.data)
		require.NoError(t, err)
		require.Equal(t, want, after.Mode().Perm(), "was %s", had)
	}
}
