// Package tool runs the programs that do the work of a setup: their output
// goes to a log, its lines are shown as progress, and the last of them explain
// a failure.
package tool

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	// tailLines is how much of a failed program's output is shown.
	tailLines = 20
	// stopTimeout is how long an interrupted program may take to clean up.
	stopTimeout = 20 * time.Second
	// maxLine bounds what is kept of a line without end.
	maxLine = 4096
)

// Log is the file that keeps the output of a group of programs.
type Log struct {
	file *os.File
}

// OpenLog makes an empty log at path, and its folder.
func OpenLog(path string) (*Log, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	return &Log{file: file}, nil
}

// Close closes the file.
func (l *Log) Close() error { return l.file.Close() }

// Command is one program to run.
type Command struct {
	// Args is the program, looked for on PATH, and its arguments.
	Args []string
	// Dir is where it runs, "" for the present folder.
	Dir string
	// Env is added to the environment of this process.
	Env []string
	// Line gets each line of output as it comes; may be nil.
	Line func(line string)
	// Stdout gets standard output instead of the log; may be nil.
	Stdout io.Writer
}

// Failure is the error of a program that could not be run or did not succeed.
type Failure struct {
	// Program is what was run, without its arguments.
	Program string
	// Err is what happened to it.
	Err error
	// Log is the file with all its output, Tail the end of it.
	Log  string
	Tail []string
}

func (f *Failure) Error() string {
	return fmt.Sprintf("%s: %v (full output: %s)", f.Program, f.Err, f.Log)
}

func (f *Failure) Unwrap() error { return f.Err }

// Run runs c to its end. When ctx is done the program is interrupted, as by
// Ctrl-C, and killed when it does not end then. The error is a *Failure.
func (l *Log) Run(ctx context.Context, c Command) error {
	fmt.Fprintf(l.file, "$ %s\n", strings.Join(c.Args, " "))
	out := &lines{log: l.file, line: c.Line}
	cmd := exec.CommandContext(ctx, c.Args[0], c.Args[1:]...)
	cmd.Dir = c.Dir
	cmd.Env = append(os.Environ(), c.Env...)
	cmd.Stdout, cmd.Stderr = out, out
	if c.Stdout != nil {
		cmd.Stdout = c.Stdout
	}
	// A group of its own: an interrupt has to reach what the program started
	// as well, whether it came from a terminal or to this process alone.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) }
	cmd.WaitDelay = stopTimeout
	err := cmd.Run()
	if ctx.Err() != nil && cmd.Process != nil {
		// What did not end by itself until now; usually nothing is left.
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	}
	out.flush()
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return &Failure{Program: filepath.Base(c.Args[0]), Err: err, Log: l.file.Name(), Tail: out.tail}
}

// lines takes output apart. A carriage return ends a line as well: programs
// use it to overwrite their own progress.
type lines struct {
	log  io.Writer
	line func(string)
	part []byte
	tail []string
}

func (l *lines) Write(p []byte) (int, error) {
	n, err := l.log.Write(p)
	if err != nil {
		return n, err
	}
	l.part = append(l.part, p...)
	for {
		end := bytes.IndexAny(l.part, "\r\n")
		if end < 0 {
			break
		}
		l.add(l.part[:end])
		l.part = l.part[end+1:]
	}
	if len(l.part) > maxLine {
		l.part = l.part[len(l.part)-maxLine:]
	}
	return len(p), nil
}

func (l *lines) flush() {
	l.add(l.part)
	l.part = nil
}

func (l *lines) add(line []byte) {
	text := strings.TrimSpace(string(line))
	if text == "" {
		return
	}
	l.tail = append(l.tail, text)
	if len(l.tail) > tailLines {
		l.tail = l.tail[1:]
	}
	if l.line != nil {
		l.line(text)
	}
}
