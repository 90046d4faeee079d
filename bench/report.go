package main

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// report is what a run found.
type report struct {
	command  string
	machine  []string
	date     time.Time
	sections []section
}

// origin says where the figures of a section come from.
func (r *report) origin() string {
	return fmt.Sprintf("Measured by `%s` on %s: %s.", r.command, r.date.Format(time.DateOnly), strings.Join(r.machine, "; "))
}

// add puts findings into the section of a title.
func (r *report) add(title string, found findings) {
	if last := len(r.sections) - 1; last < 0 || r.sections[last].title != title {
		r.sections = append(r.sections, section{title: title})
	}
	r.sections[len(r.sections)-1].findings.add(found)
}

// section is one subject of a report.
type section struct {
	title string
	findings
}

// findings are what was found: what was measured, one a row, further tables, and
// what a reader has to know about them.
type findings struct {
	rows   []row
	tables []table
	notes  []string
}

// add puts further findings behind these.
func (f *findings) add(more findings) {
	f.rows = append(f.rows, more.rows...)
	f.tables = append(f.tables, more.tables...)
	f.notes = append(f.notes, more.notes...)
}

// table is a table with columns of its own.
type table struct {
	caption string
	columns []string
	lines   [][]string
}

// all are the tables, the measured rows first.
func (f findings) all() []table {
	if len(f.rows) == 0 {
		return f.tables
	}
	measured := table{columns: columns.cells()}
	for _, r := range f.rows {
		measured.lines = append(measured.lines, r.cells())
	}
	return append([]table{measured}, f.tables...)
}

// row is one line of a table; what was not compared or has no target is "".
type row struct {
	what, ours, plain, ratio, target, met string
}

var columns = row{"what", "here", "beside", "ratio", "target", "met"}

func (r row) cells() []string {
	cells := []string{r.what, r.ours, r.plain, r.ratio, r.target, r.met}
	for i, cell := range cells {
		if cell == "" {
			cells[i] = "-"
		}
	}
	return cells
}

// beside compares two series of times. A target of 0 is none.
func beside(what string, ours times, plainWhat string, plain times, target float64) row {
	ratio := ours.median().Seconds() / plain.median().Seconds()
	r := row{what: what, ours: ours.String(), plain: plainWhat + ": " + plain.String(), ratio: fmt.Sprintf("%.2f", ratio)}
	if target != 0 {
		r.target, r.met = fmt.Sprintf("at most %g times", target), yesOrNo(ratio <= target)
	}
	return r
}

// within compares a series of times with a limit.
func within(what string, ours times, limit time.Duration) row {
	return row{
		what: what, ours: ours.String(),
		target: fmt.Sprintf("at most %g s", limit.Seconds()), met: yesOrNo(ours.median() <= limit),
	}
}

// besides adds what to compare a row with that has a target of its own.
func (r row) besides(what string, other times) row {
	r.plain = what + ": " + other.String()
	return r
}

func yesOrNo(met bool) string {
	if met {
		return "yes"
	}
	return "NO"
}

// times are durations of the same thing.
type times []time.Duration

func (t times) sorted() times { return slices.Sorted(slices.Values(t)) }

func (t times) median() time.Duration {
	sorted := t.sorted()
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// String is the median, with the least and the most that it comes from, and of
// how many.
func (t times) String() string {
	sorted := t.sorted()
	return fmt.Sprintf("%.2f s (%.2f to %.2f, of %d)", t.median().Seconds(), sorted[0].Seconds(), sorted[len(sorted)-1].Seconds(), len(t))
}

// timesNote says how to read times.
const timesNote = "Times are medians; in brackets the least, the most, and of how many. A command is timed from its start to its end."

// terminal is the report for a terminal.
func (r *report) terminal() string {
	var b strings.Builder
	for _, s := range r.sections {
		fmt.Fprintf(&b, "\n%s\n", s.title)
		for _, t := range s.all() {
			if t.caption != "" {
				fmt.Fprintf(&b, "\n%s\n", t.caption)
			}
			writer := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
			for _, line := range append([][]string{t.columns}, t.lines...) {
				fmt.Fprintln(writer, strings.Join(line, "\t"))
			}
			// A strings.Builder takes everything.
			_ = writer.Flush()
		}
		for _, note := range s.notes {
			fmt.Fprintf(&b, "%s\n", note)
		}
	}
	return b.String()
}

// heading begins a section of the file.
const heading = "\n## "

// markdown is the file of all reports: the sections of this one in the place of
// those that were there, in the order of titles.
func (r *report) markdown(before string, titles []string) string {
	sections := map[string]string{}
	for _, section := range strings.Split(before, heading)[1:] {
		title, text, _ := strings.Cut(section, "\n")
		sections[title] = text
	}
	for _, s := range r.sections {
		sections[s.title] = "\n" + r.origin() + "\n" + s.markdown()
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# Benchmarks\n\nWritten by `go run ./bench`, section by section; a new run replaces those that it measures.\n")
	fmt.Fprintf(&b, "Both sides of a ratio were measured in turns in one run. The ratio is the claim; the times are this machine's.\n%s\n", timesNote)
	for _, title := range titles {
		if text, found := sections[title]; found {
			b.WriteString(heading + title + "\n" + text)
		}
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}

func (s section) markdown() string {
	var b strings.Builder
	for _, t := range s.all() {
		b.WriteString("\n")
		if t.caption != "" {
			fmt.Fprintf(&b, "%s\n\n", t.caption)
		}
		fmt.Fprintf(&b, "| %s |\n|%s\n", strings.Join(t.columns, " | "), strings.Repeat("---|", len(t.columns)))
		for _, line := range t.lines {
			fmt.Fprintf(&b, "| %s |\n", strings.Join(line, " | "))
		}
	}
	if len(s.notes) > 0 {
		b.WriteString("\n")
	}
	for _, note := range s.notes {
		fmt.Fprintf(&b, "- %s\n", note)
	}
	return b.String()
}
