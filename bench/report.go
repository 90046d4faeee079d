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

// section is one table of a report.
type section struct {
	title string
	rows  []row
	notes []string
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
		r.target, r.met = fmt.Sprintf("at most %.1f times", target), yesOrNo(ratio <= target)
	}
	return r
}

// within compares a series of times with a limit.
func within(what string, ours times, limit time.Duration) row {
	return row{
		what: what, ours: ours.String(),
		target: fmt.Sprintf("at most %.1f s", limit.Seconds()), met: yesOrNo(ours.median() <= limit),
	}
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

// String is the median, with the range that it comes from.
func (t times) String() string {
	sorted := t.sorted()
	return fmt.Sprintf("%.2f s (%.2f to %.2f)", t.median().Seconds(), sorted[0].Seconds(), sorted[len(sorted)-1].Seconds())
}

// terminal is the report for a terminal.
func (r *report) terminal() string {
	var b strings.Builder
	for _, s := range r.sections {
		fmt.Fprintf(&b, "\n%s\n", s.title)
		table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		for _, line := range append([]row{columns}, s.rows...) {
			fmt.Fprintln(table, strings.Join(line.cells(), "\t"))
		}
		// A strings.Builder takes everything.
		_ = table.Flush()
		for _, note := range s.notes {
			fmt.Fprintf(&b, "%s\n", note)
		}
	}
	return b.String()
}

// markdown is the report as it is kept.
func (r *report) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Benchmarks\n\nWritten by `%s` on %s; a new run replaces this file.\n", r.command, r.date.Format(time.DateOnly))
	fmt.Fprintf(&b, "Both sides of a ratio were measured in turns in one run. The ratio is the claim; the times are this machine's.\n\n")
	for _, line := range r.machine {
		fmt.Fprintf(&b, "- %s\n", line)
	}
	for _, s := range r.sections {
		fmt.Fprintf(&b, "\n## %s\n\n", s.title)
		for i, line := range append([]row{columns}, s.rows...) {
			fmt.Fprintf(&b, "| %s |\n", strings.Join(line.cells(), " | "))
			if i == 0 {
				fmt.Fprintf(&b, "|%s\n", strings.Repeat("---|", len(columns.cells())))
			}
		}
		if len(s.notes) > 0 {
			b.WriteString("\n")
		}
		for _, note := range s.notes {
			fmt.Fprintf(&b, "- %s\n", note)
		}
	}
	return b.String()
}
