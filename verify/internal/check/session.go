package check

import (
	"context"
	"sync"

	"stateful-postgres/verify/internal/commit"
)

// ahead is a connection for writing that can be opened while something else is done.
type ahead struct {
	way *way
	// opened waits for the connection, which is nil when that failed. It is nil itself as long as
	// none is asked for.
	opened func() *commit.Session
	stop   context.CancelFunc
}

// open begins to open the connection.
func (a *ahead) open(ctx context.Context) {
	ctx, a.stop = context.WithCancel(ctx)
	a.opened = sync.OnceValue(func() *commit.Session {
		// An error is of no interest yet: the connection may never be needed, and else it is tried again.
		session, _ := a.way.trySession(ctx)
		return session
	})
	go a.opened()
}

// session is the connection that was opened, or another one where that is not to be had any more.
func (a *ahead) session(ctx context.Context) (*commit.Session, error) {
	if a.opened != nil {
		if session := a.opened(); session != nil && session.Ping(ctx) == nil {
			return session, nil
		}
	}
	return a.way.session(ctx)
}

// close closes the connection that was opened, whether or not it was used.
func (a *ahead) close() {
	if a.opened == nil {
		return
	}
	a.stop()
	if session := a.opened(); session != nil {
		_ = session.Close()
	}
}
