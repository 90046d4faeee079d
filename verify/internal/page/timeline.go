package page

import (
	"encoding/json"
	"fmt"
	"html/template"
	"math"
	"slices"
	"strconv"
	"strings"

	"stateful-postgres/verify/internal/history"
	"stateful-postgres/verify/internal/report"
)

// Heights in pixels. Widths are shares of the picture, so that it fits any screen with letters that
// keep their size.
const (
	titleHeight   = 22
	rateHeight    = 150
	stripHeight   = 16
	stripGap      = 5
	latencyHeight = 130
	panelGap      = 16
	laneHeight    = 17
	axisHeight    = 24
	// fine is how many units a pixel has in a path.
	fine = 10
	// mostColumns are drawn; a longer run has several buckets in one.
	mostColumns = 900
	// mostLanes of a group are drawn. Of more objects those are left out that never changed.
	mostLanes = 12
	// mostStates of a lane are drawn as they are. Of more, each laneColumns-th part of the time shows the
	// worst.
	mostStates, laneColumns = 400, 1200
	// leastShare is that of a state that is still seen, and of a fault.
	leastShare = 0.0008
	// manyFaults are too many for a small screen: the picture keeps a width there, and moves.
	manyFaults = 40
)

// timeline is the picture of a run along its time.
type timeline struct {
	Height, PlotTop, PlotBottom, PlotHeight, AxisText int

	// Acts is what clients do, in the plural.
	Acts string

	Widths        []widthView
	Bands         []band
	Rate, Latency chart
	Strips        []strip
	Groups        []laneGroup
	Legend        []legend
	// Crowded says that there are many faults, Lost that rows are marked that are lost.
	Crowded, Lost bool
	// ColumnTime is how long a column takes, where it is several buckets.
	ColumnTime string
	// LeftOut says which objects are not drawn.
	LeftOut string
	Data    template.JS

	span float64
}

// widthView is what depends on how wide the screen is.
type widthView struct {
	Class  string
	Labels []label
	Ticks  []tick
	// Names are those of the lanes, as long as they may be.
	Names []laneName
}

type laneName struct {
	Y    int
	Name string
}

// band is a fault in the picture.
type band struct {
	Number                           int
	Title, At, Width, Pause, PauseOf string
	Open                             bool
}

// chart is a panel with a vertical axis.
type chart struct {
	Y, Height, TitleY int
	// Width and Units are those of the paths.
	Width string
	Units int
	// Area and Line are the rate on average; Most is an area up to the highest one and Least its lower
	// edge, where a column is several buckets.
	Area, Line, Spread string
	// Median and High are latencies.
	Median, High string
	Ticks        []yTick
}

type yTick struct {
	Y    int
	Text string
}

// strip is a row of marks.
type strip struct {
	Class, Name    string
	Y, Height      int
	TextY, BottomY int
	Width          string
	Units          int
	Path           string
	Points         []string
}

// laneGroup are the lanes of the objects of one kind.
type laneGroup struct {
	Name  string
	TextY int
	Lanes []lane
}

// lane is what states an object had.
type lane struct {
	Of     string
	Y      int
	States []stateView
}

type stateView struct {
	Class, X, Width string
	Y, Height       int
}

// legend explains a look.
type legend struct{ Class, Text string }

// columns are buckets, joined until there are not too many.
type columns struct {
	// ms is how long one takes, span how long all take.
	ms, span float64
	joined   int
	all      []column
}

type column struct {
	// mean, least and most are commits a second.
	mean, least, most float64
	failed, unknown   int64
	p50, p99          int64
}

func newColumns(h *history.History) columns {
	joined := max((len(h.Buckets)+mostColumns-1)/mostColumns, 1)
	c := columns{ms: float64(h.BucketMS) * float64(joined), span: float64(h.DurationMS), joined: joined}
	for i := 0; i < len(h.Buckets); i += joined {
		col := column{least: math.Inf(1)}
		var acknowledged int64
		var time float64
		for j := i; j < min(i+joined, len(h.Buckets)); j++ {
			b := h.Buckets[j]
			acknowledged += b.Acknowledged
			col.failed += b.Failed
			col.unknown += b.Unknown
			col.p50, col.p99 = max(col.p50, b.P50US), max(col.p99, b.P99US)
			// The last bucket ends with the run.
			ms := min(float64(h.BucketMS), float64(h.DurationMS)-float64(j)*float64(h.BucketMS))
			if ms <= 0 {
				continue
			}
			time += ms
			// A rate of a moment says nothing.
			if ms < float64(h.BucketMS)/2 && j > i {
				continue
			}
			rate := float64(b.Acknowledged) * 1000 / ms
			col.least, col.most = min(col.least, rate), max(col.most, rate)
		}
		if time <= 0 {
			continue
		}
		col.mean = float64(acknowledged) * 1000 / time
		col.least = min(col.least, col.mean)
		c.all = append(c.all, col)
	}
	// So does that of a last column that was hardly begun.
	if last := len(c.all) - 1; last > 0 && c.span-float64(last)*c.ms < float64(h.BucketMS)/2 {
		before, end := c.all[last-1], &c.all[last]
		end.mean, end.least, end.most = before.mean, before.least, before.most
	}
	return c
}

// width is that of all columns, in columns.
func (c columns) width() float64 { return c.span / c.ms }

// newTimeline draws a run; nil when there was none.
func newTimeline(h *history.History, r *report.Report) *timeline {
	if h.DurationMS <= 0 || h.BucketMS <= 0 || len(h.Buckets) == 0 {
		return nil
	}
	t := &timeline{span: float64(h.DurationMS), Crowded: len(h.Faults) > manyFaults, Acts: act(h) + "s"}
	c := newColumns(h)
	if c.joined > 1 {
		t.ColumnTime = milliseconds(int64(c.ms))
	}
	for _, screen := range screens {
		t.Widths = append(t.Widths, widthView{
			Class: screen.class, Ticks: timeTicks(t.span, screen.width), Labels: placeLabels(h.Faults, t.span, screen.width),
		})
	}
	y := stand(t.Widths)
	t.PlotTop = y
	t.Rate = c.rates(y)
	y = t.Rate.Y + rateHeight + stripGap
	for _, s := range []struct {
		class, name string
		count       func(column) int64
	}{
		{"failed", "failed", func(c column) int64 { return c.failed }},
		{"unknown", "unknown", func(c column) int64 { return c.unknown }},
	} {
		t.Strips = append(t.Strips, c.strip(s.class, s.name, y, s.count))
		y += stripHeight + stripGap
	}
	if lost := t.lost(h, r, y); len(lost.Points) > 0 {
		t.Strips, t.Lost = append(t.Strips, lost), true
		y += stripHeight + stripGap
	}
	t.Latency = c.latencies(y + panelGap - stripGap)
	y = t.Latency.Y + latencyHeight
	y = t.lanes(h, y)
	t.PlotBottom = y + 6
	t.PlotHeight = t.PlotBottom - t.PlotTop
	t.AxisText = t.PlotBottom + 16
	t.Height = t.PlotBottom + axisHeight
	t.bands(h)
	t.names()
	t.legend(h)
	t.Data = t.data(h, c)
	return t
}

func (t *timeline) at(ms int64) string { return share(float64(ms), t.span) }

// rates draws how many commits were acknowledged a second.
func (c columns) rates(y int) chart {
	panel := c.chart(y, rateHeight)
	var most float64
	for _, col := range c.all {
		most = max(most, col.most, col.mean)
	}
	step := niceStep(most / 3)
	top := step * math.Ceil(most/step)
	if top == 0 {
		top = step
	}
	for value := 0.0; value <= top*1.0001; value += step {
		text := number(int64(math.Round(value)))
		if step < 1 {
			text = strconv.FormatFloat(value, 'f', 1, 64)
		}
		panel.Ticks = append(panel.Ticks, yTick{panel.Y + int(math.Round(rateHeight*(1-value/top))), text})
	}
	units := float64(panel.Units)
	height := func(rate float64) int { return int(math.Round(units * (1 - rate/top))) }
	panel.Line = c.steps(func(col column) (int, bool) { return height(col.mean), true })
	panel.Area = fmt.Sprintf("M0 %d%sV%dZ", panel.Units, "V"+strings.TrimPrefix(panel.Line, "M0 "), panel.Units)
	if c.joined > 1 {
		upper := c.steps(func(col column) (int, bool) { return height(col.most), true })
		panel.Spread = upper + c.back(func(col column) int { return height(col.least) }) + "Z"
	}
	return panel
}

// latencies draws how long acknowledged commits took.
func (c columns) latencies(y int) chart {
	panel := c.chart(y, latencyHeight)
	least, most := int64(math.MaxInt64), int64(0)
	for _, col := range c.all {
		if col.p50 > 0 {
			least = min(least, col.p50)
		}
		most = max(most, col.p50, col.p99)
	}
	if most == 0 {
		least, most = 1000, 1000
	}
	scale := newLogScale(least, most)
	for _, us := range scale.decades() {
		panel.Ticks = append(panel.Ticks, yTick{panel.Y + int(math.Round(latencyHeight*(1-scale.at(us)))), microsecondsRound(us)})
	}
	height := func(us int64) (int, bool) { return int(math.Round(float64(panel.Units) * (1 - scale.at(us)))), us > 0 }
	panel.Median = c.steps(func(col column) (int, bool) { return height(col.p50) })
	panel.High = c.steps(func(col column) (int, bool) { return height(col.p99) })
	return panel
}

func (c columns) chart(y, height int) chart {
	return chart{Y: y + titleHeight, TitleY: y + titleHeight - 8, Height: height, Width: compact(c.width()), Units: height * fine}
}

// steps is a path that is level within each column. It stops where there is no value.
func (c columns) steps(value func(column) (y int, there bool)) string {
	var path strings.Builder
	open, last := false, 0
	// run is over how many columns the last value goes on.
	run := 0.0
	flush := func() {
		if run > 0 {
			path.WriteString("h" + compact(run))
		}
		run = 0
	}
	for i, col := range c.all {
		y, there := value(col)
		switch {
		case !there:
			flush()
			open = false
			continue
		case !open:
			fmt.Fprintf(&path, "M%d %d", i, y)
		case y != last:
			flush()
			fmt.Fprintf(&path, "V%d", y)
		}
		open, last = true, y
		run += min(1, c.width()-float64(i))
	}
	flush()
	return path.String()
}

// back is a path from the end to the beginning.
func (c columns) back(value func(column) int) string {
	var path strings.Builder
	for i, col := range slices.Backward(c.all) {
		fmt.Fprintf(&path, "V%dH%d", value(col), i)
	}
	return path.String()
}

// strip draws marks where something happened, the higher the more often.
func (c columns) strip(class, name string, y int, count func(column) int64) strip {
	s := strip{
		Class: class, Name: name, Y: y, Height: stripHeight, TextY: y + stripHeight - 4, BottomY: y + stripHeight, Width: compact(c.width()),
		Units: stripHeight * fine,
	}
	var most int64
	for _, col := range c.all {
		most = max(most, count(col))
	}
	var path strings.Builder
	for i, col := range c.all {
		if n := count(col); n > 0 {
			height := float64(s.Units) * (0.3 + 0.7*math.Sqrt(float64(n)/float64(most)))
			fmt.Fprintf(&path, "M%s %dv-%d", compact(min(float64(i)+0.5, c.width())), s.Units, int(height))
		}
	}
	s.Path = path.String()
	return s
}

// lost marks when the outcomes of lost rows were recorded.
func (t *timeline) lost(h *history.History, r *report.Report, y int) strip {
	s := strip{Class: "lost", Name: "lost rows", Y: y, Height: stripHeight, TextY: y + stripHeight - 4, BottomY: y + stripHeight}
	for _, row := range named(r) {
		if at, within := moment(h, row); within && row.Finding == "lost" {
			if x := t.at(at); !slices.Contains(s.Points, x) {
				s.Points = append(s.Points, x)
			}
		}
	}
	return s
}

// look is how a state looks: how far from the lane's top, and how high.
type look struct {
	class     string
	y, height int
	// rank is higher for what is to be seen when there is no room for all.
	rank int
}

var looksOf = map[string]look{
	"primary":     {"primary", 3, 11, 3},
	"standby":     {"standby", 7, 3, 1},
	"none":        {"none", 8, 1, 2},
	"ready":       {"ready", 7, 3, 1},
	"not ready":   {"unready", 3, 11, 3},
	"terminating": {"terminating", 3, 11, 4},
	"absent":      {"absent", 4, 9, 5},
}

func lookOf(state string) look {
	if l, known := looksOf[state]; known {
		return l
	}
	return look{"other", 5, 7, 2}
}

// lanes draws the states of members, pods and nodes below each other, from y on.
func (t *timeline) lanes(h *history.History, y int) int {
	var leftOut []string
	for _, group := range []struct {
		name      string
		intervals []history.Interval
	}{{"Roles", h.Roles}, {"Pods", h.Pods}, {"Nodes", h.Nodes}} {
		objects := byObject(group.intervals)
		if n := len(objects); n > mostLanes {
			objects = slices.DeleteFunc(objects, func(o object) bool { return len(o.intervals) == 1 })
			objects = objects[:min(len(objects), mostLanes)]
			leftOut = append(leftOut, fmt.Sprintf("%d of %d %s", n-len(objects), n, strings.ToLower(group.name)))
		}
		if len(objects) == 0 {
			continue
		}
		y += panelGap
		drawn := laneGroup{Name: group.name, TextY: y + 10}
		y += laneHeight
		for _, o := range objects {
			drawn.Lanes = append(drawn.Lanes, t.lane(o, y))
			y += laneHeight
		}
		t.Groups = append(t.Groups, drawn)
	}
	t.LeftOut = strings.Join(leftOut, ", ")
	return y
}

// object has some states.
type object struct {
	of        string
	intervals []history.Interval
}

func byObject(intervals []history.Interval) []object {
	var all []object
	for _, interval := range intervals {
		i := slices.IndexFunc(all, func(o object) bool { return o.of == interval.Of })
		if i < 0 {
			i = len(all)
			all = append(all, object{of: interval.Of})
		}
		all[i].intervals = append(all[i].intervals, interval)
	}
	return all
}

func (t *timeline) lane(o object, y int) lane {
	drawn := lane{Of: o.of, Y: y}
	intervals := o.intervals
	if len(intervals) > mostStates {
		intervals = t.coarse(intervals)
	}
	for i, interval := range intervals {
		l := lookOf(interval.State)
		from, to := float64(interval.FromMS), float64(interval.ToMS)
		// What was seen last goes on until the end.
		if i == len(intervals)-1 && t.span-to < t.span/100 {
			to = t.span
		}
		drawn.States = append(drawn.States, stateView{
			Class: l.class, X: share(from, t.span), Width: share(max(min(to, t.span)-from, leastShare*t.span), t.span), Y: y + l.y, Height: l.height,
		})
	}
	return drawn
}

// coarse shows of each part of the time the state that is to be seen first.
func (t *timeline) coarse(intervals []history.Interval) []history.Interval {
	of := make([]string, laneColumns)
	part := t.span / laneColumns
	for _, interval := range intervals {
		first := int(float64(interval.FromMS) / part)
		for i := max(first, 0); i < laneColumns && float64(i)*part < float64(max(interval.ToMS, interval.FromMS+1)); i++ {
			if of[i] == "" || lookOf(interval.State).rank > lookOf(of[i]).rank {
				of[i] = interval.State
			}
		}
	}
	var joined []history.Interval
	for i, state := range of {
		from, to := int64(float64(i)*part), int64(float64(i+1)*part)
		if last := len(joined) - 1; last >= 0 && joined[last].State == state && joined[last].ToMS == from {
			joined[last].ToMS = to
		} else if state != "" {
			joined = append(joined, history.Interval{State: state, FromMS: from, ToMS: to})
		}
	}
	return joined
}

// bands draws faults from their beginning until commits went on.
func (t *timeline) bands(h *history.History) {
	for i, f := range h.Faults {
		end, open := f.RecoveredMS, false
		if end < 0 {
			end, open = max(f.EndedMS, f.BeganMS), true
		}
		title := fmt.Sprintf("%d %s at %s: pause %s", i+1, f.Kind, milliseconds(f.BeganMS), milliseconds(f.PauseMS))
		if open {
			title += ", " + t.Acts + " did not go on"
		}
		b := band{Number: i + 1, Title: title, At: t.at(f.BeganMS), Open: open, Width: share(float64(end-f.BeganMS), t.span)}
		if f.PauseMS > 0 {
			// A pause that is too short to be seen is made as wide as a line.
			b.Pause, b.PauseOf = t.at(f.PauseBeganMS), share(max(float64(f.PauseMS), leastShare*t.span), t.span)
		}
		t.Bands = append(t.Bands, b)
	}
}

// screens are how wide a screen may be, and how wide the picture is on it at least, without its margins.
// page.css shows what was made for a screen.
var screens = []struct {
	class string
	width float64
	// name is how many letters the name of a lane may have.
	name int
}{{"narrow", 235, 10}, {"medium", 450, 17}, {"wide", 830, 17}, {"widest", 1050, 17}}

// names writes the names of lanes as long as there is room for them.
func (t *timeline) names() {
	for i, screen := range screens {
		for _, group := range t.Groups {
			for _, lane := range group.Lanes {
				t.Widths[i].Names = append(t.Widths[i].Names, laneName{lane.Y + 12, shorten(lane.Of, screen.name)})
			}
		}
	}
}

// legend explains the looks that the picture has.
func (t *timeline) legend(h *history.History) {
	if len(h.Faults) > 0 {
		t.Legend = append(t.Legend, legend{"fault", "fault, until " + t.Acts + " go on"}, legend{"outage", "pause: no " + act(h) + " is acknowledged"})
	}
	if slices.ContainsFunc(h.Faults, func(f history.Fault) bool { return f.RecoveredMS < 0 }) {
		t.Legend = append(t.Legend, legend{"endless", "fault, after which " + t.Acts + " did not go on"})
	}
	seen := map[string]bool{}
	for _, intervals := range [][]history.Interval{h.Roles, h.Pods, h.Nodes} {
		for _, interval := range intervals {
			seen[interval.State] = true
		}
	}
	for _, state := range []string{"primary", "standby", "none", "ready", "not ready", "terminating", "absent"} {
		text := state
		if state == "none" {
			text = "neither primary nor standby"
		}
		if seen[state] {
			t.Legend = append(t.Legend, legend{lookOf(state).class, text})
		}
		delete(seen, state)
	}
	var others []string
	for state := range seen {
		others = append(others, state)
	}
	if len(others) > 0 {
		slices.Sort(others)
		t.Legend = append(t.Legend, legend{"other", strings.Join(others, ", ")})
	}
}

// data is what the page's script says about a moment.
func (t *timeline) data(h *history.History, c columns) template.JS {
	type span struct {
		Name string `json:"name"`
		From int64  `json:"from"`
		To   int64  `json:"to"`
	}
	data := struct {
		Acts      string    `json:"acts"`
		Span      float64   `json:"span"`
		ColumnMS  float64   `json:"column"`
		Columns   [][]int64 `json:"columns"`
		Faults    []span    `json:"faults"`
		Primaries []span    `json:"primaries"`
	}{Acts: t.Acts, Span: t.span, ColumnMS: c.ms, Faults: []span{}, Primaries: []span{}}
	for _, col := range c.all {
		data.Columns = append(data.Columns, []int64{int64(math.Round(col.mean)), col.failed, col.unknown, col.p50, col.p99})
	}
	for _, f := range h.Faults {
		data.Faults = append(data.Faults, span{f.Kind, f.BeganMS, max(f.RecoveredMS, f.EndedMS)})
	}
	for _, role := range h.Roles {
		if role.State == "primary" {
			data.Primaries = append(data.Primaries, span{role.Of, role.FromMS, role.ToMS})
		}
	}
	// Numbers and strings always become JSON, in which no tag can end: < is written as a number.
	text, _ := json.Marshal(data)
	return template.JS(text)
}

// niceStep is a round number from x on.
func niceStep(x float64) float64 {
	if x <= 0 {
		return 1
	}
	unit := math.Pow(10, math.Floor(math.Log10(x)))
	for _, times := range []float64{1, 2, 2.5, 5} {
		// Half a commit is none.
		if step := times * unit; step >= x && (step >= 10 || step == math.Trunc(step) || step < 1) {
			return step
		}
	}
	return 10 * unit
}

// logScale goes from one power of ten to another.
type logScale struct{ low, high int }

func newLogScale(least, most int64) logScale {
	low := int(math.Floor(math.Log10(float64(max(least, 1)))))
	high := int(math.Ceil(math.Log10(float64(max(most, 1)))))
	return logScale{low, max(high, low+1)}
}

// at is where a value is, from 0 to 1.
func (s logScale) at(us int64) float64 {
	return min(max((math.Log10(float64(max(us, 1)))-float64(s.low))/float64(s.high-s.low), 0), 1)
}

func (s logScale) decades() []int64 {
	var all []int64
	for power := s.low; power <= s.high; power++ {
		all = append(all, int64(math.Round(math.Pow10(power))))
	}
	return all
}

func (s logScale) ticks() []tick {
	var all []tick
	for _, us := range s.decades() {
		all = append(all, tick{share(s.at(us), 1), microsecondsRound(us)})
	}
	return all
}

// microsecondsRound writes a power of ten.
func microsecondsRound(us int64) string {
	switch {
	case us < 1000:
		return fmt.Sprintf("%d%sµs", us, space)
	case us < 1_000_000:
		return fmt.Sprintf("%d%sms", us/1000, space)
	default:
		return fmt.Sprintf("%d%ss", us/1_000_000, space)
	}
}

// timeUnits are those of a time axis: for how long a run each is used, its length, and steps between
// two ticks.
var timeUnits = []struct {
	until, length float64
	name          string
	steps         []float64
}{
	{2 * 60e3, 1e3, "s", []float64{1, 2, 5, 10, 20, 30, 60}},
	{2 * 3600e3, 60e3, "min", []float64{0.5, 1, 2, 5, 10, 15, 20, 30, 60}},
	{math.Inf(1), 3600e3, "h", []float64{0.25, 0.5, 1, 2, 3, 6, 12, 24, 48, 96, 168, 336, 672}},
}

// tickWidth is the room for a tick's text.
const tickWidth = 64

func timeTicks(span, width float64) []tick {
	i := slices.IndexFunc(timeUnits, func(u struct {
		until, length float64
		name          string
		steps         []float64
	}) bool {
		return span <= u.until
	})
	unit := timeUnits[i]
	step := unit.steps[len(unit.steps)-1]
	for _, s := range slices.Backward(unit.steps) {
		if span/(s*unit.length)*tickWidth <= width {
			step = s
		}
	}
	var ticks []tick
	for value := 0.0; value*unit.length <= span; value += step {
		at := value * unit.length / span
		// At the edge there is no room.
		if width*(1-at) < tickWidth/2 {
			break
		}
		text := strconv.FormatFloat(value, 'f', -1, 64) + space + unit.name
		if value == 0 {
			text = "0"
		}
		ticks = append(ticks, tick{share(at, 1), text})
	}
	return ticks
}
