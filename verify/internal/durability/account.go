package durability

import (
	"sync"
	"time"

	"stateful-postgres/verify/internal/commit"
	"stateful-postgres/verify/internal/history"
	"stateful-postgres/verify/internal/ledger"
	"stateful-postgres/verify/internal/payload"
	"stateful-postgres/verify/internal/rows"
)

const (
	// blockRows are entered in the ledger as undecided at a time, for one writer: one wait for the disk
	// of this machine for so many commits.
	blockRows = 256
	// enterInterval is how long an outcome may wait until it is entered. One that is not, because
	// verify is killed, leaves a row undecided, which claims less, never more.
	enterInterval = 100 * time.Millisecond
)

// account is the ledger of writers that write side by side to one run.
type account struct {
	source payload.Source
	run    int64

	mutex   sync.Mutex
	entries *ledger.Ledger
	// problem is why nothing can be entered any more.
	problem error
}

func newAccount(entries *ledger.Ledger) (*account, error) {
	run, err := rows.StartRun(entries)
	if err != nil {
		return nil, err
	}
	return &account{source: payload.NewSource(run.Seed, run.ID), run: run.ID, entries: entries}, nil
}

// take enters rows as about to be written, and returns the first one.
func (a *account) take() (first int64, err error) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	first = a.entries.State().Run(a.run).Next()
	return first, a.note(a.entries.Intend(a.run, first, blockRows, 1))
}

// resolve enters what became of rows.
func (a *account) resolve(span ledger.Span) error {
	if span.Rows == 0 || span.Status == ledger.Undecided {
		return nil
	}
	a.mutex.Lock()
	defer a.mutex.Unlock()
	return a.note(a.entries.Resolve(a.run, span.First, span.Rows, span.Status))
}

func (a *account) note(err error) error {
	if a.problem == nil {
		a.problem = err
	}
	return a.problem
}

// spans are what became of all rows, consecutive ones of one status together.
func (a *account) spans() []history.Span {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	var spans []history.Span
	for _, span := range a.entries.State().Run(a.run).Spans {
		if last := len(spans) - 1; last >= 0 && spans[last].Status == string(span.Status) && spans[last].First+spans[last].Rows == span.First {
			spans[last].Rows += span.Rows
			continue
		}
		spans = append(spans, history.Span{First: span.First, Rows: span.Rows, Status: string(span.Status)})
	}
	return spans
}

// statuses are those of the outcomes in the ledger.
var statuses = map[commit.Outcome]ledger.Status{
	commit.Acknowledged:        ledger.Acknowledged,
	commit.AcknowledgedLocally: ledger.AcknowledgedLocally,
	commit.Failed:              ledger.Failed,
	commit.Unknown:             ledger.Undecided,
}

// pen enters the outcomes of one writer, consecutive ones of one kind together. It is used by its
// writer and by whoever enters what waits.
type pen struct {
	account *account

	mutex sync.Mutex
	// next is the row to write next, end the one after the last of the block.
	next, end int64
	// waiting is what was not entered yet.
	waiting ledger.Span
}

// row is the next one to write.
func (p *pen) row() (int64, error) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if p.next == p.end {
		if err := p.enterLocked(); err != nil {
			return 0, err
		}
		first, err := p.account.take()
		if err != nil {
			return 0, err
		}
		p.next, p.end = first, first+blockRows
		p.waiting = ledger.Span{First: first}
	}
	p.next++
	return p.next - 1, nil
}

// outcome notes what became of the row.
func (p *pen) outcome(row int64, outcome commit.Outcome) error {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	status := statuses[outcome]
	if p.waiting.Status != status || p.waiting.End() != row {
		if err := p.enterLocked(); err != nil {
			return err
		}
		p.waiting = ledger.Span{First: row, Status: status}
	}
	p.waiting.Rows++
	return nil
}

// enter enters what waits.
func (p *pen) enter() error {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return p.enterLocked()
}

func (p *pen) enterLocked() error {
	entered := p.waiting
	p.waiting = ledger.Span{First: entered.End(), Status: entered.Status}
	return p.account.resolve(entered)
}

// finish enters what waits, and that the rest of the block was never sent.
func (p *pen) finish() error {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if err := p.enterLocked(); err != nil {
		return err
	}
	return p.account.resolve(ledger.Span{First: p.next, Rows: p.end - p.next, Status: ledger.Failed})
}
