package pgtest

import (
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"
)

// Forwards forwards ports of this machine to a server, as an API server does, and counts them.
type Forwards struct {
	// To is the server's address.
	To string

	total atomic.Int32
	done  sync.WaitGroup
}

// Forward forwards a free port until ctx ends, and returns its address. Connections end with it.
func (f *Forwards) Forward(ctx context.Context) (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	f.total.Add(1)
	f.done.Go(func() {
		<-ctx.Done()
		listener.Close()
	})
	go func() {
		for {
			from, err := listener.Accept()
			if err != nil {
				return
			}
			go f.join(ctx, from)
		}
	}()
	return listener.Addr().String(), nil
}

func (f *Forwards) join(ctx context.Context, from net.Conn) {
	defer from.Close()
	to, err := net.Dial("tcp", f.To)
	if err != nil {
		return
	}
	defer to.Close()
	defer context.AfterFunc(ctx, func() { from.Close(); to.Close() })()
	go func() {
		_, _ = io.Copy(to, from)
		_ = to.(*net.TCPConn).CloseWrite()
	}()
	_, _ = io.Copy(from, to)
}

// Total is how many ports were ever forwarded.
func (f *Forwards) Total() int { return int(f.total.Load()) }

// Wait waits until no port is forwarded any more.
func (f *Forwards) Wait() { f.done.Wait() }
