package cycle

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"stateful-postgres/verify/internal/check"
	"stateful-postgres/verify/internal/commit"
	"stateful-postgres/verify/internal/rows"
)

const (
	// pace is the time from one transaction to the next, and between attempts to connect: the
	// resolution with which an outage is measured.
	pace           = 20 * time.Millisecond
	rowsAtATime    = 1
	connectTimeout = 2 * time.Second
)

// counts are what became of the rows of a stream.
type counts struct {
	// locally is how many of the acknowledged ones no standby has confirmed.
	acknowledged, locally, failed, unknown int64
	// longest is the longest time between two acknowledged writes.
	longest time.Duration
}

// stream writes one row after the other, through outages, until it is stopped, and measures how
// long no write was acknowledged.
type stream struct {
	subject *check.Subject
	writer  *rows.Writer
	// turn is held while the ledger is used: it belongs to one of stream and checks at a time.
	turn *sync.Mutex

	stop func()
	done chan struct{}

	mutex sync.Mutex
	// problem is an error of the ledger, after which nothing is written any more.
	problem error
	counts
	lastAt time.Time
	// answered takes what the server says to the first write after expectResume.
	answered chan error
}

func startStream(ctx context.Context, subject *check.Subject, writer *rows.Writer, turn *sync.Mutex) *stream {
	ctx, cancel := context.WithCancel(ctx)
	s := &stream{subject: subject, writer: writer, turn: turn, stop: cancel, done: make(chan struct{}), lastAt: time.Now()}
	go func() {
		defer close(s.done)
		s.run(ctx)
	}()
	return s
}

// halt stops the stream; a transaction in flight is waited for.
func (s *stream) halt() {
	s.stop()
	<-s.done
}

func (s *stream) run(ctx context.Context) {
	entrance := s.subject.Entrance()
	defer entrance.Close()
	var session *commit.Session
	leave := func() {
		if session != nil {
			_ = session.Close()
			session = nil
		}
	}
	defer leave()
	ticker := time.NewTicker(pace)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		// A primary that another one has taken the place of tells that it is a standby.
		if session != nil && (!session.Usable() || session.Standby()) {
			leave()
		}
		if session == nil {
			attempt, cancel := context.WithTimeout(ctx, connectTimeout)
			opened, err := entrance.Open(attempt)
			cancel()
			if err != nil {
				continue
			}
			session = opened
		}
		if !s.write(ctx, session) {
			return
		}
	}
}

// write runs one transaction and enters what became of it. It returns false when there is no
// use in going on.
func (s *stream) write(ctx context.Context, session *commit.Session) bool {
	s.turn.Lock()
	s.writer.Use(session)
	written, err := s.writer.Add(ctx, rowsAtATime)
	s.turn.Unlock()

	s.mutex.Lock()
	defer s.mutex.Unlock()
	switch written.Outcome {
	case commit.Acknowledged, commit.AcknowledgedLocally:
		now := time.Now()
		s.acknowledged += written.Rows
		if written.Outcome == commit.AcknowledgedLocally {
			s.locally += written.Rows
		}
		s.longest = max(s.longest, now.Sub(s.lastAt))
		s.lastAt = now
		s.answer(nil)
	case commit.Failed:
		s.failed += written.Rows
		if session.Usable() && ctx.Err() == nil && !session.Standby() {
			s.answer(fmt.Errorf("the server refuses writes: %w", err))
		}
	default:
		s.unknown += written.Rows
	}
	var broken *rows.LedgerError
	if errors.As(err, &broken) {
		s.problem = err
		return false
	}
	return true
}

// begin starts to count anew.
func (s *stream) begin() {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.counts, s.lastAt = counts{}, time.Now()
}

// end returns the counts since begin. The time since the last acknowledged write is one of them.
func (s *stream) end() counts {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.longest = max(s.longest, time.Since(s.lastAt))
	return s.counts
}

// ledgerProblem is the error of the ledger that ended the stream, or nil.
func (s *stream) ledgerProblem() error {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.problem
}

// answer passes on what the server said to a write, if somebody waits for it.
func (s *stream) answer(err error) {
	if s.answered != nil {
		s.answered <- err
		s.answered = nil
	}
}

// expectResume returns a channel that takes nil at the next acknowledged write, or the error of
// one that a server refused.
func (s *stream) expectResume() <-chan error {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.answered = make(chan error, 1)
	return s.answered
}
