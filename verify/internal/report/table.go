package report

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

const (
	// nameWidth is the width of the column with the names of checks.
	nameWidth    = 15
	minimumWidth = 40
)

// Style is how a table is drawn.
type Style struct {
	// Color allows ANSI colours.
	Color bool
	// Width is where lines are broken; 0 leaves them as long as they are.
	Width int
	// Quiet leaves out checks that passed.
	Quiet bool
}

// Table prints a report for people, each check as soon as it is known.
type Table struct {
	out     io.Writer
	style   Style
	section string
}

// NewTable returns a table that is written to out.
func NewTable(out io.Writer, style Style) *Table {
	if style.Width > 0 && style.Width < minimumWidth {
		style.Width = minimumWidth
	}
	return &Table{out: out, style: style}
}

var marks = map[Status]struct{ symbol, color string }{
	Passed:   {"✓", "32"},
	Skipped:  {"-", "2"},
	Warning:  {"!", "33"},
	Unknown:  {"?", "33"},
	Violated: {"✗", "31;1"},
}

func (t *Table) paint(color, text string) string {
	if !t.style.Color {
		return text
	}
	return "\x1b[" + color + "m" + text + "\x1b[0m"
}

// Header prints what is about to be verified.
func (t *Table) Header(target Target) {
	var parts []string
	if target.Stack != "" {
		parts = append(parts, "stack "+target.Stack)
	}
	if target.Namespace != "" {
		parts = append(parts, "namespace "+target.Namespace)
	}
	if target.Replicas != nil {
		parts = append(parts, fmt.Sprintf("replicas %d", *target.Replicas))
	}
	if len(parts) == 0 {
		parts = append(parts, "database "+target.Database, target.Address)
	}
	if !t.style.Quiet {
		fmt.Fprintln(t.out, t.paint("1", strings.Join(parts, " · ")))
	}
}

// Check prints one check.
func (t *Table) Check(check Check) {
	if t.style.Quiet && check.Status != Violated && check.Status != Unknown {
		return
	}
	if check.Section != t.section {
		t.section = check.Section
		fmt.Fprintf(t.out, "\n%s\n", t.paint("1", check.Section))
	}
	mark := marks[check.Status]
	detail := check.Detail
	indent := 4 + nameWidth + 1
	lead := fmt.Sprintf("  %s %-*s ", t.paint(mark.color, mark.symbol), nameWidth, check.Name)
	if utf8.RuneCountInString(check.Name) > nameWidth {
		detail = check.Name + " " + detail
		lead = fmt.Sprintf("  %s ", t.paint(mark.color, mark.symbol))
		indent = 4
	}
	fmt.Fprintln(t.out, lead+strings.Join(t.wrap(detail, indent), "\n"+strings.Repeat(" ", indent)))
	for _, row := range check.Rows {
		for i, line := range t.wrap(row.String(), indent+2) {
			fmt.Fprintf(t.out, "%s%s\n", strings.Repeat(" ", indent+2*min(i, 1)), t.paint("31", line))
		}
	}
	if check.Hint != "" {
		for i, line := range t.wrap("→ "+check.Hint, indent+2) {
			fmt.Fprintf(t.out, "%s%s\n", strings.Repeat(" ", indent+2*min(i, 1)), t.paint("36", line))
		}
	}
}

// String names a row in one line.
func (r Row) String() string {
	text := fmt.Sprintf("%s: run %d row %d", r.Finding, r.Run, r.Seq)
	if r.Recorded != "" {
		text += fmt.Sprintf(", %s %s", strings.ReplaceAll(r.Recorded, "_", " "), Time(r.RecordedAt))
	}
	if r.Finding == "altered" {
		text += fmt.Sprintf(", %q instead of %q", r.Found, r.Expected)
	}
	return text
}

var verdicts = map[Verdict]struct{ word, color string }{
	Proven:    {"PASS", "30;42"},
	NotKept:   {"FAIL", "37;41;1"},
	NotProven: {"COULD NOT TELL", "30;43"},
}

// Finish prints the counts of rows, the verdict and what it rests on.
func (t *Table) Finish(r *Report) error {
	if r.Cycle != nil && !t.style.Quiet {
		t.timings(r.Cycle)
	}
	// A fill does not count what is in the table.
	if r.Rows != nil && r.Rows.Now > 0 && !t.style.Quiet {
		fmt.Fprintf(t.out, "\nRows before %s · added %s · now %s\n", Number(r.Rows.Before), Number(r.Rows.Added), Number(r.Rows.Now))
	}
	verdict := verdicts[r.Verdict]
	word := verdict.word
	if t.style.Color {
		word = " " + word + " "
	}
	lines := t.wrap(r.Summary, utf8.RuneCountInString(word)+1)
	if !t.style.Quiet {
		fmt.Fprintln(t.out)
	}
	_, err := fmt.Fprintf(t.out, "%s %s\n", t.paint(verdict.color, word), strings.Join(lines, "\n"+strings.Repeat(" ", 2)))
	return err
}

func (t *Table) timings(timings *Timings) {
	fmt.Fprintf(t.out, "\n%s\n", t.paint("1", "Times"))
	for _, phase := range timings.Phases {
		fmt.Fprintf(t.out, "  round %d  %-*s %8.1fs\n", phase.Round, 2*nameWidth, phase.Name, float64(phase.DurationMS)/1000)
	}
	for _, step := range timings.Steps {
		text := "no writer yet"
		if step.UnavailableMS != nil {
			text = fmt.Sprintf("no write acknowledged for %.1fs", float64(*step.UnavailableMS)/1000)
		}
		fmt.Fprintf(t.out, "  step %d   %d to %d, %s\n", step.Step, step.From, step.To, text)
	}
	for i, unavailable := range timings.UnavailableMS {
		fmt.Fprintf(t.out, "  round %d  %-*s %8.1fs\n", i+1, 2*nameWidth, "no write acknowledged for", float64(unavailable)/1000)
	}
}

// wrap breaks text into lines that fit beside an indent. A word longer than that stays whole.
func (t *Table) wrap(text string, indent int) []string {
	if t.style.Width == 0 {
		return []string{text}
	}
	room := max(t.style.Width-indent, minimumWidth/2)
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		switch {
		case line == "":
			line = word
		case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) <= room:
			line += " " + word
		default:
			lines = append(lines, line)
			line = word
		}
	}
	return append(lines, line)
}
