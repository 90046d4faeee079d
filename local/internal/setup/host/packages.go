package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

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
		{packages: []string{"runc"}, programs: []string{"runc"}},
		{packages: []string{"containernetworking-plugins"}, files: []string{"/usr/lib/cni/bridge", "/usr/lib/cni/host-local", "/usr/lib/cni/loopback", "/usr/lib/cni/portmap"}},
		{packages: []string{"iptables"}, programs: []string{"iptables"}},
		{packages: []string{"conntrack"}, programs: []string{"conntrack"}},
		{packages: []string{"iproute2"}, programs: []string{"ip"}},
		{packages: []string{"mmdebstrap"}, programs: []string{"mmdebstrap"}},
		{packages: postgres, programs: []string{"psql"}, files: []string{"/usr/lib/postgresql/*/bin/initdb"}},
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

// MissingPackages lists the Debian packages that have to be installed.
func (f Facts) MissingPackages() []string {
	var missing []string
	for _, r := range requirements(f.Version) {
		if !r.met() {
			missing = append(missing, r.packages...)
		}
	}
	return missing
}

// Interrupted says that an earlier Install was killed. Its packages may look
// complete without being configured, so Install has to run again.
func Interrupted() bool { return held(root) }

// Install installs packages and starts nothing: no service runs after it that
// did not run before, now or at the next boot. It also completes an
// interrupted installation.
func Install(ctx context.Context, log *tool.Log, packages []string, update func(string)) (err error) {
	run := func(args ...string) error {
		return log.Run(ctx, tool.Command{Args: args, Env: []string{"DEBIAN_FRONTEND=noninteractive"}, Line: update})
	}
	interrupted := held(root)
	restore, err := keepServicesDown(root)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, restore()) }()

	if interrupted {
		if err := run("dpkg", "--configure", "--pending"); err != nil {
			return err
		}
	}
	if len(packages) == 0 {
		return nil
	}
	update(strings.Join(packages, " "))
	// Another apt at work is waited for, in seconds.
	aptGet := []string{"apt-get", "-o", "DPkg::Lock::Timeout=300"}
	install := slices.Concat(aptGet, []string{"install", "--yes", "--no-install-recommends", "--no-remove"}, packages)
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
	return disableServices(run, packages)
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
