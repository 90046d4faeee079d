// Package daemon starts the long-running programs of a machine, keeps their
// logs and starts them again when they die.
package daemon

import (
	"errors"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Reaper starts processes and collects every child that ends, including the
// orphans that the kernel hands to process 1 of a PID namespace. It therefore
// excludes [os.Process.Wait] and [os/exec.Cmd.Run] in the same process: both
// would wait for a child that the reaper has collected already.
type Reaper struct {
	mu      sync.Mutex
	waiting map[int]chan<- syscall.WaitStatus
}

// NewReaper returns a reaper that collects children until the process ends.
func NewReaper() *Reaper {
	r := &Reaper{waiting: map[int]chan<- syscall.WaitStatus{}}
	children := make(chan os.Signal, 1)
	signal.Notify(children, unix.SIGCHLD)
	go r.collect(children)
	return r
}

// Start starts a program as [os.StartProcess] does. The channel gets its wait
// status once and is never closed.
func (r *Reaper) Start(path string, argv []string, attr *os.ProcAttr) (int, <-chan syscall.WaitStatus, error) {
	// Held until the channel is entered, so that a child that ends at once is
	// not taken for an orphan.
	r.mu.Lock()
	defer r.mu.Unlock()
	p, err := os.StartProcess(path, argv, attr)
	if err != nil {
		return 0, nil, err
	}
	pid := p.Pid
	if err := p.Release(); err != nil {
		return 0, nil, err
	}
	ended := make(chan syscall.WaitStatus, 1)
	r.waiting[pid] = ended
	return pid, ended, nil
}

func (r *Reaper) collect(children <-chan os.Signal) {
	// One SIGCHLD can stand for several children, and one can come before
	// Notify is in place: the timer makes up for both.
	tick := time.NewTicker(time.Second)
	for {
		for r.collectOne() {
		}
		select {
		case <-children:
		case <-tick.C:
		}
	}
}

func (r *Reaper) collectOne() bool {
	var status syscall.WaitStatus
	// Not under the lock for the wait itself: WNOHANG returns at once, and the
	// lock orders it after a Start that is under way.
	r.mu.Lock()
	defer r.mu.Unlock()
	pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
	if errors.Is(err, syscall.EINTR) {
		return true
	}
	if err != nil || pid <= 0 {
		return false
	}
	if ended, ok := r.waiting[pid]; ok {
		delete(r.waiting, pid)
		ended <- status
	}
	return true
}
