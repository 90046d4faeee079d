package check

import (
	"context"
	"sync"
	"time"

	"stateful-postgres/verify/internal/commit"
	"stateful-postgres/verify/internal/kubernetes"
	"stateful-postgres/verify/internal/report"
)

// lookAgainAfter is how long no connection may be had before the way to the server is looked for anew:
// nodes and ports may have changed.
const lookAgainAfter = 10 * time.Second

// Entrance opens connections for writing, one after the other, also while parts of the cluster are
// away: the way to the server is looked for once, and again only when it leads nowhere for long. It is
// safe for concurrent use.
type Entrance struct {
	subject *Subject

	mutex sync.Mutex
	// current is the way that is used, nil before it was looked for; all have to be closed.
	current *way
	all     []*way
	// good is when a connection was made, or the way was found.
	good time.Time
}

// Entrance returns an entrance to the subject. It has to be closed.
func (s *Subject) Entrance() *Entrance { return &Entrance{subject: s} }

// Open tries once to open a connection to the server that takes the writes.
func (e *Entrance) Open(ctx context.Context) (*commit.Session, error) {
	attempt, err := e.find(ctx)
	if err != nil {
		return nil, err
	}
	session, err := attempt.trySession(ctx)
	if err != nil {
		return nil, err
	}
	e.mutex.Lock()
	defer e.mutex.Unlock()
	e.good = time.Now()
	e.current.usedVia, e.current.usedAddress = attempt.usedVia, attempt.usedAddress
	return session, nil
}

// find returns the way, a copy for each attempt, which notes for itself where it came through.
func (e *Entrance) find(ctx context.Context) (*way, error) {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	if e.current != nil && time.Since(e.good) < lookAgainAfter {
		return e.current.in(""), nil
	}
	found, err := e.look(ctx)
	switch {
	case err == nil:
		e.current = found
		e.all = append(e.all, found)
	case e.current == nil:
		return nil, err
	}
	// Without the API server the way of before is as good as any.
	e.good = time.Now()
	return e.current.in(""), nil
}

func (e *Entrance) look(ctx context.Context) (*way, error) {
	var observed *kubernetes.Observation
	if e.subject.Cluster != nil {
		var err error
		if observed, err = e.subject.Cluster.Observe(ctx, e.subject.Objects); err != nil {
			return nil, err
		}
	}
	found, err := findWay(ctx, e.subject, observed, report.NewSink("", report.Discard{}, nil))
	if err == nil && e.subject.Objects.HighAvailability {
		found.onlyPrimary = endless
	}
	return found, err
}

// endless is later than any moment of a run.
var endless = time.Now().AddDate(100, 0, 0)

// Close ends what was made to reach the server, and with it the connections that go over it.
func (e *Entrance) Close() {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	for _, way := range e.all {
		way.close()
	}
}
