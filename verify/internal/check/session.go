package check

import (
	"context"
	"sync"

	"stateful-postgres/verify/internal/commit"
	"stateful-postgres/verify/internal/kubernetes"
	"stateful-postgres/verify/internal/report"
)

// Open tries once to open a connection for writing to the subject as it is now. Closing it ends
// everything that was made for it.
func (s *Subject) Open(ctx context.Context) (*commit.Session, func(), error) {
	var observed *kubernetes.Observation
	if s.Cluster != nil {
		var err error
		if observed, err = s.Cluster.Observe(ctx, s.Objects); err != nil {
			return nil, nil, err
		}
	}
	way, err := findWay(ctx, s, observed, report.NewSink("", report.Discard{}, nil))
	if err != nil {
		return nil, nil, err
	}
	session, err := way.trySession(ctx)
	if err != nil {
		way.close()
		return nil, nil, err
	}
	return session, func() {
		_ = session.Close()
		way.close()
	}, nil
}

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
