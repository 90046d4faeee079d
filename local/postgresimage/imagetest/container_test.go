package imagetest

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stateful-postgres/local/internal/image"
	"stateful-postgres/local/internal/layout"
	"stateful-postgres/local/postgresimage"
)

const (
	// timeout is the longest that anything here may take: a server that is
	// made, starts or stops, on a machine that is busy with other tests.
	timeout = 2 * time.Minute
	poll    = 20 * time.Millisecond

	serverUID = 999
	dataDir   = "/var/lib/postgresql/data"
)

// release is the image that stacks use.
var release = postgresimage.Releases[0]

// base is what all tests share: the root file system of the image, which their
// containers see read-only, and its configuration.
var base struct {
	dir, rootFS string
	config      image.Config
}

func TestMain(m *testing.M) {
	if err := prepare(); err != nil {
		fmt.Fprintln(os.Stderr, "the tests of the PostgreSQL image cannot run:", err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(base.dir)
	os.Exit(code)
}

func prepare() error {
	if os.Geteuid() != 0 {
		return errors.New("they run containers, which needs root")
	}
	l, err := layout.Find(".")
	if err != nil {
		return err
	}
	archive := l.Image(release.File())
	if !image.Fresh(archive, release.Image(), release.Inputs()) {
		return errors.New("the image is missing or older than its sources: run `make setup`")
	}
	if base.dir, err = os.MkdirTemp("", "postgres-image-"); err != nil {
		return err
	}
	// A user without rights has to get at what is mounted from there.
	if err := os.Chmod(base.dir, 0o755); err != nil {
		return err
	}
	base.rootFS = filepath.Join(base.dir, "rootfs")
	if err := os.Mkdir(base.rootFS, 0o755); err != nil {
		return err
	}
	return unpack(archive)
}

// unpack takes the archive apart: blobs are told apart by what they are.
func unpack(archive string) error {
	file, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer file.Close()
	for r := tar.NewReader(file); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if !strings.HasPrefix(header.Name, "blobs/") {
			continue
		}
		if header.Size < 1<<20 {
			var description struct{ Config json.RawMessage }
			if err := json.NewDecoder(r).Decode(&description); err != nil {
				return err
			}
			var config image.Config
			if err := json.Unmarshal(description.Config, &config); err != nil {
				return err
			}
			if config.Entrypoint != nil {
				base.config = config
			}
			continue
		}
		extract := exec.Command("tar", "--extract", "--numeric-owner", "--same-owner", "--preserve-permissions", "--directory", base.rootFS)
		extract.Stdin, extract.Stderr = r, os.Stderr
		if err := extract.Run(); err != nil {
			return err
		}
	}
	if base.config.Entrypoint == nil {
		return errors.New("the archive holds no image configuration")
	}
	return nil
}

// options are what a test's container differs in from the strictest one: a
// user without any capability and a read-only root file system.
type options struct {
	uid  int // as in the image's user: 0 is root
	env  []string
	args []string // instead of the image's command
	// mounts are files and folders of this machine by their path inside.
	mounts map[string]string
}

// container is a run of the image under runc.
type container struct {
	id     string
	output *output
	ended  chan struct{}
	err    error // valid once ended
}

// rootCapabilities are those of root in a container of docker or containerd.
var rootCapabilities = []string{
	"CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_MKNOD",
	"CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT",
}

// run starts a container with data as its PGDATA.
func run(t *testing.T, data string, o options) *container {
	t.Helper()
	type object = map[string]any
	var capabilities []string
	if o.uid == 0 {
		capabilities = rootCapabilities
	}
	args := o.args
	if args == nil {
		args = base.config.Cmd
	}
	// As an emptyDir is: for everybody.
	sockets := volume(t, 0)
	require.NoError(t, os.Chmod(sockets, 0o777))
	mounts := []object{
		{"destination": "/proc", "type": "proc", "source": "proc"},
		{"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": []string{"nosuid", "mode=755"}},
		{"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": []string{"nosuid", "nodev", "mode=1777"}},
		{"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": []string{"nosuid", "nodev", "mode=1777"}},
		{"destination": "/var/run/postgresql", "type": "bind", "source": sockets, "options": []string{"rbind", "rw"}},
		{"destination": dataDir, "type": "bind", "source": data, "options": []string{"rbind", "rw"}},
	}
	for inside, outside := range o.mounts {
		mounts = append(mounts, object{"destination": inside, "type": "bind", "source": outside, "options": []string{"rbind", "rw"}})
	}
	namespaces := []object{{"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}, {"type": "network"}}
	config, err := json.Marshal(object{
		"ociVersion": "1.0.2",
		"root":       object{"path": base.rootFS, "readonly": true},
		"process": object{
			"user": object{"uid": o.uid, "gid": o.uid},
			"cwd":  "/", "noNewPrivileges": o.uid != 0,
			"args":         append(append([]string{}, base.config.Entrypoint...), args...),
			"env":          append(append([]string{}, base.config.Env...), o.env...),
			"capabilities": object{"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
		},
		"mounts": mounts,
		"linux":  object{"namespaces": namespaces},
	})
	require.NoError(t, err)
	bundle := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(bundle, "config.json"), config, 0o600))

	c := &container{
		id:     fmt.Sprintf("postgres-image-test-%d-%d", os.Getpid(), time.Now().UnixNano()),
		output: &output{}, ended: make(chan struct{}),
	}
	command := exec.Command("runc", "--root", stateDir(), "run", "--bundle", bundle, c.id)
	command.Stdout, command.Stderr = c.output, c.output
	require.NoError(t, command.Start())
	go func() {
		c.err = command.Wait()
		close(c.ended)
	}()
	t.Cleanup(func() {
		// Whatever the test left is killed; runc forgets it when it ends.
		_ = exec.Command("runc", "--root", stateDir(), "kill", c.id, "KILL").Run()
		<-c.ended
		if t.Failed() {
			t.Logf("output of the container:\n%s", c.output)
		}
	})
	return c
}

func stateDir() string { return filepath.Join(base.dir, "runc") }

// output collects what a container prints.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// waitFor waits until the container has printed text.
func (c *container) waitFor(t *testing.T, text string) {
	t.Helper()
	deadline := time.Now().Add(timeout)
	for !strings.Contains(c.output.String(), text) {
		select {
		case <-c.ended:
			if strings.Contains(c.output.String(), text) {
				return
			}
			t.Fatalf("the container ended (%v) before it printed %q", c.err, text)
		case <-time.After(poll):
		}
		if time.Now().After(deadline) {
			t.Fatalf("the container did not print %q within %s", text, timeout)
		}
	}
}

// waitReady waits until the server takes connections of clients; the one of
// an initialisation listens on no address.
func (c *container) waitReady(t *testing.T) {
	t.Helper()
	c.waitFor(t, `listening on IPv4 address "0.0.0.0", port 5432`)
	deadline := time.Now().Add(timeout)
	for {
		_, err := c.exec(t, "pg_isready", "--quiet", "-U", "postgres")
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("no answer within %s: %v", timeout, err)
		}
		time.Sleep(poll)
	}
}

// waitEnd waits for the container to end and returns its exit code.
func (c *container) waitEnd(t *testing.T) int {
	t.Helper()
	select {
	case <-c.ended:
	case <-time.After(timeout):
		t.Fatalf("the container did not end within %s", timeout)
	}
	var exit *exec.ExitError
	if errors.As(c.err, &exit) {
		return exit.ExitCode()
	}
	require.NoError(t, c.err)
	return 0
}

func (c *container) signal(t *testing.T, signal string) {
	t.Helper()
	out, err := exec.Command("runc", "--root", stateDir(), "kill", c.id, signal).CombinedOutput()
	require.NoError(t, err, "%s", out)
}

// stop ends the server as a runtime does, by the image's stop signal.
func (c *container) stop(t *testing.T) {
	t.Helper()
	c.signal(t, base.config.StopSignal)
	require.Equal(t, 0, c.waitEnd(t))
}

func (c *container) exec(t *testing.T, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	command := exec.CommandContext(ctx, "runc", append([]string{"--root", stateDir(), "exec", c.id}, args...)...)
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	err := command.Run()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, bytes.TrimSpace(stderr.Bytes()))
	}
	return strings.TrimSpace(stdout.String()), err
}

// sql runs a statement over the socket, where no password is asked for.
func (c *container) sql(t *testing.T, user, database, statement string) string {
	t.Helper()
	out, err := c.exec(t, "psql", "--no-psqlrc", "-v", "ON_ERROR_STOP=1", "-qAt", "-U", user, "-d", database, "-c", statement)
	require.NoError(t, err)
	return out
}

// clientAddress is an address inside the container that is not loopback: the
// server treats clients from there as it treats those of the network.
const clientAddress = "192.0.2.1"

// login tries to connect over TCP with a password.
func (c *container) login(t *testing.T, user, database, password string) error {
	t.Helper()
	pid := strconv.Itoa(c.pid(t))
	// Both fail harmlessly when a login before this one has done it.
	_ = exec.Command("nsenter", "-t", pid, "-n", "ip", "link", "set", "lo", "up").Run()
	_ = exec.Command("nsenter", "-t", pid, "-n", "ip", "address", "add", clientAddress+"/32", "dev", "lo").Run()
	_, err := c.exec(t, "env", "PGPASSWORD="+password, "psql", "--no-psqlrc", "-w", "-qAt", "-h", clientAddress, "-U", user, "-d", database, "-c", "select 1")
	return err
}

// pid is that of the container's first process, as this machine sees it.
func (c *container) pid(t *testing.T) int {
	t.Helper()
	out, err := exec.Command("runc", "--root", stateDir(), "state", c.id).Output()
	require.NoError(t, err)
	var state struct{ Pid int }
	require.NoError(t, json.Unmarshal(out, &state))
	return state.Pid
}

// volume makes an empty folder that belongs to uid.
func volume(t *testing.T, uid int) string {
	t.Helper()
	dir, err := os.MkdirTemp(base.dir, "volume-")
	require.NoError(t, err)
	require.NoError(t, os.Chmod(dir, 0o755))
	require.NoError(t, os.Chown(dir, uid, uid))
	return dir
}

// initScripts makes a folder for /docker-entrypoint-initdb.d. A name that
// starts with + is an executable one, without the +.
func initScripts(t *testing.T, scripts map[string]string) string {
	t.Helper()
	dir := volume(t, 0)
	for name, text := range scripts {
		mode := os.FileMode(0o644)
		if executable, ok := strings.CutPrefix(name, "+"); ok {
			name, mode = executable, 0o755
		}
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), mode))
	}
	return dir
}

func owner(t *testing.T, path string) int {
	t.Helper()
	info, err := os.Stat(path)
	require.NoError(t, err)
	return int(info.Sys().(*syscall.Stat_t).Uid)
}
