package imagetest

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const password = `it's a "secret" \ $(of) mine`

var lab = []string{"POSTGRES_DB=codewizard", "POSTGRES_USER=wizard", "POSTGRES_PASSWORD=" + password}

func TestFirstStartMakesTheDatabaseAndLaterOnesKeepIt(t *testing.T) {
	t.Parallel()
	data := volume(t, serverUID)
	first := run(t, data, options{uid: serverUID, env: lab})
	first.waitReady(t)

	require.Equal(t, "codewizard|UTF8|en_US.utf8|en_US.utf8", first.sql(t, "wizard", "codewizard",
		"select datname, pg_encoding_to_char(encoding), datcollate, datctype from pg_database where datname = current_database()"))
	require.Equal(t, "t", first.sql(t, "wizard", "codewizard", "select rolsuper from pg_roles where rolname = 'wizard'"))
	require.Equal(t, release.Major, first.sql(t, "wizard", "codewizard", "select current_setting('server_version_num')::int / 10000"))
	require.Equal(t, "*", first.sql(t, "wizard", "codewizard", "show listen_addresses"))
	require.NoError(t, first.login(t, "wizard", "codewizard", password))
	require.ErrorContains(t, first.login(t, "wizard", "codewizard", "wrong"), "password authentication failed")
	first.sql(t, "wizard", "codewizard", "create table kept as select 42 as answer")
	identifier := first.sql(t, "wizard", "codewizard", "select system_identifier from pg_control_system()")
	first.stop(t)

	// Settings of a first start mean nothing to a database that is there.
	second := run(t, data, options{uid: serverUID, env: []string{"POSTGRES_DB=other", "POSTGRES_PASSWORD=other"}})
	second.waitReady(t)
	require.Equal(t, "42", second.sql(t, "wizard", "codewizard", "select answer from kept"))
	require.Equal(t, identifier, second.sql(t, "wizard", "codewizard", "select system_identifier from pg_control_system()"))
	require.Equal(t, "0", second.sql(t, "wizard", "codewizard", "select count(*) from pg_database where datname = 'other'"))
	require.NoError(t, second.login(t, "wizard", "codewizard", password))
	require.Contains(t, second.output.String(), "database system was shut down at", "no recovery was needed")
	second.stop(t)
}

func TestStopSignalShutsDownFastAndClean(t *testing.T) {
	t.Parallel()
	c := run(t, volume(t, serverUID), options{uid: serverUID, env: lab})
	c.waitReady(t)
	c.sql(t, "wizard", "codewizard", "create table t (x int)")
	// A client that would keep a server waiting that lets its clients finish.
	go func() {
		_, _ = c.exec(t, "psql", "-U", "wizard", "-d", "codewizard", "-c", "begin", "-c", "insert into t values (1)", "-c", "select pg_sleep(600)")
	}()
	require.Eventually(t, func() bool {
		return c.sql(t, "wizard", "codewizard", "select count(*) from pg_stat_activity where query like '%pg_sleep(600)'and pid <> pg_backend_pid()") == "1"
	}, timeout, poll)

	began := time.Now()
	c.stop(t)
	require.Less(t, time.Since(began), 30*time.Second)
	require.Contains(t, c.output.String(), "received fast shutdown request")
	lines := strings.Split(strings.TrimSpace(c.output.String()), "\n")
	require.Contains(t, lines[len(lines)-1], "database system is shut down")
}

func TestSettingsAreReadFromFiles(t *testing.T) {
	t.Parallel()
	settings := volume(t, 0)
	env := []string{}
	for name, value := range map[string]string{
		"POSTGRES_DB": "codewizard", "POSTGRES_USER": "wizard", "POSTGRES_PASSWORD": password, "POSTGRES_INITDB_ARGS": "--data-checksums",
	} {
		require.NoError(t, os.WriteFile(filepath.Join(settings, name), []byte(value+"\n"), 0o644))
		env = append(env, name+"_FILE=/settings/"+name)
	}
	c := run(t, volume(t, serverUID), options{uid: serverUID, env: env, mounts: map[string]string{"/settings": settings}})
	c.waitReady(t)
	require.NoError(t, c.login(t, "wizard", "codewizard", password))
	require.Equal(t, "on", c.sql(t, "wizard", "codewizard", "show data_checksums"))
}

func TestUserAndDatabaseHaveTheOfficialDefaults(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		env            []string
		user, database string
	}{
		"neither is set":       {user: "postgres", database: "postgres"},
		"the user is set":      {env: []string{"POSTGRES_USER=wizard"}, user: "wizard", database: "wizard"},
		"odd names are quoted": {env: []string{"POSTGRES_USER=W-izard", `POSTGRES_DB=it's "odd"`}, user: "W-izard", database: `it's "odd"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := run(t, volume(t, serverUID), options{uid: serverUID, env: append(c.env, "POSTGRES_PASSWORD="+password)})
			server.waitReady(t)
			require.NoError(t, server.login(t, c.user, c.database, password))
		})
	}
}

func TestBadSettingsAreRefusedBeforeAnythingIsMade(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		env  []string
		want string
	}{
		"no password":               {want: "set POSTGRES_PASSWORD or POSTGRES_PASSWORD_FILE"},
		"an empty password":         {env: []string{"POSTGRES_PASSWORD="}, want: "no superuser password is specified"},
		"an empty file":             {env: []string{"POSTGRES_PASSWORD_FILE=/dev/null"}, want: "no superuser password is specified"},
		"a value and a file":        {env: []string{"POSTGRES_PASSWORD=x", "POSTGRES_PASSWORD_FILE=/etc/hostname"}, want: "POSTGRES_PASSWORD and POSTGRES_PASSWORD_FILE are both set"},
		"a file that is not there":  {env: []string{"POSTGRES_USER_FILE=/no/such/file", "POSTGRES_PASSWORD=x"}, want: "POSTGRES_USER_FILE names /no/such/file"},
		"another method than trust": {env: []string{"POSTGRES_HOST_AUTH_METHOD=scram-sha-256"}, want: "no superuser password is specified"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data := volume(t, serverUID)
			server := run(t, data, options{uid: serverUID, env: c.env})
			require.Equal(t, 1, server.waitEnd(t))
			require.Contains(t, server.output.String(), c.want)
			made, err := os.ReadDir(data)
			require.NoError(t, err)
			require.Empty(t, made)
		})
	}
}

func TestTrustNeedsNoPasswordAndWarns(t *testing.T) {
	t.Parallel()
	c := run(t, volume(t, serverUID), options{uid: serverUID, env: []string{"POSTGRES_HOST_AUTH_METHOD=trust"}})
	c.waitReady(t)
	require.NoError(t, c.login(t, "postgres", "postgres", ""))
	require.Contains(t, c.output.String(), "POSTGRES_HOST_AUTH_METHOD=trust: whoever reaches the port is let in")
}

func TestForeignFilesAreNotTouched(t *testing.T) {
	t.Parallel()
	data := volume(t, serverUID)
	require.NoError(t, os.Mkdir(filepath.Join(data, "lost+found"), 0o700))
	c := run(t, data, options{uid: serverUID, env: lab})
	require.Equal(t, 1, c.waitEnd(t))
	require.Contains(t, c.output.String(), "holds no database but is not empty (lost+found)")
	left, err := os.ReadDir(data)
	require.NoError(t, err)
	require.Len(t, left, 1)
}

func TestRootGivesTheDataAwayAndStepsDown(t *testing.T) {
	t.Parallel()
	data := volume(t, 0)
	c := run(t, data, options{uid: 0, env: lab})
	c.waitReady(t)
	require.Equal(t, serverUID, owner(t, data))
	require.Equal(t, serverUID, owner(t, filepath.Join(data, "PG_VERSION")))
	require.Equal(t, serverUID, owner(t, fmt.Sprintf("/proc/%d", c.pid(t))))
	require.NoError(t, c.login(t, "wizard", "codewizard", password))
}

func TestAnyUserCanRunIt(t *testing.T) {
	t.Parallel()
	const uid = 123456 // has no name in the image
	data := volume(t, uid)
	c := run(t, data, options{uid: uid, env: lab})
	c.waitReady(t)
	require.Equal(t, uid, owner(t, filepath.Join(data, "PG_VERSION")))
	require.NoError(t, c.login(t, "wizard", "codewizard", password))
	c.stop(t)
}

func TestInitScriptsRunInOrder(t *testing.T) {
	t.Parallel()
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	_, err := w.Write([]byte("insert into steps (name) values ('zipped');\n"))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	scripts := initScripts(t, map[string]string{
		"10-table.sql":       "create table steps (id serial, name text);\n",
		"+20-executed.sh":    "#!/bin/sh\npsql -v ON_ERROR_STOP=1 -U \"$POSTGRES_USER\" -d \"$POSTGRES_DB\" -c \"insert into steps (name) values ('executed')\"\n",
		"30-sourced.sh":      "docker_process_sql -c \"insert into steps (name) values ('sourced')\"\n",
		"40-zipped.sql.gz":   zipped.String(),
		"50-ignored.txt":     "neither SQL nor shell",
		"60-settings.sh":     "echo \"work_mem = '7MB'\" >> \"$PGDATA/postgresql.conf\"\n",
		"+70-environment.sh": "#!/bin/sh\n[ -n \"$POSTGRES_PASSWORD\" ] && [ \"$PGPASSWORD\" = \"$POSTGRES_PASSWORD\" ]\n",
	})
	c := run(t, volume(t, serverUID), options{uid: serverUID, env: lab, mounts: map[string]string{"/docker-entrypoint-initdb.d": scripts}})
	c.waitReady(t)
	require.Equal(t, "executed,sourced,zipped", c.sql(t, "wizard", "codewizard", "select string_agg(name, ',' order by id) from steps"))
	require.Equal(t, "7MB", c.sql(t, "wizard", "codewizard", "show work_mem"))
	require.Contains(t, c.output.String(), "ignoring /docker-entrypoint-initdb.d/50-ignored.txt")
}

func TestFailedInitialisationIsBegunAnew(t *testing.T) {
	t.Parallel()
	data := volume(t, serverUID)
	broken := initScripts(t, map[string]string{"10.sql": "create table half (x int);\n", "20.sql": "select 1/0;\n"})
	first := run(t, data, options{uid: serverUID, env: lab, mounts: map[string]string{"/docker-entrypoint-initdb.d": broken}})
	require.NotEqual(t, 0, first.waitEnd(t))
	require.Contains(t, first.output.String(), "division by zero")

	second := run(t, data, options{uid: serverUID, env: lab})
	second.waitReady(t)
	require.Contains(t, second.output.String(), "removing what an interrupted initialization left")
	require.Equal(t, "0", second.sql(t, "wizard", "codewizard", "select count(*) from pg_class where relname = 'half'"))
}

// Kills at many moments: each must leave what the next start either completes
// or takes as complete, never a database without what was asked for.
func TestInitialisationSurvivesBeingKilledAtAnyMoment(t *testing.T) {
	t.Parallel()
	data, wal := volume(t, serverUID), volume(t, serverUID)
	o := options{
		uid:    serverUID,
		env:    append([]string{"POSTGRES_INITDB_WALDIR=/wal/pg_wal"}, lab...),
		mounts: map[string]string{"/wal": wal},
	}
	for _, moment := range []string{
		"creating configuration files", "performing post-bootstrap initialization", "syncing data to disk",
		"starting PostgreSQL " + release.Major, "shutting down",
	} {
		c := run(t, data, o)
		c.waitFor(t, moment)
		c.signal(t, "KILL")
		c.waitEnd(t)
		require.FileExists(t, filepath.Join(data, ".initializing"), moment)
	}
	c := run(t, data, o)
	c.waitReady(t)
	require.NoFileExists(t, filepath.Join(data, ".initializing"))
	require.NoError(t, c.login(t, "wizard", "codewizard", password))
	target, err := os.Readlink(filepath.Join(data, "pg_wal"))
	require.NoError(t, err)
	require.Equal(t, "/wal/pg_wal", target)
	c.stop(t)
}

func TestInitdbArgumentsAreSplitAsByAShell(t *testing.T) {
	t.Parallel()
	c := run(t, volume(t, serverUID), options{uid: serverUID, env: append([]string{
		`POSTGRES_INITDB_ARGS=--data-checksums --locale-provider=icu --icu-locale="de-DE" --auth-host='scram-sha-256' --wal-segsize=4`,
	}, lab...)})
	c.waitReady(t)
	require.Equal(t, "on|4MB", c.sql(t, "wizard", "codewizard", "select current_setting('data_checksums'), current_setting('wal_segment_size')"))
	require.Equal(t, "de-DE", c.sql(t, "wizard", "codewizard", "select datlocale from pg_database where datname = 'codewizard'"))
}

func TestFlagsGoToTheServer(t *testing.T) {
	t.Parallel()
	c := run(t, volume(t, serverUID), options{uid: serverUID, env: lab, args: []string{"-c", "work_mem=5MB", "-c", "cluster_name=two words"}})
	c.waitReady(t)
	require.Equal(t, "5MB|two words", c.sql(t, "wizard", "codewizard", "select current_setting('work_mem'), current_setting('cluster_name')"))
}

func TestOtherCommandsAreRunAsTheyAre(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"a program as root":       {args: []string{"id", "-u"}, want: "0"},
		"a shell":                 {args: []string{"sh", "-c", "echo $PG_MAJOR"}, want: release.Major},
		"a question to postgres":  {args: []string{"postgres", "--version"}, want: "postgres (PostgreSQL) " + release.Major},
		"a question as flag only": {args: []string{"--version"}, want: "postgres (PostgreSQL) " + release.Major},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data := volume(t, 0)
			container := run(t, data, options{args: c.args})
			require.Equal(t, 0, container.waitEnd(t))
			require.True(t, strings.HasPrefix(container.output.String(), c.want), container.output)
			made, err := os.ReadDir(data)
			require.NoError(t, err)
			require.Empty(t, made)
			require.Equal(t, 0, owner(t, data))
		})
	}
}

func TestPasswordIsInNoLogNoArgumentAndNoServersEnvironment(t *testing.T) {
	t.Parallel()
	// Other tests give theirs to psql as an argument of env.
	const password = "seen nowhere else"
	c := run(t, volume(t, serverUID), options{uid: serverUID, env: []string{"POSTGRES_PASSWORD=" + password}})
	// All arguments of all processes, over and over while the database is made.
	ready := make(chan struct{})
	seen := make(chan string, 1)
	go func() {
		defer close(seen)
		for {
			files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
			for _, file := range files {
				// A process may have ended in the meantime.
				if line, _ := os.ReadFile(file); bytes.Contains(line, []byte(password)) {
					seen <- string(bytes.ReplaceAll(line, []byte{0}, []byte{' '}))
					return
				}
			}
			select {
			case <-ready:
				return
			default:
			}
		}
	}()
	c.waitReady(t)
	close(ready)
	require.Empty(t, <-seen)
	require.NotContains(t, c.output.String(), password)
	environment, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", c.pid(t)))
	require.NoError(t, err)
	require.Contains(t, string(environment), "PGDATA=")
	require.NotContains(t, string(environment), password)
}

func TestImageHoldsNothingOfTheMachineThatMadeIt(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"etc/ssl/private", "etc/apt/sources.list", "var/lib/apt", "usr/share/perl", "usr/share/i18n"} {
		require.NoFileExists(t, filepath.Join(base.rootFS, path))
		require.NoDirExists(t, filepath.Join(base.rootFS, path))
	}
	for _, path := range []string{"etc/hostname", "etc/resolv.conf"} {
		info, err := os.Stat(filepath.Join(base.rootFS, path))
		require.NoError(t, err)
		require.Zero(t, info.Size(), path)
	}
	config := base.config
	require.Equal(t, "SIGINT", config.StopSignal)
	require.Equal(t, []string{"postgres"}, config.Cmd)
	require.Empty(t, config.User)
	require.Contains(t, config.ExposedPorts, "5432/tcp")
	require.Contains(t, config.Volumes, dataDir)
	require.Regexp(t, `PG_VERSION=`+release.Major+`\.\d+`, strings.Join(config.Env, "\n"))
}

func TestSocketFolderIsThereAndOpenToAnyUser(t *testing.T) {
	t.Parallel()
	info, err := os.Stat(filepath.Join(base.rootFS, "run", "postgresql"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o777), info.Mode().Perm())
	require.NotZero(t, info.Mode()&os.ModeSticky, "anybody could remove the server's socket")
}
