package page

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/html"

	"stateful-postgres/verify/internal/history"
	"stateful-postgres/verify/internal/report"
)

// node is an element of a page.
type node struct{ *html.Node }

// parsed is a page as a browser understands it.
func parsed(t *testing.T, text []byte) node {
	t.Helper()
	root, err := html.Parse(bytes.NewReader(text))
	require.NoError(t, err)
	return node{root}
}

// all are the elements within another one for which something holds.
func (n node) all(holds func(node) bool) []node {
	var found []node
	for child := range n.Descendants() {
		if e := (node{child}); child.Type == html.ElementNode && holds(e) {
			found = append(found, e)
		}
	}
	return found
}

func (n node) named(name string) []node { return n.all(func(e node) bool { return e.Data == name }) }

func (n node) classed(class string) []node {
	return n.all(func(e node) bool { return slices.Contains(strings.Fields(e.get("class")), class) })
}

// id is the element with an id.
func (n node) id(t *testing.T, id string) node {
	t.Helper()
	found := n.all(func(e node) bool { return e.get("id") == id })
	require.Len(t, found, 1, "elements with the id %s", id)
	return found[0]
}

func (n node) get(attribute string) string {
	for _, a := range n.Attr {
		if a.Key == attribute {
			return a.Val
		}
	}
	return ""
}

// text is what is written in an element, with single spaces.
func (n node) text() string {
	var all strings.Builder
	for child := range n.Descendants() {
		if child.Type == html.TextNode && child.Parent.Data != "script" && child.Parent.Data != "style" {
			all.WriteString(child.Data + " ")
		}
	}
	return strings.Join(strings.Fields(all.String()), " ")
}

var variants = map[string]func() (*history.History, *report.Report){"proven": sample, "violated": violated, "untold": untold, "long": long}

func TestPageSaysEverything(t *testing.T) {
	t.Parallel()
	for name, made := range variants {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, r := made()
			page := parsed(t, rendered(t, h, r))
			head := page.named("header")[0].text()
			for _, said := range []string{"dev", "codewizard", "22 November 2026, 12:03:05 UTC", h.Command, strings.ReplaceAll(r.Summary, "above", "below")} {
				require.Contains(t, head, said)
			}
			require.Equal(t, h.Command, page.named("pre")[0].text())

			numbers := strings.Join(texts(page.classed("numbers")), " ")
			for name, value := range map[string]int64{
				"Attempted": h.Writes.Attempted, "Acknowledged": h.Writes.Acknowledged, "Failed": h.Writes.Failed, "Unknown": h.Writes.Unknown,
				"Survived": h.Writes.Survived, "Reconnects": h.Writes.Reconnects, "Faults": int64(len(h.Faults)),
				"Commits a second": int64(math.Round(float64(h.Writes.Acknowledged) * 1000 / float64(h.DurationMS))),
			} {
				require.Contains(t, numbers, name+" "+report.Number(value)+" ")
			}
			mark := map[bool]string{true: "✗", false: "✓"}
			for name, value := range map[string]int64{
				"Lost": r.Rows.Lost, "Phantom": r.Rows.Phantom, "Duplicated": r.Rows.Duplicated, "Stale": staleReads(h, r),
			} {
				require.Contains(t, numbers, fmt.Sprintf("%s %s %d ", name, mark[value > 0], value))
			}
			require.Equal(t, []string{
				"before the first fault 2.85 ms 5.82 ms 8.91 ms 24.3 ms " + report.Number(h.Latency.Before.Commits),
				"during faults 3.31 ms 12.5 ms 96.4 ms 31.2 s " + report.Number(h.Latency.During.Commits),
				"after and between faults 2.92 ms 6.10 ms 9.43 ms 61.7 ms " + report.Number(h.Latency.After.Commits),
			}, texts(page.classed("latencies")[0].named("tbody")[0].named("tr")))

			picture := page.id(t, "timeline")
			for i, f := range h.Faults {
				row := page.id(t, fmt.Sprintf("fault-%d", i+1)).text()
				for _, said := range []string{
					fmt.Sprintf("%d %s ", i+1, f.Kind), f.Does, strings.Join(f.Victims, ", "), f.Problem,
					clean(milliseconds(f.BeganMS)), clean(milliseconds(f.PauseMS)),
					fmt.Sprintf(" %s %s %s ", report.Number(f.Failed), report.Number(f.Unknown), report.Number(f.Reconnects)),
				} {
					require.Contains(t, row, said)
				}
				if f.RecoveredMS < 0 {
					require.Contains(t, row, "did not")
				} else {
					require.Contains(t, row, clean(milliseconds(f.RecoveredMS-f.BeganMS)))
				}
				require.Contains(t, picture.text(), fmt.Sprintf("%d %s at ", i+1, f.Kind))
			}
			require.Len(t, picture.classed("band"), len(h.Faults))
			require.Len(t, picture.classed("outage"), len(h.Faults))
			for _, intervals := range [][]history.Interval{h.Roles, h.Pods, h.Nodes} {
				for _, interval := range intervals {
					require.Contains(t, picture.text(), interval.Of)
				}
			}
			checks := page.id(t, "checks").Parent
			for _, check := range r.Checks {
				said := node{checks}.text()
				for _, part := range []string{statuses[check.Status].Word + " " + check.Name + " " + check.Detail, check.Hint} {
					require.Contains(t, said, part)
				}
			}
		})
	}
}

func texts(nodes []node) []string {
	var all []string
	for _, n := range nodes {
		all = append(all, n.text())
	}
	return all
}

// clean is a text with usual spaces.
func clean(text string) string { return strings.ReplaceAll(text, space, " ") }

func TestVerdictIsAWordASymbolAndASentence(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		made                   func() (*history.History, *report.Report)
		class, title, sentence string
	}{
		"proven":   {sample, "good", "✓ Proven: dev, 2026-11-22 12:03 UTC", "Proven: no acknowledged commit was lost."},
		"violated": {violated, "bad", "✗ Violated: dev, 2026-11-22 12:03 UTC", "Violated: 3 acknowledged rows are lost."},
		"one row": {func() (*history.History, *report.Report) {
			h, r := violated()
			r.Rows.Lost = 1
			return h, r
		}, "bad", "✗ Violated: dev, 2026-11-22 12:03 UTC", "Violated: 1 acknowledged row is lost."},
		"reads": {func() (*history.History, *report.Report) {
			h, r := violated()
			r.Rows = nil
			return h, r
		}, "bad", "✗ Violated: dev, 2026-11-22 12:03 UTC", "Violated: 3 reads did not find an acknowledged row."},
		"something else": {func() (*history.History, *report.Report) {
			h, r := sample()
			r.Verdict = report.NotKept
			return h, r
		}, "bad", "✗ Violated: dev, 2026-11-22 12:03 UTC", "Violated: what was seen is not as it must be."},
		"registers": {func() (*history.History, *report.Report) {
			h, r := sample()
			h.Plan.Workload = history.Register
			return h, r
		}, "good", "✓ Proven: dev, 2026-11-22 12:03 UTC", "Proven: no client saw an older value after a newer one."},
		"registers that go back": {func() (*history.History, *report.Report) {
			h, r := sample()
			h.Plan.Workload, r.Verdict = history.Register, report.NotKept
			r.Checks = append(r.Checks, report.Check{Section: report.Registers, Name: "linearizable", Status: report.Violated})
			return h, r
		}, "bad", "✗ Violated: dev, 2026-11-22 12:03 UTC", "Violated: what the clients saw is not linearizable."},
		"untold": {untold, "open", "? Could not tell: dev, 2026-11-22 12:03 UTC", "Could not tell: nothing wrong was found, but not everything was seen."},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, r := c.made()
			page := parsed(t, rendered(t, h, r))
			require.Equal(t, c.class, page.named("body")[0].get("class"))
			require.Equal(t, c.title, page.named("title")[0].text())
			require.Equal(t, c.sentence, page.named("h1")[0].text())
			require.Len(t, page.named("h1")[0].classed("sign"), 1)
		})
	}
}

func TestLostRowsComeFirst(t *testing.T) {
	t.Parallel()
	h, r := violated()
	page := parsed(t, rendered(t, h, r))
	sections := page.named("section")
	require.Equal(t, "wrong", sections[0].get("aria-labelledby"))
	var found []string
	for _, row := range sections[0].classed("finding") {
		found = append(found, strings.Join(strings.Fields(row.text())[:4], " "))
	}
	require.Equal(t, []string{
		"✗ lost 12 151203", "✗ lost 12 151204", "✗ lost 12 151209", "✗ duplicated 12 70211", "✗ phantom 12 88412", "✗ stale 12 98001",
	}, found)
	first := sections[0].classed("finding")[0]
	require.Contains(t, first.text(), "3 switchover")
	require.Equal(t, "#fault-3", first.named("a")[0].get("href"))
	require.NotEmpty(t, page.id(t, "timeline").classed("cross"), "they are marked in the picture")
	require.Equal(t, "untold", sections[1].get("aria-labelledby"))

	h, r = sample()
	page = parsed(t, rendered(t, h, r))
	require.Empty(t, page.classed("wrong"))
	require.Empty(t, page.classed("untold"))
	require.Empty(t, page.id(t, "timeline").classed("cross"))
}

func TestKindsHaveTheirNearestRanks(t *testing.T) {
	t.Parallel()
	h, r := sample()
	h.Faults = nil
	for i := range 20 {
		began := int64(i) * 10_000
		h.Faults = append(h.Faults, history.Fault{Kind: "pod-kill", BeganMS: began, RecoveredMS: began + 5000, PauseMS: int64(20-i) * 1000})
	}
	h.Faults = append(h.Faults,
		history.Fault{Kind: "evict", BeganMS: 250_000, RecoveredMS: 251_000, PauseMS: 340},
		history.Fault{Kind: "evict", BeganMS: 260_000, RecoveredMS: -1, PauseMS: 29_000, Problem: "it did not come back"},
		history.Fault{Kind: "drain", BeganMS: 270_000, Problem: "it did not strike"})
	page := parsed(t, rendered(t, h, r))
	kinds := page.classed("kinds")[0]
	require.Equal(t, []string{"drain 0 – – – 1", "evict 1 340 ms 340 ms 340 ms 1", "pod-kill 20 10.0 s 19.0 s 20.0 s 0"},
		texts(kinds.named("tbody")[0].named("tr")))
	require.Len(t, kinds.classed("dot"), 21)
}

// hostile is a text that would do harm where it is not escaped.
const hostile = `"'></title></script></style></svg><script>alert(1)</script><img src=x onerror=alert(1)>{{.}}<!--`

func TestEverythingIsEscaped(t *testing.T) {
	t.Parallel()
	h, r := violated()
	h.Target = report.Target{Stack: hostile, Namespace: hostile, StatefulSet: hostile, Database: hostile, Via: hostile, Address: hostile, Pod: hostile}
	h.Command, h.Plan.Workload, h.Plan.Faults = hostile, hostile, []string{hostile}
	for i := range h.Faults {
		f := &h.Faults[i]
		f.Kind, f.Does, f.Victims, f.Problem = hostile, hostile, []string{hostile}, hostile
	}
	for _, intervals := range [][]history.Interval{h.Roles, h.Pods, h.Nodes} {
		for i := range intervals {
			intervals[i].Of = hostile
			if i%2 == 0 {
				intervals[i].State = hostile
			}
		}
	}
	r.Summary = hostile
	for i := range r.Checks {
		c := &r.Checks[i]
		c.Section, c.Name, c.Detail, c.Hint = hostile, hostile, hostile, hostile
		for j := range c.Rows {
			row := &c.Rows[j]
			row.Finding, row.Recorded, row.Expected, row.Found = hostile, hostile, hostile, hostile
		}
	}
	text := rendered(t, h, r, Extra{Title: hostile, HTML: []byte(hostile)})
	page := parsed(t, text)
	require.Len(t, page.named("script"), 2, "that of the page, and its data")
	require.Empty(t, page.named("img"))
	require.Len(t, page.named("style"), 1)
	for _, e := range page.all(func(node) bool { return true }) {
		for _, a := range e.Attr {
			require.False(t, strings.HasPrefix(a.Key, "on"), "%s %s", e.Data, a.Key)
		}
	}
	require.NotContains(t, string(text), "ZgotmplZ", "what the template did not trust")
	require.Equal(t, hostile, page.named("pre")[0].text())
	require.Equal(t, hostile, page.named("iframe")[0].get("srcdoc"))
	require.Contains(t, page.id(t, "fault-1").text(), "1 "+hostile)
	require.Contains(t, page.id(t, "timeline").text(), hostile)
	var data struct{ Faults []struct{ Name string } }
	require.NoError(t, json.Unmarshal([]byte(page.id(t, "data").FirstChild.Data), &data))
	require.Len(t, data.Faults, len(h.Faults))
	require.Equal(t, hostile, data.Faults[0].Name)
}

func TestPageStaysSmall(t *testing.T) {
	t.Parallel()
	h, r := long()
	require.Equal(t, 7200, len(h.Buckets))
	require.Len(t, h.Faults, 200)
	size := len(rendered(t, h, r))
	t.Logf("%d bytes with %d buckets and %d faults", size, len(h.Buckets), len(h.Faults))
	require.Less(t, size, 1_000_000)

	// However often states change, the picture of them has bounds.
	one := history.Interval{Of: "postgres-0", State: "ready"}
	h.Pods = nil
	for i := range int64(50_000) {
		one.FromMS, one.ToMS, one.State = i*h.DurationMS/50_000, (i+1)*h.DurationMS/50_000, []string{"ready", "not ready"}[i%2]
		h.Pods = append(h.Pods, one)
	}
	require.Less(t, len(rendered(t, h, r)), 1_000_000)
}

func TestPageIsSound(t *testing.T) {
	t.Parallel()
	for name, made := range variants {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, r := made()
			requireSound(t, rendered(t, h, r))
		})
	}
}

// requireSound finds that a page is well made: what it refers to is there, headings are in order, and
// nothing is loaded from anywhere.
func requireSound(t *testing.T, text []byte) node {
	t.Helper()
	for _, never := range []string{"NaN", "Inf", "ZgotmplZ", "%!", "-0%", "<no value>"} {
		require.NotContains(t, string(text), never)
	}
	page := parsed(t, text)
	require.Equal(t, "en", page.named("html")[0].get("lang"))
	for _, landmark := range []string{"header", "main", "h1"} {
		require.Len(t, page.named(landmark), 1, landmark)
	}
	meta := page.named("meta")
	require.Equal(t, "Content-Security-Policy", meta[1].get("http-equiv"), "it is before everything that it is about")
	require.Contains(t, meta[1].get("content"), "default-src 'none'")

	ids := map[string]bool{}
	for _, e := range page.all(func(e node) bool { return e.get("id") != "" }) {
		require.False(t, ids[e.get("id")], "the id %s is there twice", e.get("id"))
		ids[e.get("id")] = true
	}
	level := 0
	for _, e := range page.all(func(node) bool { return true }) {
		for _, attribute := range []string{"aria-labelledby", "aria-describedby"} {
			for _, id := range strings.Fields(e.get(attribute)) {
				require.True(t, ids[id], "%s refers to %s", e.Data, id)
			}
		}
		for _, attribute := range []string{"src", "href", "data", "poster", "action", "srcset"} {
			if to := e.get(attribute); to != "" {
				require.True(t, strings.HasPrefix(to, "data:image/svg+xml,") || ids[strings.TrimPrefix(to, "#")], "%s loads or leads to %s", e.Data, to)
			}
		}
		if len(e.Data) == 2 && e.Data[0] == 'h' && e.Data[1] >= '1' && e.Data[1] <= '6' {
			next := int(e.Data[1] - '0')
			require.LessOrEqual(t, next, level+1, "heading %q", e.text())
			require.NotEmpty(t, e.text())
			level = next
		}
		if e.Data == "table" {
			require.NotEmpty(t, e.all(func(h node) bool { return h.get("scope") == "col" }))
			cells := -1
			for _, row := range e.named("tr") {
				n := len(row.named("th")) + len(row.named("td"))
				require.True(t, cells < 0 || n == cells, "a row with %d cells, not %d", n, cells)
				cells = n
			}
		}
	}
	require.NotContains(t, style, "url(http")
	require.NotContains(t, style, "@import")
	return page
}

func TestOddRunsHaveAPage(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(h *history.History, r *report.Report){
		"nothing at all":      func(h *history.History, r *report.Report) { *h, *r = history.History{}, report.Report{} },
		"no fault":            func(h *history.History, _ *report.Report) { h.Faults = nil },
		"no bucket":           func(h *history.History, _ *report.Report) { h.Buckets = nil },
		"one bucket":          func(h *history.History, _ *report.Report) { h.Buckets, h.DurationMS = h.Buckets[:1], 400 },
		"nothing was written": func(h *history.History, _ *report.Report) { clear(h.Buckets); h.Latency = history.Latencies{} },
		"rows not looked at":  func(_ *history.History, r *report.Report) { r.Rows, r.Verdict = nil, report.NotProven },
		"no cluster":          func(h *history.History, _ *report.Report) { h.Roles, h.Pods, h.Nodes = nil, nil, nil },
		"register": func(h *history.History, r *report.Report) {
			h.Plan.Workload, h.Operations, r.Rows = history.Register, json.RawMessage(`[]`), nil
			r.Summary, r.Checks = "9 operations under 9 faults", nil
		},
		"slow": func(h *history.History, _ *report.Report) {
			for i := range h.Buckets {
				h.Buckets[i] = history.Bucket{Acknowledged: int64(i % 2), P50US: 299_000_000, P99US: 300_000_000}
			}
		},
		"many nodes": func(h *history.History, _ *report.Report) {
			for i := range 100 {
				h.Nodes = append(h.Nodes, history.Interval{Of: fmt.Sprintf("ip-10-0-%d-17.eu-central-1.compute.internal", i), State: "ready", ToMS: h.DurationMS})
			}
		},
		"other states":           func(h *history.History, _ *report.Report) { h.Pods[0].State = "lost in space" },
		"a fault without a name": func(h *history.History, _ *report.Report) { h.Faults[3] = history.Fault{RecoveredMS: -1} },
		"a fault after the end": func(h *history.History, _ *report.Report) {
			h.Faults[8].BeganMS, h.Faults[8].RecoveredMS = h.DurationMS+10, h.DurationMS+5000
		},
		"an interval beyond the end": func(h *history.History, _ *report.Report) { h.Pods[len(h.Pods)-1].ToMS = 2 * h.DurationMS },
		"acknowledged locally":       func(h *history.History, _ *report.Report) { h.Writes.AcknowledgedLocally = 17 },
		"a row of an earlier run": func(_ *history.History, r *report.Report) {
			r.Verdict = report.NotKept
			r.Checks[0].Status, r.Checks[0].Rows = report.Violated, []report.Row{{Finding: "lost", Run: 3, Seq: 5, RecordedAt: time.Unix(0, 0)}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, r := sample()
			change(h, r)
			page := requireSound(t, rendered(t, h, r))
			require.NotEmpty(t, page.named("h1")[0].text())
			switch name {
			case "nothing at all", "no bucket":
				require.Empty(t, page.named("script"), "there is nothing to point at")
			case "no fault":
				require.Contains(t, page.text(), "No fault struck.")
			case "register":
				require.Contains(t, page.text(), "Acknowledged operations a second")
				require.NotContains(t, page.text(), "Lost")
				require.NotContains(t, page.text(), "commits")
			case "many nodes":
				require.Contains(t, page.text(), "Not drawn: 101 of 103 nodes")
			case "other states":
				require.Contains(t, page.text(), "lost in space")
			case "acknowledged locally":
				require.Contains(t, page.text(), "Acknowledged locally 17")
			case "a row of an earlier run":
				require.Contains(t, page.classed("finding")[0].text(), "1970-01-01 00:00:00 UTC")
			}
		})
	}
}

func TestPolicyAllowsWhatIsInThePageOnly(t *testing.T) {
	t.Parallel()
	h, r := sample()
	page := parsed(t, rendered(t, h, r))
	policy := page.named("meta")[1].get("content")
	require.NotContains(t, policy, "unsafe")
	require.Contains(t, policy, "style-src "+digest(page.named("style")[0].FirstChild.Data))
	require.Contains(t, policy, "script-src "+digest(page.named("script")[1].FirstChild.Data))
	require.Empty(t, page.all(func(e node) bool { return e.get("style") != "" }))

	// A frame obeys the policy of the page around it.
	page = parsed(t, rendered(t, h, r, Extra{Title: "Operations", HTML: []byte("<p>one &amp; two</p>")}, Extra{Title: "More"}))
	require.Contains(t, page.named("meta")[1].get("content"), "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:;")
	frames := page.named("iframe")
	require.Len(t, frames, 2)
	require.Equal(t, "<p>one &amp; two</p>", frames[0].get("srcdoc"))
	require.Equal(t, "allow-scripts", frames[0].get("sandbox"), "it must not act as the page")
	require.Equal(t, "Operations", frames[0].get("title"))
}

func TestPageIsTheSameEachTime(t *testing.T) {
	t.Parallel()
	h, r := violated()
	require.Equal(t, rendered(t, h, r), rendered(t, h, r))
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

func TestErrorOfTheWriterComesBack(t *testing.T) {
	t.Parallel()
	h, r := sample()
	require.EqualError(t, Render(full{}, h, r), "page: no space left on device")
}

func TestColumnsKeepWhatHappened(t *testing.T) {
	t.Parallel()
	h := &history.History{BucketMS: 1000, DurationMS: 7_200_000, Buckets: make([]history.Bucket, 7200)}
	for i := range h.Buckets {
		h.Buckets[i] = history.Bucket{Acknowledged: 1000, P50US: 1000, P99US: 2000}
	}
	h.Buckets[4001] = history.Bucket{Failed: 7, Unknown: 3}
	h.Buckets[4003] = history.Bucket{Acknowledged: 3000, P50US: 5000, P99US: 900_000}
	c := newColumns(h)
	require.Equal(t, 8, c.joined)
	require.Len(t, c.all, 900)
	require.InDelta(t, 900, c.width(), 0)
	require.Equal(t, column{mean: 1000, least: 1000, most: 1000, p50: 1000, p99: 2000}, c.all[499])
	require.Equal(t, column{mean: 1125, least: 0, most: 3000, failed: 7, unknown: 3, p50: 5000, p99: 900_000}, c.all[500])

	// The last bucket of a run is shorter than the others.
	h = &history.History{BucketMS: 1000, DurationMS: 2600, Buckets: []history.Bucket{{Acknowledged: 100}, {Acknowledged: 100}, {Acknowledged: 60}}}
	require.InDelta(t, 100, newColumns(h).all[2].mean, 0)
	// What is left of one says nothing of the rate.
	h.DurationMS, h.Buckets[2].Acknowledged = 2001, 1
	require.InDelta(t, 100, newColumns(h).all[2].mean, 0)
}

func TestNumbersAreWrittenForPeople(t *testing.T) {
	t.Parallel()
	for ms, want := range map[int64]string{
		0: "0 ms", 999: "999 ms", 1000: "1.0 s", 1449: "1.4 s", 59_949: "59.9 s", 59_950: "1 min 00 s", 60_000: "1 min 00 s", 187_400: "3 min 07 s",
		3_599_499: "59 min 59 s", 3_599_500: "1 h 00 min", 6_765_000: "1 h 53 min", 180_000_000: "50 h 00 min",
	} {
		require.Equal(t, want, clean(milliseconds(ms)), ms)
	}
	for us, want := range map[int64]string{
		0: "0 µs", 999: "999 µs", 1000: "1.00 ms", 2847: "2.85 ms", 9994: "9.99 ms", 9995: "10.0 ms", 12_480: "12.5 ms", 99_950: "100 ms",
		999_499: "999 ms",
		999_500: "1.00 s", 31_240_000: "31.2 s", 300_000_000: "300 s",
	} {
		require.Equal(t, want, clean(microseconds(us)), us)
	}
	for name, want := range map[string]string{"postgres-0": "postgres-0", "localkube-0": "loca…ube-0", "ip-10-0-1-17.internal": "ip-1…ernal"} {
		require.Equal(t, want, shorten(name, 10))
	}
	for x, want := range map[float64]float64{0: 1, 0.3: 0.5, 1: 1, 1.2: 2, 2.2: 5, 7: 10, 21: 25, 800: 1000, 1001: 2000} {
		require.InDelta(t, want, niceStep(x), 1e-9, "%v", x)
	}
}

func TestTimeTicksHaveRoom(t *testing.T) {
	t.Parallel()
	for span, want := range map[time.Duration]string{
		400 * time.Millisecond: "0", 20 * time.Second: "0 5 s 10 s 15 s", 5 * time.Minute: "0 2 min 4 min", 2 * time.Hour: "0 30 min 60 min 90 min",
		7 * 24 * time.Hour: "0 48 h 96 h 144 h",
	} {
		var ticks []string
		for _, tick := range timeTicks(float64(span.Milliseconds()), 300) {
			ticks = append(ticks, clean(tick.Text))
		}
		require.Equal(t, want, strings.Join(ticks, " "), span)
	}
}

func TestLabelsAreNamesAsLongAsThereIsRoom(t *testing.T) {
	t.Parallel()
	some := func(n int) []history.Fault {
		var all []history.Fault
		for i := range n {
			all = append(all, history.Fault{Kind: "leader-pod-kill", BeganMS: int64(1000 * (i + 1)), PauseMS: int64(100 + i%7)})
		}
		return all
	}
	count := func(labels []label) (names, numbers int) {
		for _, l := range labels {
			if l.Kind != "" {
				names++
			} else {
				numbers++
			}
		}
		return names, numbers
	}
	names, numbers := count(placeLabels(some(8), 9000, 1050))
	require.Equal(t, []int{8, 0}, []int{names, numbers})
	names, numbers = count(placeLabels(some(200), 201_000, 1050))
	require.Greater(t, names, 5)
	require.Greater(t, numbers, 20)
	require.Less(t, names+numbers, 100)
	for _, l := range placeLabels(some(40), 41_000, 235) {
		require.Contains(t, []string{"", "leader-pod-kill"}, l.Kind)
	}
	require.Empty(t, placeLabels(nil, 1000, 1000))
}
