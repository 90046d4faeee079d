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
	// Unanswered: nothing came back from the address itself. Whether a server is there cannot be
	// known: a firewall, or a network that does not lead there, looks the same.
	Unanswered Reach = iota
	// Refused: something answered that no server is there: the connection was refused, or closed
	// without a word.
	Refused
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
		return judgeDial(err, timeout)
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		// Setting a deadline only fails on a closed connection, which the read reports as well.
		_ = conn.SetDeadline(deadline)
	}
	request := binary.BigEndian.AppendUint32(nil, 8)
	request = binary.BigEndian.AppendUint32(request, sslRequest)
	if _, err := conn.Write(request); err != nil {
		return Refused, "closed without an answer"
	}
	answer := make([]byte, 1)
	if _, err := conn.Read(answer); err != nil {
		var network net.Error
		if errors.As(err, &network) && network.Timeout() {
			return Silent, "accepted, and silent"
		}
		return Refused, "closed without an answer"
	}
	return Reached, fmt.Sprintf("answered with %q", answer)
}

// judgeDial says what a connection met that was not made.
func judgeDial(err error, timeout time.Duration) (Reach, string) {
	var number syscall.Errno
	var network net.Error
	switch {
	case errors.As(err, &number) && connectionRefused(number):
		return Refused, "connection refused"
	case errors.As(err, &network) && network.Timeout():
		return Unanswered, fmt.Sprintf("no answer within %s", timeout)
	case errors.As(err, &number):
		return Unanswered, number.Error()
	}
	return Unanswered, err.Error()
}
