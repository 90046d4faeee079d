//go:build unix && !linux

package postgres

import "syscall"

// attributes are those of a process that an interrupt at the terminal does not
// reach.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
