// Package progress shows a person what a command is waiting for.
package progress

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/term"
)

const (
	spinnerInterval = 100 * time.Millisecond
	// Where there is no terminal, a changed state is said at most this often, and an unchanged
	// one again only now and then.
	changedInterval   = time.Second
	unchangedInterval = 10 * time.Second
	// patience is how long something may take before progress is shown at all.
	patience = 500 * time.Millisecond
	// defaultWidth is that of a terminal that does not say its own.
	defaultWidth = 80
)

var spinner = []rune("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")

// Line shows what is being waited for: one line that is redrawn on a terminal, and plain
// lines, when the state changes or now and then, elsewhere. A nil Line shows nothing. It is
// safe for concurrent use.
type Line struct {
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

// New shows progress on out until Stop is called. The width only matters on a terminal.
func New(out io.Writer, terminal bool, width int) *Line {
	l := &Line{out: out, terminal: terminal, width: width, stopped: make(chan struct{})}
	l.done.Go(func() {
		ticker := time.NewTicker(spinnerInterval)
		defer ticker.Stop()
		for {
			select {
			case <-l.stopped:
				return
			case <-ticker.C:
				l.tick()
			}
		}
	})
	return l
}

// Say sets what is going on; an empty text says that nothing is waited for.
func (l *Line) Say(format string, args ...any) {
	if l == nil {
		return
	}
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if l.text == "" {
		l.since = time.Now()
	}
	l.text = fmt.Sprintf(format, args...)
	if l.text == "" {
		l.clear()
	}
}

// Print runs write while no progress line is on the screen.
func (l *Line) Print(write func()) {
	if l == nil {
		write()
		return
	}
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.clear()
	l.text = ""
	write()
}

// Stop ends the progress and removes its line.
func (l *Line) Stop() {
	if l == nil {
		return
	}
	close(l.stopped)
	l.done.Wait()
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.clear()
}

func (l *Line) clear() {
	if l.drawn {
		fmt.Fprint(l.out, "\r\x1b[K")
		l.drawn = false
	}
}

func (l *Line) tick() {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	now := time.Now()
	if l.text == "" || now.Sub(l.since) < patience {
		return
	}
	if l.terminal {
		l.frame++
		text := []rune(l.text)
		waited := fmt.Sprintf(" (%s)", Duration(now.Sub(l.since).Truncate(spinnerInterval)))
		// The spinner, a space, and a last column that stays free: some terminals wrap there.
		if room := max(l.width-3-len(waited), 0); len(text) > room {
			text = append(text[:max(room-1, 0)], '…')
		}
		fmt.Fprintf(l.out, "\r\x1b[K%c %s%s", spinner[l.frame%len(spinner)], string(text), waited)
		l.drawn = true
		return
	}
	if quiet := now.Sub(l.saidAt); l.text != l.said && quiet >= changedInterval || quiet >= unchangedInterval {
		l.said, l.saidAt = l.text, now
		waited := ""
		if d := now.Sub(l.since).Truncate(time.Second); d > 0 {
			waited = " (" + Duration(d) + ")"
		}
		fmt.Fprintf(l.out, "%s%s\n", l.text, waited)
	}
}

// Terminal says whether a stream is a terminal, and how wide that is.
func Terminal(stream io.Writer) (width int, terminal bool) {
	file, ok := stream.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		return 0, false
	}
	width, _, err := term.GetSize(int(file.Fd()))
	if err != nil || width == 0 {
		width = defaultWidth
	}
	return width, true
}

// Duration writes a duration as a person would say it.
func Duration(d time.Duration) string {
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + "s"
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	default:
		return strconv.Itoa(int(d.Hours()/24)) + " days"
	}
}
