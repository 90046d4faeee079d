// Package waiter says, while an update runs, why what it waits for does not come.
// The provider waits for the Job, the Service and the StatefulSet in silence, and
// when its time is up it does not say that no node fits or that an image cannot
// be pulled.
package waiter

import (
	"context"
	"slices"
	"time"
)

// A reason is reported within 15 seconds.
const (
	// interval is between two looks at what an update waits for.
	interval = 2 * time.Second
	// patience is how long something has to be amiss before it is reported. A
	// pod's volume and image need a moment.
	patience = 10 * time.Second
)

// Run looks again and again until the context ends, and reports every reason
// once, when something has been amiss for long enough.
func Run(ctx context.Context, look func(ctx context.Context, now time.Time) ([]Reason, error), report func(text string)) {
	lasting := newLasting(report)
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			// A look that fails says nothing; the update itself will.
			if reasons, err := look(ctx, now); err == nil {
				lasting.see(now, reasons)
			}
		}
	}
}

// lasting reports every reason once.
type lasting struct {
	report func(text string)
	// since is when a subject began not to be as it should.
	since map[string]time.Time
	// last is when something was reported of a subject.
	last     map[string]time.Time
	reported map[Reason]bool
}

func newLasting(report func(text string)) *lasting {
	return &lasting{report: report, since: map[string]time.Time{}, last: map[string]time.Time{}, reported: map[Reason]bool{}}
}

// see takes in the reasons that hold at a time. Of a subject whose reason changes
// again and again, one is reported now and then.
func (l *lasting) see(now time.Time, reasons []Reason) {
	for subject := range l.since {
		if !slices.ContainsFunc(reasons, func(reason Reason) bool { return reason.Subject == subject }) {
			delete(l.since, subject)
		}
	}
	for _, reason := range reasons {
		if _, seen := l.since[reason.Subject]; !seen {
			l.since[reason.Subject] = now
		}
		last, spoken := l.last[reason.Subject]
		if l.reported[reason] || now.Sub(l.since[reason.Subject]) < patience || spoken && now.Sub(last) < patience {
			continue
		}
		l.reported[reason], l.last[reason.Subject] = true, now
		l.report(reason.Text)
	}
}
