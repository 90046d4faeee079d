// Package cgroup makes and removes the control groups of the local cluster:
// one folder below the root of each hierarchy, with one folder a node in it,
// under which the node's kubelet keeps the groups of its pods. It knows version
// 1 (a hierarchy a controller) and version 2 (one hierarchy).
package cgroup

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	mountPoint = "/sys/fs/cgroup"
	// Name is the folder of the local cluster in each hierarchy.
	Name = "localkube"
)

// controllers are those that the kubelet asks for. hugetlb is taken where the
// kernel has it.
var controllers = []string{"cpu", "cpuset", "memory", "pids", "io", "hugetlb"}

// Unified tells whether the host uses version 2 alone.
func Unified() (bool, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(mountPoint, &fs); err != nil {
		return false, fmt.Errorf("%s: %w; control groups have to be mounted there", mountPoint, err)
	}
	return fs.Type == unix.CGROUP2_SUPER_MAGIC, nil
}

// HideUnified takes version 2's hierarchy, where it is mounted beside those of version 1, out of the
// sight of the calling process's mount namespace: nothing here uses it, and crun takes no such mixture.
func HideUnified() error {
	unified, err := Unified()
	if err != nil || unified {
		return err
	}
	beside := filepath.Join(mountPoint, "unified")
	var fs unix.Statfs_t
	if err := unix.Statfs(beside, &fs); err != nil || fs.Type != unix.CGROUP2_SUPER_MAGIC {
		// There is none.
		return nil
	}
	if err := unix.Unmount(beside, unix.MNT_DETACH); err != nil {
		return fmt.Errorf("hide %s: %w", beside, err)
	}
	return nil
}

// Root is what a node's kubelet takes as its cgroupRoot.
func Root(node string) string { return "/" + Name + "/" + node }

// hierarchies returns the root folder of each hierarchy.
func hierarchies() ([]string, error) {
	unified, err := Unified()
	if err != nil {
		return nil, err
	}
	if unified {
		return []string{mountPoint}, nil
	}
	entries, err := os.ReadDir(mountPoint)
	if err != nil {
		return nil, err
	}
	var roots []string
	for _, entry := range entries {
		// Links such as "cpu" -> "cpu,cpuacct" lead to the same hierarchy.
		if entry.IsDir() {
			roots = append(roots, filepath.Join(mountPoint, entry.Name()))
		}
	}
	return roots, nil
}

// Renew makes the groups of a node that starts. Those of a node that was there before are removed first, with
// what still runs in them, as the start of a real machine does: the kubelet looks for three seconds at each
// group whose container is gone, and starts no pod meanwhile.
func Renew(node string, timeout time.Duration) error {
	if err := remove(filepath.Join(Name, node), timeout); err != nil {
		return err
	}
	return create(node)
}

func create(node string) error {
	unified, err := Unified()
	if err != nil {
		return err
	}
	roots, err := hierarchies()
	if err != nil {
		return err
	}
	for _, root := range roots {
		parent := root
		for _, name := range []string{Name, node} {
			if unified {
				if err := enableControllers(parent); err != nil {
					return err
				}
			}
			group := filepath.Join(parent, name)
			if err := os.Mkdir(group, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
				return fmt.Errorf("make control group: %w", err)
			}
			if !unified {
				if err := inheritCPUSet(parent, group); err != nil {
					return err
				}
			}
			parent = group
		}
		if unified {
			if err := enableControllers(parent); err != nil {
				return err
			}
		}
		if err := weigh(filepath.Join(root, Name)); err != nil {
			return err
		}
	}
	return nil
}

// weights are the files for the weight of a group, in version 1 and 2, with what a group has that nobody
// gave another one, which is as much as a process that is in no group, and the most that it takes.
var weights = map[string]struct{ one, most int }{
	"cpu.shares": {1024, 262144},
	"cpu.weight": {100, 10000},
}

// weigh lets the group of all nodes weigh as much as those in it. With the weight of one, the pods of all nodes
// would wait behind the API server, the kubelets and whatever a user starts, until their probes fail.
func weigh(top string) error {
	entries, err := os.ReadDir(top)
	if err != nil {
		return err
	}
	groups := 0
	for _, entry := range entries {
		if entry.IsDir() {
			groups++
		}
	}
	for name, weight := range weights {
		file := filepath.Join(top, name)
		// The hierarchies of other controllers have none.
		if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err := os.WriteFile(file, []byte(strconv.Itoa(min(groups*weight.one, weight.most))), 0); err != nil {
			return fmt.Errorf("weight of a control group: %w", err)
		}
	}
	return nil
}

// enableControllers lets the children of a version 2 group have the
// controllers that the kubelet needs. On the root it adds only what is
// missing; like the groups made by any other program that runs containers,
// this stays after the cluster is gone and changes nothing for groups that
// set no limits.
func enableControllers(group string) error {
	available, err := os.ReadFile(filepath.Join(group, "cgroup.controllers"))
	if err != nil {
		return err
	}
	enabled, err := os.ReadFile(filepath.Join(group, "cgroup.subtree_control"))
	if err != nil {
		return err
	}
	for _, controller := range controllers {
		if !slices.Contains(strings.Fields(string(available)), controller) ||
			slices.Contains(strings.Fields(string(enabled)), controller) {
			continue
		}
		if err := os.WriteFile(filepath.Join(group, "cgroup.subtree_control"), []byte("+"+controller), 0); err != nil {
			return fmt.Errorf("enable controller %s in %s: %w", controller, group, err)
		}
	}
	return nil
}

// inheritCPUSet copies what version 1's cpuset leaves empty in a new group: no
// process can enter a group without CPUs.
func inheritCPUSet(parent, group string) error {
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		own, err := os.ReadFile(filepath.Join(group, file))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if len(bytes.TrimSpace(own)) > 0 {
			continue
		}
		inherited, err := os.ReadFile(filepath.Join(parent, file))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(group, file), inherited, 0); err != nil {
			return fmt.Errorf("%s of %s: %w", file, group, err)
		}
	}
	return nil
}

// RemoveAll kills what still runs in the cluster's groups and removes them. It
// is not an error when there are none.
func RemoveAll(timeout time.Duration) error { return remove(Name, timeout) }

// remove removes a group from all hierarchies.
func remove(group string, timeout time.Duration) error {
	roots, err := hierarchies()
	if err != nil {
		return err
	}
	deadline := time.Now().Add(timeout)
	for _, root := range roots {
		top := filepath.Join(root, group)
		for {
			err := removeTree(top)
			if err == nil {
				break
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("remove control group: %w", err)
			}
			// A group stays busy until its last process is gone.
			time.Sleep(50 * time.Millisecond)
		}
	}
	return nil
}

func removeTree(top string) error {
	var groups []string
	err := filepath.WalkDir(top, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil && entry.IsDir() {
			groups = append(groups, path)
		}
		return err
	})
	if err != nil {
		return err
	}
	slices.Reverse(groups)
	for _, group := range groups {
		if err := killMembers(group); err != nil {
			return err
		}
		if err := unix.Rmdir(group); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return &fs.PathError{Op: "rmdir", Path: group, Err: err}
		}
	}
	return nil
}

func killMembers(group string) error {
	content, err := os.ReadFile(filepath.Join(group, "cgroup.procs"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, field := range strings.Fields(string(content)) {
		pid, err := strconv.Atoi(field)
		if err != nil || pid <= 1 {
			continue
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return err
		}
	}
	return nil
}
