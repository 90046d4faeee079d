package server

import (
	"syscall"

	"golang.org/x/sys/windows"
)

// connectionRefused says whether an address answered that nothing listens there.
func connectionRefused(number syscall.Errno) bool { return number == windows.WSAECONNREFUSED }
