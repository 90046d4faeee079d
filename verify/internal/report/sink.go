package report

import (
	"time"
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
	Progress *Progress

	last time.Time
}

// NewSink returns a sink for a command.
func NewSink(command string, printer Printer, progress *Progress) *Sink {
	return &Sink{Report: New(command), Printer: printer, Progress: progress, last: time.Now()}
}

// Header announces what is verified.
func (s *Sink) Header(target Target) {
	s.Report.Target = target
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

// Finish concludes the report and prints the rest of it. The summary is chosen by the verdict.
func (s *Sink) Finish(summarize func(*Report) string) error {
	s.Report.Conclude()
	s.Report.Summary = summarize(s.Report)
	var err error
	s.Progress.Print(func() { err = s.Printer.Finish(s.Report) })
	return err
}
