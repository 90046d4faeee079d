// Package status shows the steps of long work to the person who waits for it:
// on a terminal one line a step with a spinner and the time so far, elsewhere
// (a pipe, a file, a CI log) plain lines that need no terminal to be read.
//
// Steps may run at the same time. A Status says that a step failed, not why:
// the error goes back to the caller, who decides what to print.
package status

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// frameInterval is the time between two pictures of the spinner.
	frameInterval = 100 * time.Millisecond
	// firstReport and reportInterval are when a step that still runs is
	// mentioned where there is no terminal: early once, so that nobody thinks
	// nothing happens, then rarely, so that a log stays short.
	firstReport    = 5 * time.Second
	reportInterval = 30 * time.Second
)

var frames = []string{"⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"}

// Status writes the state of steps.
type Status struct {
	out      io.Writer
	terminal bool
	colour   bool
	// now and tick are replaced in tests.
	now  func() time.Time
	tick func(time.Duration) (<-chan time.Time, func())

	mu sync.Mutex // guards the writer and the fields below
	// running are the steps under way, in the order in which they began.
	running []*step
	frame   int
}

type step struct {
	title  string
	detail string
	start  time.Time
}

// New returns a Status that writes to out. Out is taken for a terminal when it
// is a character device and TERM is set to something that is not "dumb";
// colours follow NO_COLOR (https://no-color.org).
func New(out io.Writer) *Status {
	s := &Status{out: out, now: time.Now, tick: ticker}
	if file, ok := out.(*os.File); ok {
		info, err := file.Stat()
		term := os.Getenv("TERM")
		s.terminal = err == nil && info.Mode()&os.ModeCharDevice != 0 && term != "" && term != "dumb"
	}
	s.colour = s.terminal && os.Getenv("NO_COLOR") == ""
	return s
}

func ticker(d time.Duration) (<-chan time.Time, func()) {
	t := time.NewTicker(d)
	return t.C, t.Stop
}

// Step shows title while do runs and then whether it succeeded and how long it
// took. Do may call update, from any goroutine, with what it does or waits for
// just now; the last such detail stays visible when the step fails. The error
// of do is returned as it is.
func (s *Status) Step(title string, do func(update func(detail string)) error) error {
	st := s.begin(title)
	finished := make(chan struct{})
	shown := make(chan struct{})
	go func() {
		defer close(shown)
		s.show(st, finished)
	}()
	succeeded := false
	var err error
	defer func() {
		// Runs when do panics as well: a spinner must not outlive its step.
		close(finished)
		<-shown
		s.end(st, succeeded)
	}()
	err = do(func(detail string) { s.update(st, detail) })
	succeeded = err == nil
	return err
}

// Note writes a line of its own, between steps or above the one that runs.
func (s *Status) Note(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.line(fmt.Sprintf(format, args...))
	s.draw()
}

func (s *Status) begin(title string) *step {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := &step{title: title, start: s.now()}
	s.running = append(s.running, st)
	s.draw()
	return st
}

func (s *Status) update(st *step, detail string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	// One line is one line, whatever a tool printed.
	st.detail = strings.Join(strings.Fields(detail), " ")
	s.draw()
}

// show moves the spinner, or reports from time to time, until finished closes.
func (s *Status) show(st *step, finished <-chan struct{}) {
	interval := firstReport
	if s.terminal {
		interval = frameInterval
	}
	ticks, stop := s.tick(interval)
	defer func() { stop() }()
	for {
		select {
		case <-finished:
			return
		case <-ticks:
		}
		s.mu.Lock()
		if !s.terminal {
			s.line(fmt.Sprintf("  %s (%s so far)", st, Elapsed(s.now().Sub(st.start))))
		} else if st == s.running[0] {
			s.frame++
			s.draw()
		}
		s.mu.Unlock()
		if !s.terminal && interval != reportInterval {
			stop()
			interval = reportInterval
			ticks, stop = s.tick(interval)
		}
	}
}

func (s *Status) end(st *step, succeeded bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	mark := s.paint("32", "✓")
	text := st.title
	if !succeeded {
		mark = s.paint("31", "✗")
		text = st.String()
	}
	s.running = slices.DeleteFunc(s.running, func(other *step) bool { return other == st })
	s.line(fmt.Sprintf("%s %s (%s)", mark, text, Elapsed(s.now().Sub(st.start))))
	s.draw()
}

// draw shows the running steps on a terminal. The line is cut at the terminal's
// edge (autowrap off while it is written): a wrapped line could not be taken
// back by a carriage return.
func (s *Status) draw() {
	if !s.terminal || len(s.running) == 0 {
		return
	}
	var shown []string
	for _, st := range s.running {
		shown = append(shown, fmt.Sprintf("%s (%s)", st, Elapsed(s.now().Sub(st.start).Truncate(time.Second))))
	}
	frame := s.paint("36", frames[s.frame%len(frames)])
	fmt.Fprintf(s.out, "\r\x1b[?7l%s %s\x1b[K\x1b[?7h", frame, strings.Join(shown, " · "))
}

// line writes a line that stays, in place of a drawn one.
func (s *Status) line(text string) {
	if s.terminal {
		fmt.Fprintf(s.out, "\r\x1b[K%s\n", text)
		return
	}
	fmt.Fprintln(s.out, text)
}

func (s *Status) paint(code, text string) string {
	if !s.colour {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (st *step) String() string {
	if st.detail == "" {
		return st.title
	}
	return st.title + ": " + st.detail
}

// Elapsed writes a duration the way a person says it: 0.3 s, 12 s, 2 min 5 s.
func Elapsed(d time.Duration) string {
	switch {
	case d <= 0:
		return "0 s"
	case d < 9950*time.Millisecond && d%time.Second != 0:
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	seconds := int(d.Round(time.Second).Seconds())
	if seconds < 60 {
		return fmt.Sprintf("%d s", seconds)
	}
	return fmt.Sprintf("%d min %d s", seconds/60, seconds%60)
}
