package page

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"stateful-postgres/internal/faults"
	"stateful-postgres/verify/internal/history"
	"stateful-postgres/verify/internal/report"
)

// numbers are some that belong together.
type numbers struct {
	Name string
	List []numberView
}

// numberView is one number, and what it says. Class is good or bad for one that should be 0.
type numberView struct{ Name, Value, Says, Class string }

// act is what clients do, one of them: in the workload register they read, too.
func act(h *history.History) string {
	if h.Plan.Workload == history.Register {
		return "operation"
	}
	return "commit"
}

func allNumbers(h *history.History, r *report.Report) []numbers {
	w, acts, done := h.Writes, act(h)+"s", "committed"
	if h.Plan.Workload == history.Register {
		done = "done"
	}
	told := numbers{Name: "What the clients were told", List: []numberView{
		{Name: "Attempted", Value: number(w.Attempted), Says: acts + " that were sent"},
		{Name: "Acknowledged", Value: number(w.Acknowledged), Says: "the server said: " + done},
	}}
	if w.AcknowledgedLocally > 0 {
		told.List = append(told.List, numberView{
			Name: "Acknowledged locally", Value: number(w.AcknowledgedLocally), Says: "of these, without the synchronous standby",
		})
	}
	told.List = append(told.List,
		numberView{Name: "Failed", Value: number(w.Failed), Says: "the server said: not " + done},
		numberView{Name: "Unknown", Value: number(w.Unknown), Says: "no answer: " + done + " or not"})

	went := numbers{Name: "How it went", List: []numberView{
		{Name: title(acts) + " a second", Value: perSecond(h.CommitsPerSecond()), Says: "acknowledged, on average"},
		{Name: "Faults", Value: number(int64(len(h.Faults))), Says: problems(h)},
	}}
	if i := longestPause(h); i >= 0 {
		went.List = append(went.List, numberView{
			Name: "Longest pause", Value: milliseconds(h.Faults[i].PauseMS), Says: "without an acknowledged " + act(h),
		})
	}
	went.List = append(went.List, numberView{Name: "Reconnects", Value: number(w.Reconnects), Says: "connections opened again"})

	groups := []numbers{told, found(h, r), went}
	return slices.DeleteFunc(groups, func(g numbers) bool { return len(g.List) == 0 })
}

// problems says how many faults did not go as they should.
func problems(h *history.History) string {
	n := 0
	for _, f := range h.Faults {
		if f.Problem != "" {
			n++
		}
	}
	if n == 0 {
		return "all came to their end"
	}
	return fmt.Sprintf("%d of them with a problem", n)
}

// found are the numbers of what the database has.
func found(h *history.History, r *report.Report) numbers {
	group := numbers{Name: "What the database has"}
	// What clients of registers saw is not counted row by row.
	counted := h.Plan.Workload != history.Register
	if counted {
		group.List = []numberView{{Name: "Survived", Value: number(h.Writes.Survived), Says: "unknown commits that are there"}}
	}
	should := func(name string, count int64, says string) {
		n := numberView{Name: name, Value: number(count), Says: says, Class: "good"}
		if count > 0 {
			n.Class = "bad"
		}
		group.List = append(group.List, n)
	}
	rows := r.Rows
	if rows == nil && !counted {
		return group
	}
	if rows == nil {
		for _, n := range []numberView{{Name: "Lost"}, {Name: "Phantom"}, {Name: "Duplicated"}} {
			n.Value, n.Says = "–", "rows were not looked at"
			group.List = append(group.List, n)
		}
		should("Stale", h.Reads.Without, "reads that did not find a row")
		return group
	}
	should("Lost", rows.Lost, "acknowledged, but not there")
	should("Phantom", rows.Phantom, "there, but not committed")
	if counted {
		should("Stale", staleReads(h, r), "not found by a read, but there at the end")
	}
	should("Duplicated", rows.Duplicated, "there more than once")
	for _, rare := range []struct {
		name  string
		count int64
		says  string
	}{
		{"Altered", rows.Altered, "there, with another content"},
		{"Torn", rows.Torn, "transactions that are there in part"},
		{"Unindexed", rows.Unindexed, "there, but the primary key does not find them"},
		{"Dangling", rows.Dangling, "in the primary key, but not there"},
	} {
		if rare.count > 0 {
			should(rare.name, rare.count, rare.says)
		}
	}
	return group
}

// staleReads are the reads that did not find a row that was there at the end: without those whose row
// is known to be lost.
func staleReads(h *history.History, r *report.Report) int64 {
	stale := h.Reads.Without
	for _, row := range h.Reads.Named {
		lost := slices.ContainsFunc(r.Checks, func(c report.Check) bool {
			return slices.ContainsFunc(c.Rows, func(found report.Row) bool {
				return found.Finding == "lost" && found.Run == h.Run && found.Seq == row
			})
		})
		if lost {
			stale--
		}
	}
	return max(stale, 0)
}

// title is a text with a capital letter.
func title(text string) string { return strings.ToUpper(text[:1]) + text[1:] }

// perSecond writes a rate.
func perSecond(rate float64) string {
	if rate > 0 && rate < 10 {
		return fmt.Sprintf("%.1f", rate)
	}
	return number(int64(math.Round(rate)))
}

// latencies are a table of latencies, and where each is on a scale.
type latencies struct {
	Rows  []latencyRow
	Ticks []tick
}

type latencyRow struct {
	Name, Commits, P50, P95, P99, Max string
	P50At, P95At, P99At, MaxAt        string
	None                              bool
}

// tick is a place on an axis.
type tick struct{ At, Text string }

func newLatencies(all history.Latencies) *latencies {
	parts := []struct {
		name string
		of   history.Latency
	}{{"before the first fault", all.Before}, {"during faults", all.During}, {"after and between faults", all.After}}
	least, most := int64(math.MaxInt64), int64(0)
	for _, p := range parts {
		if p.of.Commits > 0 {
			least, most = min(least, p.of.P50US), max(most, p.of.MaxUS)
		}
	}
	if most == 0 {
		return nil
	}
	scale := newLogScale(least, most)
	view := &latencies{Ticks: scale.ticks()}
	for _, p := range parts {
		if p.of.Commits == 0 {
			view.Rows = append(view.Rows, latencyRow{Name: p.name, Commits: "0", None: true})
			continue
		}
		at := func(us int64) string { return share(scale.at(us), 1) }
		view.Rows = append(view.Rows, latencyRow{
			Name: p.name, Commits: number(p.of.Commits),
			P50: microseconds(p.of.P50US), P95: microseconds(p.of.P95US), P99: microseconds(p.of.P99US), Max: microseconds(p.of.MaxUS),
			P50At: at(p.of.P50US), P95At: at(p.of.P95US), P99At: at(p.of.P99US), MaxAt: at(p.of.MaxUS),
		})
	}
	return view
}

// finding is a row that is named because something is wrong with it.
type finding struct {
	Finding, Run, Row, Recorded, When string
	// During is what struck last before the outcome was recorded, 0 when nothing had; Kind is its kind.
	During          int
	Kind            string
	Expected, Found string
}

// worst are the findings, the worst first.
var worst = []string{"lost", "altered", "duplicated", "phantom", "torn", "dangling", "unindexed", "stale"}

// mostFindings are named.
const mostFindings = 200

func findings(h *history.History, r *report.Report) []finding {
	rows := named(r)
	slices.SortStableFunc(rows, func(a, b report.Row) int { return cmp.Compare(rank(a.Finding), rank(b.Finding)) })
	var list []finding
	for _, row := range rows[:min(len(rows), mostFindings)] {
		f := finding{
			Finding: row.Finding, Run: fmt.Sprint(row.Run), Row: fmt.Sprint(row.Seq), Recorded: strings.ReplaceAll(row.Recorded, "_", " "),
			Expected: row.Expected, Found: row.Found,
		}
		if at, within := moment(h, row); within {
			f.When = milliseconds(at)
			if i := lastFault(h, at); i >= 0 {
				f.During, f.Kind = i+1, h.Faults[i].Kind
			}
		} else if !row.RecordedAt.IsZero() {
			f.When = row.RecordedAt.UTC().Format("2006-01-02 15:04:05 UTC")
		}
		list = append(list, f)
	}
	return list
}

// named are all rows that a check names.
func named(r *report.Report) []report.Row {
	var rows []report.Row
	for _, check := range r.Checks {
		rows = append(rows, check.Rows...)
	}
	return rows
}

func rank(finding string) int {
	if i := slices.Index(worst, finding); i >= 0 {
		return i
	}
	return len(worst)
}

// moment is when the outcome of a row was recorded, if it was in this run.
func moment(h *history.History, row report.Row) (ms int64, within bool) {
	if row.Run != h.Run || row.RecordedAt.IsZero() {
		return 0, false
	}
	ms = row.RecordedAt.Sub(h.StartedAt).Milliseconds()
	// An outcome is entered a moment after it is known.
	return min(ms, h.DurationMS), ms >= 0 && ms <= h.DurationMS+time.Second.Milliseconds()
}

// lastFault is the last one that had struck at a moment; -1 when none had.
func lastFault(h *history.History, at int64) int {
	last := -1
	for i, f := range h.Faults {
		if f.BeganMS <= at {
			last = i
		}
	}
	return last
}

// faultRow is a fault in the table.
type faultRow struct {
	Number                                 int
	Kind, Does, At, InFlight               string
	Victims                                []string
	Pause, PauseShare                      string
	Failed, Unknown, Reconnects, Recovered string
	Open                                   bool
	Problem                                string
}

func faultRows(h *history.History) []faultRow {
	var most int64
	for _, f := range h.Faults {
		most = max(most, f.PauseMS)
	}
	var list []faultRow
	for i, f := range h.Faults {
		row := faultRow{
			Number: i + 1, Kind: f.Kind, Does: f.Does, Victims: f.Victims, At: milliseconds(f.BeganMS),
			InFlight: number(f.InFlight), Pause: milliseconds(f.PauseMS), PauseShare: share(float64(f.PauseMS), float64(most)),
			Failed: number(f.Failed), Unknown: number(f.Unknown), Reconnects: number(f.Reconnects), Problem: f.Problem,
		}
		if f.RecoveredMS < 0 {
			row.Open = true
		} else {
			row.Recovered = milliseconds(max(f.RecoveredMS-f.BeganMS, 0))
		}
		list = append(list, row)
	}
	return list
}

// kindRow is a kind of fault in the table. Pauses are where each pause is on a scale that all share.
type kindRow struct {
	Kind, Times, Median, P95, Max, Problems string
	Pauses                                  []string
}

func kindRows(h *history.History) []kindRow {
	kinds := h.Kinds()
	slices.SortFunc(kinds, func(a, b history.Kind) int { return cmp.Compare(a.Name, b.Name) })
	var most time.Duration
	for _, kind := range kinds {
		for _, pause := range kind.Pauses {
			most = max(most, pause)
		}
	}
	var list []kindRow
	for _, kind := range kinds {
		row := kindRow{Kind: kind.Name, Times: number(int64(len(kind.Pauses))), Median: "–", P95: "–", Max: "–", Problems: number(kind.Problems)}
		if len(kind.Pauses) > 0 {
			median, p95, last := faults.Summary(kind.Pauses)
			row.Median, row.P95, row.Max = milliseconds(median.Milliseconds()), milliseconds(p95.Milliseconds()), milliseconds(last.Milliseconds())
			for _, pause := range kind.Pauses {
				row.Pauses = append(row.Pauses, share(float64(pause), float64(most)))
			}
		}
		list = append(list, row)
	}
	return list
}

// longestPause is the fault with the longest pause; -1 when none had one.
func longestPause(h *history.History) int {
	longest := -1
	for i, f := range h.Faults {
		if f.PauseMS > 0 && (longest < 0 || f.PauseMS > h.Faults[longest].PauseMS) {
			longest = i
		}
	}
	return longest
}

// longest says what faults did to commits.
func longest(h *history.History) string {
	if len(h.Faults) == 0 {
		return "No fault struck."
	}
	n := int64(len(h.Faults))
	said := fmt.Sprintf("%s %s struck in %s.", number(n), plural(n, "fault", "faults"), milliseconds(h.DurationMS))
	if i := longestPause(h); i >= 0 {
		said += fmt.Sprintf(" The longest pause without an acknowledged %s took %s: fault %d, %s.",
			act(h), milliseconds(h.Faults[i].PauseMS), i+1, h.Faults[i].Kind)
	}
	return said
}

// section is that of a report, with its checks.
type section struct {
	Name string
	// Says counts them.
	Says   string
	Open   bool
	Checks []checkView
}

// checkView is a check as it looks.
type checkView struct{ Class, Symbol, Word, Name, Detail, Hint string }

var statuses = map[report.Status]checkView{
	report.Passed:   {Class: "good", Symbol: "✓", Word: "passed"},
	report.Skipped:  {Class: "calm", Symbol: "–", Word: "skipped"},
	report.Warning:  {Class: "open", Symbol: "!", Word: "warning"},
	report.Unknown:  {Class: "open", Symbol: "?", Word: "unknown"},
	report.Violated: {Class: "bad", Symbol: "✗", Word: "violated"},
}

func looks(check report.Check) checkView {
	view, known := statuses[check.Status]
	if !known {
		view = checkView{Class: "calm", Symbol: "·", Word: string(check.Status)}
	}
	view.Name, view.Detail, view.Hint = check.Name, check.Detail, check.Hint
	return view
}

// picked are the checks with a status.
func picked(r *report.Report, status report.Status) []checkView {
	var some []checkView
	for _, check := range r.Checks {
		if check.Status == status {
			some = append(some, looks(check))
		}
	}
	return some
}

// folded is from how many checks on a section without anything to look at is folded.
const folded = 12

func sections(r *report.Report) []section {
	var list []section
	counts := map[string]map[report.Status]int64{}
	for _, check := range r.Checks {
		i := slices.IndexFunc(list, func(s section) bool { return s.Name == check.Section })
		if i < 0 {
			i = len(list)
			list = append(list, section{Name: check.Section})
			counts[check.Section] = map[report.Status]int64{}
		}
		list[i].Checks = append(list[i].Checks, looks(check))
		counts[check.Section][check.Status]++
	}
	for i := range list {
		s := &list[i]
		var said []string
		for _, status := range []report.Status{report.Violated, report.Unknown, report.Warning, report.Passed, report.Skipped} {
			if n := counts[s.Name][status]; n > 0 {
				said = append(said, number(n)+" "+statuses[status].Word)
			}
		}
		s.Says = strings.Join(said, ", ")
		s.Open = len(s.Checks) <= folded || counts[s.Name][report.Violated]+counts[s.Name][report.Unknown] > 0
	}
	return list
}
