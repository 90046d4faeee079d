package components

import (
	"bytes"
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
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"stateful-postgres/components/scripts"
	"stateful-postgres/components/settings"
	"stateful-postgres/internal/certificate"
	"stateful-postgres/internal/contract"
	"stateful-postgres/internal/postgres"
)

// checkPod is a directory in which the check of the settings runs with the real
// server of this machine, as an account that may run one.
type checkPod struct {
	dir     string
	account *syscall.Credential
	env     map[string]string
	// arguments are the server's.
	arguments []string
}

// Addresses of the check's own server, and of the one that runs.
const (
	checkAddress   = "127.0.0.1"
	runningAddress = "127.0.0.2"
)

func newCheckPod(t *testing.T) *checkPod {
	t.Helper()
	binaries := postgres.NeedBinaries(t)
	account, err := postgres.UnprivilegedAccount()
	require.NoError(t, err)
	listener, err := net.Listen("tcp", checkAddress+":0")
	require.NoError(t, err)
	port := listener.Addr().(*net.TCPAddr).Port
	require.NoError(t, listener.Close())

	// Not t.TempDir: the account could not enter it.
	dir, err := os.MkdirTemp("", "check")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	c := &checkPod{dir: dir, account: account}
	programs := filepath.Join(c.dir, "programs")
	for _, folder := range []string{"", "programs", "config", "tmp", "volume"} {
		path := filepath.Join(c.dir, folder)
		require.NoError(t, os.MkdirAll(path, 0o755))
		if account != nil {
			require.NoError(t, os.Chown(path, int(account.Uid), int(account.Gid)))
		}
	}
	require.NoError(t, os.WriteFile(filepath.Join(programs, "docker-entrypoint.sh"), []byte("#!/bin/sh\nexit 1\n"), 0o755))
	c.env = map[string]string{
		"PATH": programs + ":" + binaries + ":" + os.Getenv("PATH"), "LC_ALL": "C", "TMPDIR": filepath.Join(c.dir, "tmp"),
		"CONFIG": "include_if_exists = '" + c.dir + "/volume/pgdata/postgresql.conf'\n", "ACCESS": "host all all all scram-sha-256\n",
		"CONFIG_FOLDER": filepath.Join(c.dir, "config"), "INIT_SERVER": scripts.Text(scripts.InitServer),
		"PGDATA": filepath.Join(c.dir, "volume", "pgdata"), "PGPORT": strconv.Itoa(port),
		"POSTGRES_USER": "clerk", "POSTGRES_DB": "shop", "POSTGRES_PASSWORD_FILE": filepath.Join(c.dir, "password"),
		"POSTGRES_INITDB_ARGS": "--auth-local=trust --auth-host=scram-sha-256", "RUNNING_SERVER": runningAddress, "CLIENT_SSLMODE": "prefer",
		"MEMORY": strconv.Itoa(1 << 30), "HUGE_PAGES": "0", "CORRECT": "Correct a parameter.", "RUN_AS_IT": "Run as it: runAsUser",
	}
	c.arguments = []string{
		"-c", "config_file=" + filepath.Join(c.dir, "config", "postgresql.conf"), "-c", "hba_file=" + filepath.Join(c.dir, "config", "pg_hba.conf"),
		"-c", "listen_addresses=" + checkAddress, "-c", "unix_socket_directories=",
	}
	return c
}

// run runs the check with further parameters, and returns its exit code and what
// it printed.
func (c *checkPod) run(t *testing.T, parameters ...string) (int, string) {
	t.Helper()
	command := exec.Command("/bin/sh", append([]string{"-c", scripts.Text(scripts.Check), "check.sh"}, c.arguments...)...)
	command.Dir = c.dir
	for name, value := range c.env {
		if name == "CONFIG" {
			value += strings.Join(parameters, "\n") + "\n"
		}
		command.Env = append(command.Env, name+"="+value)
	}
	var printed bytes.Buffer
	command.Stdout, command.Stderr = &printed, &printed
	command.SysProcAttr = &syscall.SysProcAttr{Credential: c.account, Setpgid: true}
	require.NoError(t, command.Start())
	// In place of the container's end, which takes what is left with it.
	defer func() { _ = syscall.Kill(-command.Process.Pid, syscall.SIGKILL) }()
	_ = command.Wait()
	return command.ProcessState.ExitCode(), printed.String()
}

func TestSettingsWithWhichAServerWorksPassTheCheck(t *testing.T) {
	t.Parallel()
	for name, parameters := range map[string][]string{
		"none":                            nil,
		"read-only by default":            {"default_transaction_read_only = 'on'"},
		"timeouts that nothing goes with": {"statement_timeout = '1'", "lock_timeout = '1'"},
		"commits that wait for nobody":    {"synchronous_standby_names = '*'", "synchronous_commit = 'local'"},
		"a search path that leads nowhere and a log that says nothing": {
			"search_path = 'nowhere'", "log_min_messages = 'panic'", "logging_collector = 'on'",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			code, printed := newCheckPod(t).run(t, parameters...)
			require.Zero(t, code, printed)
			require.Empty(t, printed)
		})
	}
}

func TestSettingsWithWhichNoServerWorksAreNamedByTheCheck(t *testing.T) {
	t.Parallel()
	const (
		refuses = "does not start with these settings, and the server was left as it is. It says:\n  "
		useless = "starts with these settings, but no client can work with it, and the server was left as it is. It says:\n  "
	)
	for _, test := range []struct {
		name       string
		parameters []string
		says       []string
	}{
		{
			"several at once", []string{"lc_messages = 'nowhere'", "huge_pages = 'perhaps'"},
			[]string{refuses, `invalid value for parameter "lc_messages": "nowhere"`, `invalid value for parameter "huge_pages": "perhaps"` + "\n    HINT: Available values: off, on, try.\n"},
		},
		{"valid apart, not together", []string{"superuser_reserved_connections = '100'"}, []string{refuses + "superuser_reserved_connections (100) must be less than max_connections (100)"}},
		{"library of the server", []string{"shared_preload_libraries = 'no_such_library'"}, []string{refuses + `could not access file "no_such_library"`}},
		{"library of a session", []string{"session_preload_libraries = 'no_such_library'"}, []string{useless, `FATAL:  could not access file "no_such_library"`}},
		{"memory that cannot be mapped", []string{"huge_pages = 'on'"}, []string{refuses + "could not map anonymous shared memory"}},
		{
			"memory that is not there", []string{"shared_buffers = '1200MB'"},
			[]string{"the server's shared memory takes 12", " MB, and the server may use 1024 MB of memory (resources.limits.memory, or what the node has), and the server was left as it is."},
		},
		{"smaller than two segments of the log", []string{"min_wal_size = '20MB'"}, []string{refuses + `"min_wal_size" must be at least twice "wal_segment_size"`}},
		{"log in a place that is not there", []string{"logging_collector = 'on'", "log_directory = '/nowhere'"}, []string{refuses + `could not open log file "/nowhere/`}},
		{"log that says nothing", []string{"log_min_messages = 'panic'", "max_wal_senders = '10'", "wal_level = 'minimal'"}, []string{refuses + "WAL streaming"}},
		{
			"commits that wait for ever", []string{"synchronous_standby_names = '*'"},
			[]string{"a client's COMMIT does not come to an end", "It waits for: a standby that synchronous_standby_names means, and there is none\nCorrect a parameter.\n"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			code, printed := newCheckPod(t).run(t, test.parameters...)
			require.Equal(t, 1, code, printed)
			require.True(t, strings.HasPrefix(printed, "check: "), printed)
			require.True(t, strings.HasSuffix(printed, "\nCorrect a parameter.\n"), printed)
			for _, says := range test.says {
				require.Contains(t, printed, says)
			}
			require.NotContains(t, printed, "skipping missing")
			require.Less(t, len(printed), 2048, "as much as Kubernetes keeps of it")
		})
	}
}

// TestCheckStartsWithTLS shows that what depends on the certificate is found.
func TestCheckStartsWithTLS(t *testing.T) {
	t.Parallel()
	files, err := certificate.Renew(nil, certificate.ServerNames("shop", nil), time.Now())
	require.NoError(t, err)
	for _, test := range []struct{ parameter, says string }{
		{"ssl_min_protocol_version = 'TLSv1.3'", ""},
		{"ssl_ciphers = 'TLS_AES_256_GCM_SHA384'", "could not set the cipher list (no valid ciphers available)"},
		{"ssl_ecdh_curve = 'no_such_curve'", "unrecognized curve name: no_such_curve"},
		{"ssl_ca_file = 'missing.crt'", `could not load root certificate file "missing.crt"`},
	} {
		t.Run(test.parameter, func(t *testing.T) {
			t.Parallel()
			c := newCheckPod(t)
			for _, name := range []string{contract.CertificateKey, contract.PrivateKeyKey} {
				path := filepath.Join(c.dir, name)
				require.NoError(t, os.WriteFile(path, files[name], 0o600))
				if c.account != nil {
					require.NoError(t, os.Chown(path, int(c.account.Uid), int(c.account.Gid)))
				}
			}
			c.env["CLIENT_SSLMODE"] = "require"
			c.arguments = append(c.arguments, "-c", "ssl=on",
				"-c", "ssl_cert_file="+filepath.Join(c.dir, contract.CertificateKey), "-c", "ssl_key_file="+filepath.Join(c.dir, contract.PrivateKeyKey))
			code, printed := c.run(t, test.parameter)
			if test.says == "" {
				require.Zero(t, code, printed)
				return
			}
			require.Equal(t, 1, code, printed)
			require.Contains(t, printed, test.says)
		})
	}
}

func TestImageThatDoesNotFitIsNamedByTheCheck(t *testing.T) {
	t.Parallel()
	program := func(t *testing.T, c *checkPod, name, text string) {
		require.NoError(t, os.WriteFile(filepath.Join(c.dir, "programs", name), []byte("#!/bin/sh\n"+text), 0o755))
	}
	for _, test := range []struct {
		name    string
		prepare func(t *testing.T, c *checkPod)
		says    string
	}{
		{
			"no entrypoint", func(t *testing.T, c *checkPod) {
				require.NoError(t, os.Remove(filepath.Join(c.dir, "programs", "docker-entrypoint.sh")))
			},
			"check: the image has no program docker-entrypoint.sh, and the server was left as it is.\n" +
				"Set an image that honours the contract of the official postgres image.\n",
		},
		{
			// As in an image of Alpine Linux, whose user postgres is 70.
			"user without a name, and one with another number", func(t *testing.T, c *checkPod) {
				program(t, c, "id", `case $* in -un) exit 1 ;; "-u postgres") echo 70 ;; *) echo 999 ;; esac`)
				program(t, c, "docker-entrypoint.sh", `echo "initdb: error: could not look up effective user ID 999: user does not exist" >&2; exit 1`)
			},
			"check: the image cannot initialize a database as user 999, and the server was left as it is. It says:\n" +
				"initdb: error: could not look up effective user ID 999: user does not exist\n" +
				"Its own user postgres has the number 70. Run as it: runAsUser 70\n",
		},
		{
			"user without a name, whom the image helps", func(t *testing.T, c *checkPod) {
				program(t, c, "id", `exit 1`)
				program(t, c, "docker-entrypoint.sh", `[ "$*" = postgres ] && [ "$(command -v postgres)" = "$TMPDIR/init/postgres" ] || exit 1
exec initdb --username="$POSTGRES_USER" --pwfile="$POSTGRES_PASSWORD_FILE" $POSTGRES_INITDB_ARGS`)
			},
			"",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := newCheckPod(t)
			test.prepare(t, c)
			code, printed := c.run(t)
			require.Equal(t, test.says, printed)
			require.Equal(t, test.says == "", code == 0)
		})
	}
}

// TestCheckAsksTheServerThatRuns starts one with what a server does not start
// without.
// The cases follow one another: all their servers have the port of the running one.
func TestCheckAsksTheServerThatRuns(t *testing.T) {
	t.Parallel()
	running := newCheckPod(t)
	execute := func(name string, arguments ...string) string {
		command := exec.Command(name, arguments...)
		command.Dir, command.SysProcAttr = running.dir, &syscall.SysProcAttr{Credential: running.account}
		for name, value := range running.env {
			command.Env = append(command.Env, name+"="+value)
		}
		printed, err := command.CombinedOutput()
		require.NoError(t, err, "%s", printed)
		return string(printed)
	}
	running.env["PGHOST"], running.env["PGUSER"], running.env["PGDATABASE"] = runningAddress, "clerk", "postgres"
	shell := func(text string) { execute("sh", "-c", "PATH='"+running.env["PATH"]+"'; "+text) }
	shell(`initdb --no-sync --auth=trust --username=clerk --wal-segsize=1 --locale=C.UTF-8`)
	shell(`pg_ctl -w -l "$TMPDIR/log" -o "-c listen_addresses=` + runningAddress + ` -c unix_socket_directories= -c wal_level=logical -c max_prepared_transactions=2" start`)
	t.Cleanup(func() { shell(`pg_ctl -w -m immediate stop`) })
	shell(`psql -X -c 'CREATE DATABASE shop' -c "ALTER SYSTEM SET work_mem = '7MB'"`)
	shell(`psql -X -c "SELECT pg_create_physical_replication_slot('kept')" -c 'BEGIN' -c 'CREATE TABLE pending ()' -c "PREPARE TRANSACTION 'pending'"`)

	for _, test := range []struct {
		name       string
		parameters []string
		prepare    func(c *checkPod)
		says       string
	}{
		{name: "as it is", parameters: []string{"max_prepared_transactions = '1'", "max_replication_slots = '1'"}},
		{name: "its segments of the log are smaller", parameters: []string{"max_prepared_transactions = '1'", "min_wal_size = '2MB'"}},
		{
			name: "prepared transactions", parameters: []string{"max_prepared_transactions = '0'"},
			says: "the running server has 1 prepared transactions, and with max_prepared_transactions 0 the next one would not start",
		},
		{
			name: "replication slots", parameters: []string{"max_prepared_transactions = '1'", "max_replication_slots = '0'"},
			says: "the running server has 1 replication slots, and with max_replication_slots 0 the next one would not start",
		},
		{
			name: "replication slots and the log", parameters: []string{"max_prepared_transactions = '1'", "wal_level = 'minimal'", "max_wal_senders = '0'"},
			says: "the running server has replication slots (0 of 1 are logical), and with wal_level minimal the next one would not start",
		},
		{
			name: "its own files", parameters: []string{"shared_preload_libraries = 'no_such_library'"},
			says: `could not access file "no_such_library"`,
		},
		{
			name: "locale", parameters: []string{"max_prepared_transactions = '1'"},
			// An image without the locale; the databases' own is not asked for here.
			prepare: func(c *checkPod) { c.wrap(t, "psql", "s/C.UTF-8/xx_XX.UTF-8/g") },
			says:    `the image lacks what databases of the running server need, and the server was left as it is. It says:` + "\n" + `ERROR:  invalid `,
		},
		{
			name: "another major version", prepare: func(c *checkPod) { c.wrap(t, "postgres", "s/^postgres (PostgreSQL) [0-9]*/postgres (PostgreSQL) 99/") },
			says: "and the image is PostgreSQL 99, which cannot read its data. Nothing was touched.\nSet an image of PostgreSQL ",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newCheckPod(t)
			c.env["PGPORT"] = running.env["PGPORT"]
			require.NoError(t, os.WriteFile(c.env["POSTGRES_PASSWORD_FILE"], []byte("not asked for"), 0o644))
			if test.prepare != nil {
				test.prepare(c)
			}
			code, printed := c.run(t, test.parameters...)
			if test.says == "" {
				require.Zero(t, code, printed)
				require.Empty(t, printed)
				settings, err := os.ReadFile(filepath.Join(c.env["PGDATA"], "postgresql.auto.conf"))
				require.NoError(t, err)
				require.Contains(t, string(settings), "work_mem = '7MB'")
				return
			}
			require.Equal(t, 1, code, printed)
			require.Contains(t, printed, test.says)
		})
	}
	t.Run("one that lets nobody in is not asked", func(t *testing.T) {
		c := newCheckPod(t)
		c.env["PGPORT"], c.env["POSTGRES_DB"] = running.env["PGPORT"], "nowhere"
		require.NoError(t, os.WriteFile(c.env["POSTGRES_PASSWORD_FILE"], []byte("wrong"), 0o644))
		code, printed := c.run(t)
		require.Zero(t, code, printed)
		require.Contains(t, printed, "check: no running server could be asked: ")
		require.Contains(t, printed, `database "nowhere" does not exist`)
	})
}

// wrap puts a filter behind the output of a program.
func (c *checkPod) wrap(t *testing.T, program, filter string) {
	t.Helper()
	var real string
	for _, folder := range filepath.SplitList(c.env["PATH"])[1:] {
		if path := filepath.Join(folder, program); real == "" {
			if _, err := os.Stat(path); err == nil {
				real = path
			}
		}
	}
	require.NotEmpty(t, real, program)
	text := fmt.Sprintf("#!/bin/sh\ncase $* in *--version* | *'CREATE DATABASE'*) %s \"$@\" | sed '%s' ;; *) exec %s \"$@\" ;; esac\n", real, filter, real)
	require.NoError(t, os.WriteFile(filepath.Join(c.dir, "programs", program), []byte(text), 0o755))
}

// checkPodSpec is one part of the check's pod.
func (s *stack) checkPodSpec(t *testing.T, path ...string) any {
	t.Helper()
	return s.input(t, checkKey, append([]string{"spec", "template", "spec"}, path...)...)
}

func TestCheckStartsWhatTheServerWillBe(t *testing.T) {
	t.Parallel()
	s := setup(t, &PostgresArgs{TLS: true, Parameters: settings.Scalars{"log_line_prefix": "$(HOME) $"}}, nil)
	command := s.checkPodSpec(t, "containers", "0", "command").([]any)
	require.Equal(t, s.container(t, "command").([]any)[2:], command[4:], "the same arguments")
	require.NotContains(t, command[2], "$$", "Kubernetes would take one of them away")
	variables := map[string]any{}
	for _, variable := range s.checkPodSpec(t, "containers", "0", "env").([]any) {
		variable := variable.(map[string]any)
		variables[variable["name"].(string)] = variable["value"]
	}
	// As Kubernetes hands it over.
	require.Contains(t, variables["CONFIG"], "$$(HOME) $$")
	require.Equal(t, s.input(t, configKey, "data", "postgresql.conf"), strings.ReplaceAll(variables["CONFIG"].(string), "$$", "$"))
	require.Equal(t, s.input(t, configKey, "data", "pg_hba.conf"), variables["ACCESS"])
	require.Equal(t, s.env(t)["POSTGRES_INITDB_ARGS"], variables["POSTGRES_INITDB_ARGS"])
	require.Equal(t, "require", variables["CLIENT_SSLMODE"])
	require.Contains(t, s.checkPodSpec(t, "volumes"), any(s.volumes(t)["tls"]), "the certificate of the server")
	require.Equal(t, s.container(t, "image"), s.checkPodSpec(t, "containers", "0", "image"))
	require.Equal(t, s.container(t, "securityContext"), s.checkPodSpec(t, "containers", "0", "securityContext"))
	require.Equal(t, s.input(t, setKey, "spec", "template", "spec", "securityContext"), s.checkPodSpec(t, "securityContext"))
}

func (s *stack) comesAfter(key, urnEnd string) bool {
	return slices.ContainsFunc(s.resources[key].RegisterRPC.GetDependencies(), func(urn string) bool { return strings.HasSuffix(urn, urnEnd) })
}

func TestNothingReachesAServerBeforeTheCheck(t *testing.T) {
	t.Parallel()
	const check = "batch/v1:Job::postgres-check"
	s := setup(t, &PostgresArgs{TLS: true}, nil)
	for _, later := range []string{configKey, secretKey, claimKey, serviceKey, headlessKey} {
		require.True(t, s.comesAfter(later, check), later)
	}
	require.True(t, s.comesAfter(checkKey, "core/v1:Secret::postgres-tls"), "the check starts with the certificate")
	require.NotEqual(t, s.input(t, serviceKey, "spec", "selector", "app.kubernetes.io/name"),
		s.input(t, checkKey, "spec", "template", "metadata", "labels", "app.kubernetes.io/name"), "no Service leads to the check")
	require.Equal(t, "true", s.input(t, checkKey, "metadata", "annotations", contract.AnnotationReplaceUnready), "one that failed runs again")

	s = setup(t, &PostgresArgs{Replicas: ptr(0)}, nil)
	require.True(t, s.comesAfter(checkKey, "apps/v1:StatefulSet::postgres"), "a stop waits for no check")
	require.False(t, s.comesAfter(configKey, check))

	require.NotContains(t, setup(t, nil, map[string]string{"kubernetes:renderYamlToDirectory": "manifests"}).resources, checkKey,
		"whoever applies files applies them all at once")
}

func TestCheckIsPlacedLikeTheServer(t *testing.T) {
	t.Parallel()
	term := func(key, value string) corev1.PodAffinityTerm {
		return corev1.PodAffinityTerm{TopologyKey: "kubernetes.io/hostname", LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{key: value}}}
	}
	node := &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
		MatchExpressions: []corev1.NodeSelectorRequirement{{Key: "kubernetes.io/arch", Operator: corev1.NodeSelectorOpIn, Values: []string{"amd64"}}},
	}}}}
	s := setup(t, &PostgresArgs{
		Resources: settings.Resources{
			Requests: settings.Scalars{"cpu": "2"}, Limits: settings.Scalars{"memory": "1Gi", "ephemeral-storage": "10Mi", "hugepages-2Mi": "512Mi"},
		},
		NodeSelector:      settings.Scalars{"disk": "ssd"},
		Tolerations:       []corev1.Toleration{{Key: "db", Operator: corev1.TolerationOpExists}},
		PriorityClassName: "high",
		PodAnnotations:    settings.Scalars{"sidecar.istio.io/inject": "false"},
		ImagePullSecrets:  []string{"registry"},
		Affinity: &corev1.Affinity{NodeAffinity: node, PodAntiAffinity: &corev1.PodAntiAffinity{
			RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{term("app.kubernetes.io/name", "postgres"), term("app", "busy")},
		}},
	}, nil)
	server := s.input(t, setKey, "spec", "template", "spec").(map[string]any)
	for _, field := range []string{"nodeSelector", "tolerations", "priorityClassName", "imagePullSecrets", "serviceAccountName"} {
		require.NotNil(t, server[field], field)
		require.Equal(t, server[field], s.checkPodSpec(t, field), field)
	}
	require.Equal(t, map[string]any{"sidecar.istio.io/inject": "false"}, s.input(t, checkKey, "spec", "template", "metadata", "annotations"))
	affinity := pruned(s.checkPodSpec(t, "affinity")).(map[string]any)
	require.Equal(t, pruned(server["affinity"]).(map[string]any)["nodeAffinity"], affinity["nodeAffinity"])
	apart := affinity["podAntiAffinity"].(map[string]any)["requiredDuringSchedulingIgnoredDuringExecution"].([]any)
	require.Len(t, apart, 1, "it may run beside the server")
	require.Equal(t, map[string]any{"app": "busy"}, apart[0].(map[string]any)["labelSelector"].(map[string]any)["matchLabels"])
	beside := affinity["podAffinity"].(map[string]any)["preferredDuringSchedulingIgnoredDuringExecution"].([]any)[0].(map[string]any)["podAffinityTerm"]
	require.Equal(t, s.input(t, setKey, "spec", "selector", "matchLabels"), beside.(map[string]any)["labelSelector"].(map[string]any)["matchLabels"])

	require.Equal(t, map[string]any{
		"limits":   map[string]any{"memory": "1Gi", "ephemeral-storage": "256Mi", "hugepages-2Mi": "512Mi"},
		"requests": map[string]any{"cpu": "100m", "memory": "128Mi", "ephemeral-storage": "10Mi", "hugepages-2Mi": "512Mi"},
	}, s.checkPodSpec(t, "containers", "0", "resources"), "the server's limits, and room beside the server")
	require.Nil(t, setup(t, nil, nil).checkPodSpec(t, "containers", "0", "resources"))
}

func TestUserOfTheServer(t *testing.T) {
	t.Parallel()
	s := setup(t, &PostgresArgs{RunAsUser: ptr(70)}, nil)
	for _, pod := range []any{s.input(t, setKey, "spec", "template", "spec"), s.checkPodSpec(t)} {
		security := pod.(map[string]any)["securityContext"].(map[string]any)
		require.Equal(t, []any{70.0, 70.0, 70.0}, []any{security["runAsUser"], security["runAsGroup"], security["fsGroup"]})
		require.NotContains(t, pod, "initContainers")
	}
	require.Equal(t, "70", s.input(t, claimKey, "metadata", "annotations", contract.AnnotationRunAsUser))
	require.Equal(t, "999", setup(t, nil, nil).input(t, claimKey, "metadata", "annotations", contract.AnnotationRunAsUser))
}

func TestVolumeIsGivenToTheServersUserOnRequest(t *testing.T) {
	t.Parallel()
	s := setup(t, &PostgresArgs{RunAsUser: ptr(70), FixVolumeOwner: true, Resources: settings.Resources{Limits: settings.Scalars{"memory": "1Gi"}}}, nil)
	require.Equal(t, "baseline", s.input(t, namespaceKey, "metadata", "labels", "pod-security.kubernetes.io/enforce"))
	for _, pod := range []any{s.input(t, setKey, "spec", "template", "spec"), s.checkPodSpec(t)} {
		container := pod.(map[string]any)["initContainers"].([]any)[0].(map[string]any)
		require.Equal(t, map[string]any{
			"runAsUser": 0.0, "runAsGroup": 0.0, "runAsNonRoot": false, "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
			"capabilities": map[string]any{"drop": []any{"ALL"}, "add": []any{"CHOWN", "DAC_OVERRIDE"}},
		}, container["securityContext"], "the check shows whether it is admitted")
		require.Equal(t, map[string]any{"memory": "1Gi"}, container["resources"].(map[string]any)["limits"], "a quota demands it of every container")
		command := container["command"].([]any)
		require.Equal(t, "70", command[len(command)-1])
	}
}
