package pgtest

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// BlackHole returns an address that swallows packets, as a firewall does: whoever connects there
// gets no answer at all. It is of a loopback address, on a port (0 is any); the kernel answers no
// one whose connection finds the listener's queue full.
func BlackHole(t testing.TB, ip string, port int) string {
	t.Helper()
	socket, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, syscall.Close(socket)) })
	// Connections to a listener that had the port before may not be quite over.
	require.NoError(t, syscall.SetsockoptInt(socket, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1))
	require.NoError(t, syscall.Bind(socket, &syscall.SockaddrInet4{Port: port, Addr: netip.MustParseAddr(ip).As4()}))
	require.NoError(t, syscall.Listen(socket, 0))
	bound, err := syscall.Getsockname(socket)
	require.NoError(t, err)
	address := netip.AddrPortFrom(netip.MustParseAddr(ip), uint16(bound.(*syscall.SockaddrInet4).Port)).String()
	dialer := net.Dialer{Timeout: 300 * time.Millisecond}
	for range 10 {
		conn, err := dialer.DialContext(context.Background(), "tcp", address)
		if err != nil {
			var network net.Error
			require.True(t, errors.As(err, &network) && network.Timeout(), "%v", err)
			return address
		}
		t.Cleanup(func() { conn.Close() })
	}
	require.Fail(t, "the queue of the listener never fills")
	return ""
}
