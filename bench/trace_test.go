package main

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestSpansAreReadInTheOrderOfTheirStart(t *testing.T) {
	t.Parallel()
	spans, err := decodeSpans(strings.NewReader(
		`{"resourceSpans":[{"resource":{"attributes":[]},"scopeSpans":[{"spans":[{"name":"pulumi-plan","startTimeUnixNano":"2000","endTimeUnixNano":"9000"}]}]}]}` + "\n" +
			`{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"newPlugin","startTimeUnixNano":"1000","endTimeUnixNano":"1500",` +
			`"attributes":[{"key":"kind","value":{"stringValue":"resource"}},{"key":"attachDebugger","value":{"boolValue":false}}]}]}]}]}` + "\n"))
	require.NoError(t, err)
	require.Equal(t, []span{
		{name: "newPlugin", kind: "resource", start: time.Unix(0, 1000), end: time.Unix(0, 1500)},
		{name: "pulumi-plan", start: time.Unix(0, 2000), end: time.Unix(0, 9000)},
	}, spans)
	_, err = decodeSpans(strings.NewReader(`{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"x","startTimeUnixNano":"soon"}]}]}]}`))
	require.ErrorContains(t, err, "span x: ")
}

// at is a moment of a trace, in milliseconds.
func at(milliseconds int) time.Time { return time.UnixMilli(int64(1_000_000 + milliseconds)) }

// nothingToDo is a trace without an update.
func nothingToDo() *trace {
	spanAt := func(name, kind string, start, end int) span {
		return span{name: name, kind: kind, start: at(start), end: at(end)}
	}
	return &trace{start: at(0), end: at(1100), spans: []span{
		spanAt(commandSpan, "", 140, 1090),
		spanAt(pluginSpan, "language", 145, 170),
		spanAt(aboutSpan, "", 175, 180),
		spanAt(planSpan, "", 360, 1080),
		spanAt(pluginSpan, "language", 365, 380),
		spanAt(pluginSpan, "resource", 410, 480),
		spanAt(configureSpan, "", 480, 570),
		spanAt(readSpan, "", 570, 640),
		spanAt(runSpan, "", 650, 1070),
		spanAt(featureSpan, "", 930, 930),
		spanAt(pluginSpan, "resource", 960, 1020),
		spanAt(checkSpan, "", 1021, 1022),
		spanAt(diffSpan, "", 1022, 1023),
	}}
}

func TestPhasesAreTheWholeOfAnUpdate(t *testing.T) {
	t.Parallel()
	update := span{name: updateSpan, start: at(1040), end: at(1066)}
	down, up := nothingToDo(), nothingToDo()
	down.spans, up.spans = append(down.spans, update), append(up.spans, update)
	down.pod = sightings{deleted: at(1045), stopped: at(1055), gone: at(1060)}
	up.pod = sightings{created: at(1045), ready: at(1063)}
	up.log = serverLog{first: at(1050), answers: at(1055)}
	for name, c := range map[string]struct {
		trace *trace
		ends  []int
	}{
		"nothing to do": {nothingToDo(), []int{140, 180, 360, 410, 570, 650, 930, 960, 1023, 1070, 1100}},
		"1 to 0":        {down, []int{140, 180, 360, 410, 570, 650, 930, 960, 1023, 1040, 1045, 1055, 1060, 1066, 1070, 1100}},
		"0 to 1":        {up, []int{140, 180, 360, 410, 570, 650, 930, 960, 1023, 1040, 1045, 1050, 1055, 1063, 1066, 1070, 1100}},
	} {
		phases, err := c.trace.phases()
		require.NoError(t, err, name)
		var ends []int
		for _, p := range phases {
			ends = append(ends, int(p.until.Sub(at(0)).Milliseconds()))
		}
		require.Equal(t, c.ends, ends, name)
		b := &breakdown{}
		require.NoError(t, b.add(c.trace))
		var sum time.Duration
		for _, taken := range b.taken {
			sum += taken[0]
		}
		require.Equal(t, 1100*time.Millisecond, sum, name)
		require.Len(t, b.table(name).lines, len(c.ends))
	}
}

func TestTraceWithoutASpanIsRefused(t *testing.T) {
	t.Parallel()
	incomplete := nothingToDo()
	for i, s := range incomplete.spans {
		if s.name == configureSpan {
			incomplete.spans[i].name = "something else"
		}
	}
	_, err := incomplete.phases()
	require.ErrorContains(t, err, `expected "provider starts, and looks at the cluster" to end at`)
}
