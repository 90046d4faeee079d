package check

import (
	"context"

	"stateful-postgres/verify/internal/cluster"
	"stateful-postgres/verify/internal/commit"
	"stateful-postgres/verify/internal/report"
)

// Open tries once to open a connection for writing to the subject as it is now. Closing it ends
// everything that was made for it.
func (s *Subject) Open(ctx context.Context) (*commit.Session, func(), error) {
	ctx, cancel := context.WithCancel(ctx)
	way := &way{subject: s, sink: report.NewSink("", report.Discard{}, nil)}
	if s.Cluster != nil {
		observed, err := s.Cluster.Observe(ctx, s.Objects)
		if err != nil {
			cancel()
			return nil, nil, err
		}
		way.observed = observed
	} else {
		way.observed = &cluster.Observation{}
	}
	if err := way.find(ctx); err != nil {
		cancel()
		return nil, nil, err
	}
	session, err := commit.Connect(ctx, way.config)
	if err != nil {
		cancel()
		return nil, nil, err
	}
	return session, func() {
		_ = session.Close()
		cancel()
	}, nil
}
