// Package page draws a run under faults as one HTML page, which needs nothing else.
package page

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"
	"time"

	"stateful-postgres/verify/internal/history"
	"stateful-postgres/verify/internal/report"
)

// Extra is a whole page that is shown within this one, like a picture that another program draws. It
// has a frame of its own, from which it sees nothing of the page, and it loads nothing.
type Extra struct {
	Title string
	HTML  []byte
}

var (
	//go:embed page.html
	pageHTML string
	//go:embed timeline.html
	timelineHTML string
	//go:embed page.css
	style string
	//go:embed page.js
	script string

	page = template.Must(template.Must(template.New("page").Parse(pageHTML)).New("timeline").Parse(timelineHTML))
)

// Render writes the page about a run: what is known of it, and what the report says about that.
func Render(w io.Writer, h *history.History, r *report.Report, extras ...Extra) error {
	// Whoever gets a page gets a whole one.
	var whole bytes.Buffer
	if err := page.ExecuteTemplate(&whole, "page", newView(h, r, extras)); err != nil {
		return fmt.Errorf("page: %w", err)
	}
	if _, err := whole.WriteTo(w); err != nil {
		return fmt.Errorf("page: %w", err)
	}
	return nil
}

// view is what the page shows, as it shows it.
type view struct {
	Policy  string
	Title   string
	Style   template.CSS
	Script  template.JS
	Icon    template.URL
	Verdict verdict
	// Of says what was verified, in short.
	Of        []fact
	Summary   string
	Started   string
	StartedAt string
	Took      string
	Facts     []fact
	Command   string

	Wrong     []checkView
	Findings  []finding
	Expected  bool
	Untold    []checkView
	Groups    []numbers
	Latencies *latencies
	Timeline  *timeline
	Faults    []faultRow
	Problems  bool
	Kinds     []kindRow
	Longest   string
	MostPause string
	Sections  []section
	Extras    []frame
	// Act is what clients do, in the singular and in the plural.
	Act, Acts string
}

// fact is a name and what it is.
type fact struct{ Name, Value string }

// frame is an Extra.
type frame struct{ Title, Source string }

// verdict is how a verdict looks: a colour, a word, a symbol and a sentence.
// Sign is the symbol as it is drawn.
type verdict struct{ Class, Symbol, Sign, Word, Sentence string }

func newView(h *history.History, r *report.Report, extras []Extra) *view {
	v := &view{
		Policy: policy(len(extras) > 0), Style: template.CSS(style), Script: template.JS(script),
		Verdict: judged(h, r), Summary: below.Replace(r.Summary), Command: h.Command,
		Started: h.StartedAt.UTC().Format("2 January 2006, 15:04:05 UTC"), StartedAt: h.StartedAt.UTC().Format(time.RFC3339),
		Took: milliseconds(h.DurationMS),
	}
	v.Act, v.Acts = act(h), act(h)+"s"
	v.Of = present(fact{"stack", h.Target.Stack}, fact{"namespace", h.Target.Namespace}, fact{"database", h.Target.Database})
	name := "verify durability"
	if len(v.Of) > 0 {
		name = v.Of[0].Value
	}
	v.Title = fmt.Sprintf("%s %s: %s, %s", v.Verdict.Symbol, v.Verdict.Word, name, h.StartedAt.UTC().Format("2006-01-02 15:04 UTC"))
	v.Icon = icons[v.Verdict.Class]
	v.Facts = facts(h)

	v.Wrong, v.Untold = picked(r, report.Violated), picked(r, report.Unknown)
	v.Findings = findings(h, r)
	for _, f := range v.Findings {
		v.Expected = v.Expected || f.Expected != "" || f.Found != ""
	}
	v.Groups = allNumbers(h, r)
	v.Latencies = newLatencies(h.Latency)
	v.Timeline = newTimeline(h, r)
	v.Faults, v.Kinds = faultRows(h), kindRows(h)
	for _, f := range v.Faults {
		v.Problems = v.Problems || f.Problem != ""
	}
	v.Longest = longest(h)
	if i := longestPause(h); i >= 0 {
		v.MostPause = milliseconds(h.Faults[i].PauseMS)
	}
	v.Sections = sections(r)
	for _, extra := range extras {
		v.Extras = append(v.Extras, frame{extra.Title, string(extra.HTML)})
	}
	return v
}

// policy allows what is in the page, by its digest, and nothing from anywhere else. A frame obeys the
// policy of the page around it: for one it has to allow what is in the frame, too.
func policy(framed bool) string {
	styles, scripts := digest(style), digest(script)
	if framed {
		styles, scripts = "'unsafe-inline'", "'unsafe-inline'"
	}
	return fmt.Sprintf("default-src 'none'; style-src %s; script-src %s; img-src data:; frame-src 'self'; base-uri 'none'; form-action 'none'",
		styles, scripts)
}

func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// below is where the page has what a table in a terminal has above.
var below = strings.NewReplacer("see ✗ above", "see ✗ below", "see ? above", "see ? below")

// icons are those of the browser's tab.
var icons = map[string]template.URL{"good": icon("0a6b52", signs["good"]), "bad": icon("b3202a", signs["bad"]), "open": icon("855600", signs["open"])}

// signs are the symbols of verdicts, drawn in a square of 16 pixels.
var signs = map[string]string{
	"good": "M4.3 8.4l2.7 2.8 4.8-6",
	"bad":  "M5 5l6 6m0-6l-6 6",
	"open": "M5.8 6.3a2.3 2.3 0 1 1 3.3 2.1q-1.1.5-1.100 1.500m0 1.700v.8",
}

func icon(color, path string) template.URL {
	return template.URL(`data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E` +
		`%3Ccircle cx='8' cy='8' r='8' fill='%23` + color + `'/%3E%3Cpath d='` + path + `' fill='none' stroke='%23fff' stroke-width='1.8'/%3E%3C/svg%3E`)
}

// judged says how the verdict looks.
func judged(h *history.History, r *report.Report) verdict {
	switch r.Verdict {
	case report.Proven:
		if h.Plan.Workload == history.Register {
			return verdict{"good", "✓", signs["good"], "Proven", "no client saw an older value after a newer one."}
		}
		return verdict{"good", "✓", signs["good"], "Proven", "no acknowledged commit was lost."}
	case report.NotKept:
		return verdict{"bad", "✗", signs["bad"], "Violated", violation(h, r)}
	}
	return verdict{"open", "?", signs["open"], "Could not tell", "nothing wrong was found, but not everything was seen."}
}

// violation says what is wrong, the worst first.
func violation(h *history.History, r *report.Report) string {
	rows := report.Counts{}
	if r.Rows != nil {
		rows = *r.Rows
	}
	for _, wrong := range []struct {
		count     int64
		one, many string
	}{
		{rows.Lost, "acknowledged row is lost.", "acknowledged rows are lost."},
		{rows.Altered, "acknowledged row has another content.", "acknowledged rows have another content."},
		{rows.Duplicated, "row is there more than once.", "rows are there more than once."},
		{rows.Phantom, "row is there that must not be.", "rows are there that must not be."},
		{h.Reads.Without, "read did not find an acknowledged row.", "reads did not find an acknowledged row."},
	} {
		if wrong.count > 0 {
			return report.Number(wrong.count) + " " + plural(wrong.count, wrong.one, wrong.many)
		}
	}
	wrong := slices.ContainsFunc(r.Checks, func(c report.Check) bool { return c.Section == report.Registers && c.Status == report.Violated })
	if wrong {
		return "what the clients saw is not linearizable."
	}
	return "what was seen is not as it must be."
}

// facts are what was verified and how, without what is not known.
func facts(h *history.History) []fact {
	t, plan := h.Target, h.Plan
	replicas := ""
	if t.Replicas != nil {
		replicas = fmt.Sprint(*t.Replicas)
	}
	through := ""
	if len(plan.Through) > 0 {
		through = strings.Trim(strings.ReplaceAll(fmt.Sprint(plan.Through), " ", ", "), "[]") + " replicas"
	}
	every := ""
	if len(plan.Faults) > 0 && plan.EveryMS > 0 {
		every = "about every " + milliseconds(plan.EveryMS)
	}
	times := ""
	if plan.Times > 0 {
		times = number(int64(plan.Times)) + " " + plural(int64(plan.Times), "time", "times")
	}
	workload := plan.Workload
	switch plan.Workload {
	case history.Rows:
		workload = "rows: each writer adds rows, one a transaction"
	case history.Register:
		workload = "register: each client reads and changes the values of a few keys"
	}
	return present(
		fact{"Stack", t.Stack}, fact{"Namespace", t.Namespace}, fact{"StatefulSet", t.StatefulSet}, fact{"Replicas", replicas},
		fact{"Database", t.Database}, fact{"Reached through", strings.TrimSpace(t.Via + " " + t.Address)},
		fact{"Took the writes first", t.Pod},
		fact{"Workload", workload}, fact{"Clients", number(int64(plan.Writers))}, fact{"Faults", strings.Join(plan.Faults, ", ")},
		fact{"Faults strike", every}, fact{"Each fault", times}, fact{"Scaled through", through}, fact{"Seed", fmt.Sprint(plan.Seed)},
	)
}

func present(all ...fact) []fact {
	var some []fact
	for _, f := range all {
		if f.Value != "" {
			some = append(some, f)
		}
	}
	return some
}
