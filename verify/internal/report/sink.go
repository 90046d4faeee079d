package report

import (
	"time"

	"stateful-postgres/internal/progress"
)

// Printer prints a report, as it comes or at its end.
type Printer interface {
	Header(Target)
	Check(Check)
	Finish(*Report) error
}

// Sink takes the checks of a command as they are made: into the report, and to the printer.
type Sink struct {
	Report   *Report
	Printer  Printer
	Progress *progress.Line

	last time.Time
	// headed says that the printer has the header.
	headed bool
}

// NewSink returns a sink for a command.
func NewSink(command string, printer Printer, line *progress.Line) *Sink {
	return &Sink{Report: New(command), Printer: printer, Progress: line, last: time.Now()}
}

// Header announces what is verified. It is printed once, also when more becomes known later.
func (s *Sink) Header(target Target) {
	s.Report.Target = target
	if s.headed {
		return
	}
	s.headed = true
	s.Progress.Print(func() { s.Printer.Header(target) })
}

// Add enters a check. Its duration is the time since the one before, unless it brings its own.
func (s *Sink) Add(check Check) {
	now := time.Now()
	if check.DurationMS == 0 {
		check.DurationMS = now.Sub(s.last).Milliseconds()
	}
	s.last = now
	s.Report.Checks = append(s.Report.Checks, check)
	s.Progress.Print(func() { s.Printer.Check(check) })
}

// Conclude sets the verdict of the checks that were made until now, and the summary that is chosen
// by it.
func (s *Sink) Conclude(summarize func(*Report) string) {
	s.Report.Conclude()
	s.Report.Summary = summarize(s.Report)
}

// Finish concludes the report and prints the rest of it.
func (s *Sink) Finish(summarize func(*Report) string) error {
	s.Conclude(summarize)
	var err error
	s.Progress.Print(func() { err = s.Printer.Finish(s.Report) })
	return err
}
