package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"stateful-postgres/local/internal/setup/tool"
)

// A requirement is a Debian package and the files by which it is known to be
// there. Files, not dpkg's word: another package may bring the same programs
// (Docker's containerd.io), and must not be pushed out by Debian's.
type requirement struct {
	packages []string
	// programs are looked for on PATH, files where they are said to be (a
	// pattern of filepath.Glob).
	programs, files []string
}

// requirements lists what the cluster and the tests use. Debian has one
// PostgreSQL a release: 15 in Debian 12, later ones by the name without a
// version.
func requirements(debian string) []requirement {
	postgres := []string{"postgresql", "postgresql-client"}
	if debian == "12" {
		postgres = []string{"postgresql-15", "postgresql-client-15"}
	}
	return []requirement{
		{packages: []string{"containerd"}, programs: []string{"containerd", "containerd-shim-runc-v2", "ctr"}},
		{packages: []string{"crun"}, programs: []string{"crun"}},
		// The tests of the image start containers without a cluster.
		{packages: []string{"runc"}, programs: []string{"runc"}},
		{packages: []string{"containernetworking-plugins"}, files: []string{"/usr/lib/cni/bridge", "/usr/lib/cni/host-local", "/usr/lib/cni/loopback", "/usr/lib/cni/portmap"}},
		{packages: []string{"iptables"}, programs: []string{"iptables"}},
		{packages: []string{"conntrack"}, programs: []string{"conntrack"}},
		{packages: []string{"iproute2"}, programs: []string{"ip"}},
		{packages: []string{"mmdebstrap"}, programs: []string{"mmdebstrap"}},
		{packages: postgres, programs: []string{"psql"}, files: []string{"/usr/lib/postgresql/*/bin/initdb"}},
		// A test looks at a page in it.
		{packages: []string{"chromium"}, files: []string{"/usr/bin/chromium"}},
	}
}

func (r requirement) met() bool {
	for _, name := range r.programs {
		if !installed(name) {
			return false
		}
	}
	for _, pattern := range r.files {
		if found, err := filepath.Glob(pattern); err != nil || len(found) == 0 {
			return false
		}
	}
	return true
}

// Needs is what has to be done with Debian's packages.
type Needs struct {
	// Packages have to be installed.
	Packages []string
	// Repair says that an earlier installation was interrupted: packages may
	// look complete without being configured.
	Repair bool
}

// Nothing says that the machine has all it needs.
func (n Needs) Nothing() bool { return len(n.Packages) == 0 && !n.Repair }

// PackageNeeds finds out what has to be done, and does nothing.
func (f Facts) PackageNeeds(ctx context.Context) (Needs, error) {
	needs := Needs{Repair: held(root)}
	var all []string
	for _, r := range requirements(f.Version) {
		all = append(all, r.packages...)
		if !r.met() {
			needs.Packages = append(needs.Packages, r.packages...)
		}
	}
	states, err := query(ctx)
	if err != nil {
		return Needs{}, err
	}
	needs.Repair = needs.Repair || slices.ContainsFunc(all, func(name string) bool { return states[name].broken() })
	return needs, nil
}

// state is what dpkg records of a package that it knows.
type state struct {
	// status is how far it is installed, such as "installed" or "unpacked".
	status string
	// reinstall says that dpkg was killed while it unpacked the package.
	reinstall bool
}

func (s state) broken() bool {
	return s.reinstall || !slices.Contains([]string{"", "installed", "config-files", "not-installed"}, s.status)
}

// query asks dpkg for the states of all packages.
func query(ctx context.Context) (map[string]state, error) {
	out, err := exec.CommandContext(ctx, "dpkg-query", "--show", "--showformat", stateFormat).Output()
	if err != nil {
		return nil, fmt.Errorf("dpkg-query: %w", err)
	}
	return parseStates(string(out)), nil
}

const stateFormat = "${Package} ${db:Status-Eflag} ${db:Status-Status}\n"

func parseStates(text string) map[string]state {
	states := map[string]state{}
	for line := range strings.Lines(text) {
		if fields := strings.Fields(line); len(fields) == 3 {
			states[fields[0]] = state{status: fields[2], reinstall: fields[1] == "reinstreq"}
		}
	}
	return states
}

// Install does what has to be done and starts nothing: no service runs after
// it that did not run before, now or at the next boot.
func Install(ctx context.Context, log *tool.Log, needs Needs, update func(string)) (err error) {
	run := func(args ...string) error {
		return log.Run(ctx, tool.Command{Args: args, Env: []string{"DEBIAN_FRONTEND=noninteractive"}, Line: update})
	}
	restore, err := keepServicesDown(root)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, restore()) }()

	update(strings.Join(needs.Packages, " "))
	aptGet := []string{"apt-get", "-o", fmt.Sprintf("DPkg::Lock::Timeout=%d", int(lockTimeout.Seconds()))}
	install := slices.Concat(aptGet, []string{"install", "--yes", "--no-install-recommends", "--no-remove"})
	if needs.Repair {
		damaged, err := repair(ctx, run)
		if err != nil {
			return err
		}
		install = append(install, "--fix-broken")
		if len(damaged) > 0 {
			install = slices.Concat(install, []string{"--reinstall"}, damaged)
		}
	}
	install = append(install, needs.Packages...)
	if err := run(install...); err != nil {
		if ctx.Err() != nil {
			return err
		}
		// The lists of packages may be missing or out of date.
		if err := run(slices.Concat(aptGet, []string{"update"})...); err != nil {
			return err
		}
		if err := run(install...); err != nil {
			return err
		}
	}
	return disableServices(run, needs.Packages)
}

const (
	// lockTimeout is how long another apt or dpkg at work is waited for: it may
	// be the one that a killed set-up had started.
	lockTimeout  = 5 * time.Minute
	lockInterval = time.Second
)

// repair configures what an interrupted installation unpacked, without which
// apt does nothing, and returns the packages that have to be unpacked again.
func repair(ctx context.Context, run func(args ...string) error) (damaged []string, err error) {
	// Unlike apt, dpkg does not wait for its lock.
	for deadline := time.Now().Add(lockTimeout); ; {
		err := run("dpkg", "--configure", "--pending")
		var failure *tool.Failure
		locked := errors.As(err, &failure) && slices.ContainsFunc(failure.Tail, func(line string) bool {
			return strings.Contains(line, "locked by another process")
		})
		if locked && time.Now().After(deadline) {
			return nil, err
		}
		if !locked {
			// What cannot be configured is left to apt, which says why.
			break
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(lockInterval):
		}
	}
	states, err := query(ctx)
	for name, s := range states {
		if s.reinstall {
			damaged = append(damaged, name)
		}
	}
	slices.Sort(damaged)
	return damaged, err
}

// disableServices takes back what a package's installation arranged for the
// next boot: the local cluster runs its own containerd, the tests their own
// PostgreSQL.
func disableServices(run func(args ...string) error, packages []string) error {
	if !installed("systemctl") {
		return nil
	}
	for service, pkg := range map[string]string{"containerd.service": "containerd", "postgresql.service": "postgresql"} {
		if !slices.ContainsFunc(packages, func(p string) bool { return p == pkg || strings.HasPrefix(p, pkg+"-") }) {
			continue
		}
		if err := run("systemctl", "disable", service); err != nil {
			return err
		}
	}
	return nil
}

const root = "/"

// mark tells our files from the machine's own, also after this program was
// killed between writing and removing them.
const mark = "# Written by stateful-postgres for the time of one installation.\n"

// A hold is a file that keeps a package from starting services while it is
// installed.
type hold struct {
	path, text string
	mode       fs.FileMode
}

var holds = []hold{
	// invoke-rc.d and deb-systemd-invoke ask this program; 101 means "do not".
	{"usr/sbin/policy-rc.d", "#!/bin/sh\n" + mark + "exit 101\n", 0o755},
	// Without it the installation of a PostgreSQL server makes a cluster "main".
	{"etc/postgresql-common/createcluster.d/stateful-postgres.conf", mark + "create_main_cluster = false\n", 0o644},
}

// held says whether a hold of ours, or a file that was set aside for one, is
// there.
func held(root string) bool {
	return slices.ContainsFunc(holds, func(h hold) bool {
		path := filepath.Join(root, h.path)
		text, unread := os.ReadFile(path)
		_, unset := os.Lstat(aside(path))
		return unread == nil && ours(text) || unset == nil
	})
}

// keepServicesDown puts the holds in place and returns what takes them away
// again. A file of the machine's own is set aside meanwhile.
func keepServicesDown(root string) (restore func() error, err error) {
	restore = func() error {
		var all error
		for _, h := range holds {
			all = errors.Join(all, release(filepath.Join(root, h.path)))
		}
		return all
	}
	// An earlier installation may have been killed.
	if err := restore(); err != nil {
		return nil, err
	}
	for _, h := range holds {
		path := filepath.Join(root, h.path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return nil, errors.Join(err, restore())
		}
		if err := os.Rename(path, aside(path)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, errors.Join(err, restore())
		}
		if err := os.WriteFile(path, []byte(h.text), h.mode); err != nil {
			return nil, errors.Join(err, restore())
		}
	}
	return restore, nil
}

// release removes a hold if it is ours and puts back what was there before.
func release(path string) error {
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case ours(text):
		if err := os.Remove(path); err != nil {
			return err
		}
	}
	if _, err := os.Lstat(aside(path)); err == nil {
		if err := os.Rename(aside(path), path); err != nil {
			return fmt.Errorf("putting %s back: %w", path, err)
		}
	}
	// Folders made for a hold alone go with it; others are not empty.
	for dir := filepath.Dir(path); filepath.Base(dir) == "createcluster.d" || filepath.Base(dir) == "postgresql-common"; dir = filepath.Dir(dir) {
		if os.Remove(dir) != nil {
			break
		}
	}
	return nil
}

// ours recognises the content of a hold; it is empty when this program was
// killed before it was written.
func ours(text []byte) bool { return len(text) == 0 || strings.Contains(string(text), mark) }

func aside(path string) string { return path + ".set-aside-by-stateful-postgres" }
