package daemon

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"gopkg.in/natefinch/lumberjack.v2"
)

// Component is one long-running program of a machine.
type Component struct {
	// Name identifies the component and its log.
	Name string
	// Command is the program and its arguments.
	Command []string
	// Log is the file that gets standard output and standard error.
	Log string
	// StopTimeout is how long it may take to end after SIGTERM before it is
	// killed; 0 means 10 seconds.
	StopTimeout time.Duration
}

// Status is what is known about a component.
type Status struct {
	Name string `json:"name"`
	// PID in the PID namespace of the machine; 0 while it is not running.
	PID int `json:"pid"`
	// Restarts counts how often it was started again after it had ended.
	Restarts int `json:"restarts"`
	// Since is when the present process was started or the last one ended.
	Since time.Time `json:"since"`
	// LastExit says how the last process ended, "" if none has.
	LastExit string `json:"last_exit,omitempty"`
}

const (
	// A component that has run this long is taken as healthy: the next
	// restart waits the shortest time again.
	stableAfter  = 30 * time.Second
	firstBackoff = 250 * time.Millisecond
	maxBackoff   = 10 * time.Second

	// drainTimeout is how long the end waits for the last output. What a component
	// has started may live on and hold the output open.
	drainTimeout = 200 * time.Millisecond

	logMegabytes = 50
	logBackups   = 1
)

// Runner keeps a component running.
type Runner struct {
	component Component
	reaper    *Reaper
	changed   func()
	log       *lumberjack.Logger
	// copying are those that copy output into the log.
	copying sync.WaitGroup

	mu     sync.Mutex
	status Status
}

// NewRunner prepares a component. Changed is called after each change of its
// status.
func NewRunner(r *Reaper, c Component, changed func()) *Runner {
	return &Runner{
		component: c,
		reaper:    r,
		changed:   changed,
		log:       &lumberjack.Logger{Filename: c.Log, MaxSize: logMegabytes, MaxBackups: logBackups},
		status:    Status{Name: c.Name},
	}
}

// Status returns what is known now.
func (r *Runner) Status() Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.status
}

func (r *Runner) update(change func(*Status)) {
	r.mu.Lock()
	change(&r.status)
	r.mu.Unlock()
	r.changed()
}

// Run starts the component and starts it again whenever it ends, with growing
// pauses, until the context is done; then it stops it and returns.
func (r *Runner) Run(ctx context.Context) {
	defer r.closeLog()
	backoff := firstBackoff
	for ctx.Err() == nil {
		started := time.Now()
		exit := r.runOnce(ctx)
		if ctx.Err() != nil {
			r.update(func(s *Status) { s.PID, s.Since, s.LastExit = 0, time.Now(), exit })
			return
		}
		if time.Since(started) > stableAfter {
			backoff = firstBackoff
		}
		fmt.Fprintf(r.log, "supervisor: %s ended (%s) after %s, next start in %s\n",
			r.component.Name, exit, time.Since(started).Round(time.Millisecond), backoff)
		r.update(func(s *Status) { s.PID, s.Since, s.LastExit = 0, time.Now(), exit })
		select {
		case <-ctx.Done():
			return
		case <-time.After(backoff):
		}
		backoff = min(2*backoff, maxBackoff)
		r.update(func(s *Status) { s.Restarts++ })
	}
}

// closeLog closes the log once the last output is in it: a write after that would
// open it again.
func (r *Runner) closeLog() {
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		r.copying.Wait()
	}()
	select {
	case <-drained:
	case <-time.After(drainTimeout):
	}
	r.log.Close()
}

// runOnce runs the program until it ends by itself or the context is done,
// and says how it ended.
func (r *Runner) runOnce(ctx context.Context) string {
	path, err := exec.LookPath(r.component.Command[0])
	if err != nil {
		return err.Error()
	}
	reader, writer, err := os.Pipe()
	if err != nil {
		return err.Error()
	}
	r.copying.Go(func() {
		defer reader.Close()
		// A full disk must not stop the component: what cannot be logged is lost.
		buffer := make([]byte, 32<<10)
		for {
			n, err := reader.Read(buffer)
			_, _ = r.log.Write(buffer[:n])
			if err != nil {
				return
			}
		}
	})
	null, err := os.Open(os.DevNull)
	if err != nil {
		reader.Close()
		writer.Close()
		return err.Error()
	}
	defer null.Close()
	pid, ended, err := r.reaper.Start(path, r.component.Command, &os.ProcAttr{
		Env:   os.Environ(),
		Files: []*os.File{null, writer, writer},
		// A group of its own: Ctrl-C in the terminal of the supervisor is
		// not meant for it.
		Sys: &syscall.SysProcAttr{Setpgid: true},
	})
	writer.Close()
	if err != nil {
		return err.Error()
	}
	r.update(func(s *Status) { s.PID, s.Since = pid, time.Now() })
	select {
	case status := <-ended:
		return describe(status)
	case <-ctx.Done():
	}
	timeout := r.component.StopTimeout
	if timeout == 0 {
		timeout = 10 * time.Second
	}
	_ = syscall.Kill(pid, syscall.SIGTERM)
	select {
	case status := <-ended:
		return describe(status)
	case <-time.After(timeout):
		_ = syscall.Kill(pid, syscall.SIGKILL)
		return "killed: " + describe(<-ended)
	}
}

// RunOnce runs a program to its end, writes what it prints to out and returns
// an error unless it ends with exit code 0.
func RunOnce(ctx context.Context, reaper *Reaper, out io.Writer, command ...string) error {
	path, err := exec.LookPath(command[0])
	if err != nil {
		return err
	}
	reader, writer, err := os.Pipe()
	if err != nil {
		return err
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		reader.Close()
		writer.Close()
		return err
	}
	defer null.Close()
	pid, ended, err := reaper.Start(path, command, &os.ProcAttr{
		Env: os.Environ(), Files: []*os.File{null, writer, writer},
	})
	writer.Close()
	if err != nil {
		reader.Close()
		return err
	}
	copied := make(chan struct{})
	go func() {
		defer close(copied)
		defer reader.Close()
		_, _ = io.Copy(out, reader)
	}()
	var status syscall.WaitStatus
	select {
	case status = <-ended:
	case <-ctx.Done():
		_ = syscall.Kill(pid, syscall.SIGKILL)
		<-ended
		return fmt.Errorf("%s: %w", command[0], context.Cause(ctx))
	}
	<-copied
	if !status.Exited() || status.ExitStatus() != 0 {
		return fmt.Errorf("%s: %s", command[0], describe(status))
	}
	return nil
}

func describe(status syscall.WaitStatus) string {
	switch {
	case status.Exited():
		return fmt.Sprintf("exit code %d", status.ExitStatus())
	case status.Signaled():
		return fmt.Sprintf("signal %s", status.Signal())
	default:
		return fmt.Sprintf("wait status %#x", int(status))
	}
}
