//go:build !windows

package server

import "syscall"

// connectionRefused says whether an address answered that nothing listens there.
func connectionRefused(number syscall.Errno) bool { return number == syscall.ECONNREFUSED }
