package postgres

import "syscall"

// attributes are those of a process that an interrupt at the terminal does not
// reach, and that ends as after a crash when the one that started it ends.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGQUIT}
}
