package server

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"
)

// Reach is what a fresh connection met.
type Reach int

const (
	// Unreached: refused, no route, no answer to the connection, or closed without a word by
	// something that is not the server.
	Unreached Reach = iota
	// Silent: the connection was accepted and nothing was said: a server that hangs looks so.
	Silent
	// Reached: a PostgreSQL server answered, whatever it said.
	Reached
)

// sslRequest is the code that a client sends first to ask for TLS; every PostgreSQL server
// answers with one byte or an error message.
const sslRequest = 80877103

// Probe opens a fresh connection to an address and says what it met, in words too.
func Probe(ctx context.Context, address string, timeout time.Duration) (Reach, string) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		var number syscall.Errno
		if errors.As(err, &number) {
			return Unreached, number.Error()
		}
		var network net.Error
		if errors.As(err, &network) && network.Timeout() {
			return Unreached, fmt.Sprintf("no answer within %s", timeout)
		}
		return Unreached, err.Error()
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		// Setting a deadline only fails on a closed connection, which the read reports as well.
		_ = conn.SetDeadline(deadline)
	}
	request := binary.BigEndian.AppendUint32(nil, 8)
	request = binary.BigEndian.AppendUint32(request, sslRequest)
	if _, err := conn.Write(request); err != nil {
		return Unreached, "closed without an answer"
	}
	answer := make([]byte, 1)
	if _, err := conn.Read(answer); err != nil {
		var network net.Error
		if errors.As(err, &network) && network.Timeout() {
			return Silent, "accepted, and silent"
		}
		return Unreached, "closed without an answer"
	}
	return Reached, fmt.Sprintf("answered with %q", answer)
}
