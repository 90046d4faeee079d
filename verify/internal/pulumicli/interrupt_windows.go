package pulumicli

import (
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/windows"
)

// separate keeps the console's Ctrl-C from a command.
func separate(command *exec.Cmd) {
	command.SysProcAttr = &syscall.SysProcAttr{CreationFlags: windows.CREATE_NEW_PROCESS_GROUP}
}

// interrupt asks a separate command to end. A group of its own takes no Ctrl-C; a program in Go gets
// the same of Ctrl-Break.
func interrupt(process *os.Process) error {
	return windows.GenerateConsoleCtrlEvent(windows.CTRL_BREAK_EVENT, uint32(process.Pid))
}
