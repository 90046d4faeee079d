// Package volume makes the volume of a pod slow, as a disk that others use too, or that is about to fail.
package volume

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"stateful-postgres/local/internal/machine"
)

const (
	// still is for how long nothing can be written at a time, moves for how long it can, in between.
	still, moves = 400 * time.Millisecond, 100 * time.Millisecond
	// longest is when a volume that nobody made fast again becomes so by itself.
	longest = 5 * time.Minute
	// freeze and thaw are FIFREEZE and FITHAW of linux/fs.h: see ioctl_fsfreeze(2) of util-linux's fsfreeze(8).
	freeze, thaw = 0xc0045877, 0xc0045878
)

// Slow is a volume that is slow at the moment.
type Slow struct {
	stop  context.CancelFunc
	ended chan struct{}
	err   error
}

// Begin makes a volume slow: nothing can be written to it for most of each half second. The volume is named
// by its PersistentVolume, and is one that a pod of the machine has mounted whose process 1 is the given one
// (as the host sees it). It becomes fast again after End, or by itself after 5 minutes.
//
// A volume that is a folder of a larger file system is refused: that would stop whoever else writes there.
func Begin(pid int, name string) (*Slow, error) {
	path, err := find(pid, name)
	if err != nil {
		return nil, err
	}
	// The open file keeps the file system mounted, so that it can be thawed whatever becomes of the pod.
	file, err := os.Open(fmt.Sprintf("/proc/%d/root%s", pid, path))
	if err != nil {
		return nil, err
	}
	if err := ioctl(file, freeze); err != nil {
		return nil, errors.Join(fmt.Errorf("freeze the file system of volume %s: %w", name, err), file.Close())
	}
	ctx, stop := context.WithTimeout(context.Background(), longest)
	s := &Slow{stop: stop, ended: make(chan struct{})}
	go func() {
		defer close(s.ended)
		s.err = errors.Join(run(ctx, file), file.Close())
	}()
	return s, nil
}

// End makes the volume fast again, and says what went wrong meanwhile.
func (s *Slow) End() error {
	s.stop()
	<-s.ended
	return s.err
}

// run thaws and freezes a file system that is frozen, until ctx ends. It is thawed then.
func run(ctx context.Context, file *os.File) error {
	for {
		wait(ctx, still)
		if err := ioctl(file, thaw); err != nil {
			return fmt.Errorf("thaw: %w", err)
		}
		if wait(ctx, moves); ctx.Err() != nil {
			return nil
		}
		if err := ioctl(file, freeze); err != nil {
			return fmt.Errorf("freeze: %w", err)
		}
	}
}

func wait(ctx context.Context, long time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(long):
	}
}

func ioctl(file *os.File, request uint) error {
	return unix.IoctlSetInt(int(file.Fd()), request, 0)
}

// find returns where a pod has a volume mounted, one that is a file system of its own.
func find(pid int, name string) (string, error) {
	table, err := os.Open(fmt.Sprintf("/proc/%d/mountinfo", pid))
	if err != nil {
		return "", err
	}
	defer table.Close()
	mounts, err := mountinfo.GetMountsFromReader(table, nil)
	if err != nil {
		return "", err
	}
	var found *mountinfo.Info
	for _, mount := range mounts {
		// The kubelet's: /var/lib/kubelet/pods/UID/volumes/PLUGIN/NAME.
		if filepath.Base(mount.Mountpoint) == name && filepath.Base(filepath.Dir(filepath.Dir(mount.Mountpoint))) == "volumes" {
			found = mount
		}
	}
	if found == nil {
		return "", fmt.Errorf("volume %q: no pod of this node has it mounted", name)
	}
	for _, folder := range others {
		shared, err := sameFileSystem(pid, found.Mountpoint, folder)
		if err != nil {
			return "", err
		}
		if shared {
			return "", fmt.Errorf("volume %q lies in a file system that others write to, too, and all of them would wait: expected a volume with a disk of its own", name)
		}
	}
	return found.Mountpoint, nil
}

// others are folders that everything on a machine needs.
var others = []string{"/", "/tmp", "/run", "/var/lib", "/var/lib/kubelet", machine.Root + "/.local"}

// sameFileSystem compares two folders as a process sees them. One that is not there is in no file system.
func sameFileSystem(pid int, a, b string) (bool, error) {
	var of [2]unix.Stat_t
	for i, folder := range []string{a, b} {
		err := unix.Stat(fmt.Sprintf("/proc/%d/root%s", pid, folder), &of[i])
		if i == 1 && errors.Is(err, unix.ENOENT) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("%s: %w", folder, err)
		}
	}
	return of[0].Dev == of[1].Dev, nil
}
