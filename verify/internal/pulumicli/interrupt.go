//go:build !windows

package pulumicli

import (
	"os"
	"os/exec"
	"syscall"
)

// separate keeps the terminal's signals from a command.
func separate(command *exec.Cmd) { command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// interrupt asks a separate command to end, as Ctrl-C would.
func interrupt(process *os.Process) error { return process.Signal(os.Interrupt) }
