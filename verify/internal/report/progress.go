package report

import (
	"fmt"
	"io"
	"sync"
	"time"
)

const (
	spinnerInterval = 100 * time.Millisecond
	// Where there is no terminal, a changed state is said at most this often, and an unchanged
	// one again only now and then.
	changedInterval   = time.Second
	unchangedInterval = 10 * time.Second
	// patience is how long something may take before progress is shown at all.
	patience = 500 * time.Millisecond
)

var spinner = []rune("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")

// Progress shows what is being waited for: one line that is redrawn on a terminal, and plain
// lines, when the state changes or now and then, elsewhere. A nil Progress shows nothing. It is
// safe for concurrent use.
type Progress struct {
	out      io.Writer
	terminal bool
	width    int

	mutex   sync.Mutex
	text    string
	since   time.Time
	said    string
	saidAt  time.Time
	frame   int
	drawn   bool
	stopped chan struct{}
	done    sync.WaitGroup
}

// NewProgress shows progress on out until Stop is called. The width only matters on a terminal.
func NewProgress(out io.Writer, terminal bool, width int) *Progress {
	p := &Progress{out: out, terminal: terminal, width: width, stopped: make(chan struct{})}
	p.done.Go(func() {
		ticker := time.NewTicker(spinnerInterval)
		defer ticker.Stop()
		for {
			select {
			case <-p.stopped:
				return
			case <-ticker.C:
				p.tick()
			}
		}
	})
	return p
}

// Say sets what is going on; an empty text says that nothing is waited for.
func (p *Progress) Say(format string, args ...any) {
	if p == nil {
		return
	}
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if p.text == "" {
		p.since = time.Now()
	}
	p.text = fmt.Sprintf(format, args...)
	if p.text == "" {
		p.clear()
	}
}

// Print runs write while no progress line is on the screen.
func (p *Progress) Print(write func()) {
	if p == nil {
		write()
		return
	}
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.clear()
	p.text = ""
	write()
}

// Stop ends the progress and removes its line.
func (p *Progress) Stop() {
	if p == nil {
		return
	}
	close(p.stopped)
	p.done.Wait()
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.clear()
}

func (p *Progress) clear() {
	if p.drawn {
		fmt.Fprint(p.out, "\r\x1b[K")
		p.drawn = false
	}
}

func (p *Progress) tick() {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	now := time.Now()
	if p.text == "" || now.Sub(p.since) < patience {
		return
	}
	if p.terminal {
		p.frame++
		line := []rune(fmt.Sprintf("%c %s (%s)", spinner[p.frame%len(spinner)], p.text, Duration(now.Sub(p.since).Truncate(spinnerInterval))))
		if p.width > 1 && len(line) > p.width-1 {
			line = append(line[:p.width-2], '…')
		}
		fmt.Fprintf(p.out, "\r\x1b[K%s", string(line))
		p.drawn = true
		return
	}
	if quiet := now.Sub(p.saidAt); p.text != p.said && quiet >= changedInterval || quiet >= unchangedInterval {
		p.said, p.saidAt = p.text, now
		fmt.Fprintf(p.out, "%s (%s)\n", p.text, Duration(now.Sub(p.since).Truncate(time.Second)))
	}
}
