package report

import (
	"fmt"
	"io"
	"time"
	"unicode/utf8"
)

// Rounds prints one line for each report of a series. On a terminal a round that ends as the one
// before takes its line, so that a change stays visible. A violation is printed in full.
type Rounds struct {
	out   io.Writer
	style Style
	last  Verdict
	count int
}

// NewRounds returns a printer for a series of reports; it is used for all of them.
func NewRounds(out io.Writer, style Style) *Rounds {
	return &Rounds{out: out, style: style}
}

// Header does nothing: a line stands for the whole report.
func (w *Rounds) Header(Target) {}

// Check does nothing: a line stands for the whole report.
func (w *Rounds) Check(Check) {}

// Finish prints the line of a round.
func (w *Rounds) Finish(r *Report) error {
	w.count++
	verdict := verdicts[r.Verdict]
	text := fmt.Sprintf("%s  round %d  ", time.Now().Format(time.TimeOnly), w.count)
	room := len(text) + len(verdict.word) + 1
	summary := r.Summary
	if r.Verdict == Proven && r.Rows != nil {
		summary = fmt.Sprintf("%s intact, %s added in %s", Plural(r.Rows.Intact, "row"), Number(r.Rows.Added), Duration(time.Duration(r.DurationMS)*time.Millisecond))
	}
	if r.Verdict == NotProven {
		for _, check := range r.Checks {
			if check.Status == Unknown {
				summary = check.Name + ": " + check.Detail
				break
			}
		}
	}
	if width := w.style.Width; width > 0 && room+utf8.RuneCountInString(summary) > width {
		summary = string([]rune(summary)[:max(width-room-1, 0)]) + "…"
	}
	if w.style.Width > 0 && w.last == r.Verdict {
		// One line up, and clear it.
		text = "\x1b[A\r\x1b[K" + text
	}
	w.last = r.Verdict
	table := NewTable(w.out, w.style)
	if _, err := fmt.Fprintf(w.out, "%s%s %s\n", text, table.paint(verdict.color, verdict.word), summary); err != nil {
		return err
	}
	if r.Verdict == NotKept {
		for _, check := range r.Checks {
			table.Check(check)
		}
	}
	return nil
}
