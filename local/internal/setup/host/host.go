// Package host says whether this machine can run the local cluster and
// installs the Debian packages that it lacks for that.
package host

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

const (
	// minDebian is the first release whose containerd the kubelet can use.
	minDebian = 12
	// A kubelet of Kubernetes 1.35 speaks CRI v1, which came with containerd 1.6.
	minContainerdMajor, minContainerdMinor = 1, 6
)

// Facts is what matters of a machine.
type Facts struct {
	// OS and Arch are Go's names of the platform.
	OS, Arch string
	// UID is the effective user.
	UID int
	// ID, Version and Name are those of os-release: "debian", "12" and the
	// full name. Version is empty on Debian's testing and unstable.
	ID, Version, Name string
	// AptGet says that apt-get is there.
	AptGet bool
	// Containerd is what an installed containerd prints as its version, ""
	// when there is none.
	Containerd string
}

// Inspect looks at this machine and changes nothing.
func Inspect() (Facts, error) {
	f := Facts{OS: runtime.GOOS, Arch: runtime.GOARCH, UID: os.Geteuid()}
	if f.OS != "linux" {
		return f, nil
	}
	text, err := os.ReadFile("/etc/os-release")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return Facts{}, err
	}
	release := parseRelease(string(text))
	f.ID, f.Version, f.Name = release["ID"], release["VERSION_ID"], release["PRETTY_NAME"]
	f.AptGet = installed("apt-get")
	if installed("containerd") {
		out, err := exec.Command("containerd", "--version").Output()
		if err != nil {
			return Facts{}, fmt.Errorf("containerd --version: %w", err)
		}
		f.Containerd = strings.TrimSpace(string(out))
	}
	return f, nil
}

// Missing lists what keeps this machine from running the local cluster, in
// words; nothing when it can.
func (f Facts) Missing() []string {
	var missing []string
	if f.OS != "linux" {
		return []string{"Linux (this is " + f.OS + ")"}
	}
	if f.Arch != "amd64" && f.Arch != "arm64" {
		missing = append(missing, "an amd64 or arm64 processor (this is "+f.Arch+")")
	}
	name := f.Name
	if name == "" {
		name = "an unknown system"
	}
	switch major, err := strconv.Atoi(f.Version); {
	case f.ID != "debian":
		missing = append(missing, fmt.Sprintf("Debian %d or newer (this is %s)", minDebian, name))
	case f.Version != "" && (err != nil || major < minDebian):
		missing = append(missing, fmt.Sprintf("Debian %d or newer (this is %s)", minDebian, name))
	case !f.AptGet:
		missing = append(missing, "apt-get on PATH")
	}
	if f.UID != 0 {
		missing = append(missing, fmt.Sprintf("root (this is uid %d)", f.UID))
	}
	if f.Containerd != "" && !containerdFits(f.Containerd) {
		missing = append(missing, fmt.Sprintf("containerd %d.%d or newer (found: %s)", minContainerdMajor, minContainerdMinor, f.Containerd))
	}
	return missing
}

// CompletePath adds root's program folders to this process's PATH where they
// are missing, as after a plain su: Debian's tools expect them.
func CompletePath() error {
	dirs := filepath.SplitList(os.Getenv("PATH"))
	for _, dir := range []string{"/usr/local/sbin", "/usr/sbin", "/sbin"} {
		if !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	return os.Setenv("PATH", strings.Join(dirs, string(filepath.ListSeparator)))
}

func installed(program string) bool {
	_, err := exec.LookPath(program)
	return err == nil
}

// parseRelease reads os-release(5): shell assignments, maybe quoted.
func parseRelease(text string) map[string]string {
	values := map[string]string{}
	for s := bufio.NewScanner(strings.NewReader(text)); s.Scan(); {
		key, value, ok := strings.Cut(strings.TrimSpace(s.Text()), "=")
		if !ok || strings.HasPrefix(key, "#") {
			continue
		}
		values[key] = strings.Trim(value, `"'`)
	}
	return values
}

// containerdVersion finds the version in what `containerd --version` prints:
// "containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+b1".
var containerdVersion = regexp.MustCompile(`\sv?(\d+)\.(\d+)\.\d`)

func containerdFits(version string) bool {
	m := containerdVersion.FindStringSubmatch(version)
	if m == nil {
		return false
	}
	major, _ := strconv.Atoi(m[1])
	minor, _ := strconv.Atoi(m[2])
	return major > minContainerdMajor || major == minContainerdMajor && minor >= minContainerdMinor
}
