package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/apitype"
	"github.com/pulumi/pulumi/sdk/v3/go/common/diag/colors"
	"github.com/stretchr/testify/require"
)

const namespace = "urn:pulumi:dev::stateful-postgres::kubernetes:core/v1:Namespace::postgres"

// step is a change of the namespace, as JSON.
func step(event, op string) string {
	return `{"` + event + `":{"metadata":{"op":"` + op + `","urn":"` + namespace + `","new":{"inputs":{"metadata":{"name":"codewizard"}}}}}}`
}

func message(severity, ephemeral, text string) string {
	return `{"diagnosticEvent":{"urn":"` + namespace + `","prefix":"` + severity + `: ","severity":"` + severity + `","ephemeral":` + ephemeral + `,"message":"` + text + `"}}`
}

// written is the log of lines that pulumi printed.
func written(t *testing.T, lines ...string) string {
	t.Helper()
	var out bytes.Buffer
	l := newLog(&out, colors.Never, nil)
	// Time stands still: only what takes long is said to take time.
	l.now = func() time.Time { return l.begun }
	require.NoError(t, follow(strings.NewReader(strings.Join(lines, "\n")), l))
	return out.String()
}

// The testdata is what pulumi printed on real runs, without most of the objects' fields.
func TestRealUpdatesAreALineForEachThing(t *testing.T) {
	t.Parallel()
	recordings, err := filepath.Glob("testdata/*.jsonl")
	require.NoError(t, err)
	require.Len(t, recordings, 4)
	for _, recording := range recordings {
		t.Run(strings.TrimSuffix(filepath.Base(recording), ".jsonl"), func(t *testing.T) {
			t.Parallel()
			events, err := os.ReadFile(recording)
			require.NoError(t, err)
			want, err := os.ReadFile(strings.TrimSuffix(recording, "jsonl") + "txt")
			require.NoError(t, err)
			got := written(t, string(events))
			require.Equal(t, string(want), got)
			lines := map[string]bool{}
			for line := range strings.Lines(got) {
				require.NotContains(t, lines, line, "twice")
				lines[line] = true
			}
		})
	}
}

func TestLogOf(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		lines []string
		want  string
	}{
		"a preview's and its update's same warning, once": {
			[]string{`{"preludeEvent":{}}`, message("warning", "false", "look here"), `{"preludeEvent":{}}`, message("warning", "false", "look here\\n")},
			"  warning: Namespace postgres: look here\n",
		},
		"how far a change has come, and what is for debugging, not": {
			[]string{step("resourcePreEvent", "create"), message("info", "true", "soon"), message("warning", "true", "not yet"), message("debug", "false", "detail")},
			"",
		},
		"a failure": {
			[]string{step("resourcePreEvent", "update"), message("error", "false", "it is\\n  gone\\n\\n"), step("resOpFailedEvent", "update")},
			"  error: Namespace codewizard: it is\n      gone\n  ✗ Namespace codewizard: updating failed\n",
		},
		"an operation that has no word": {
			[]string{step("resourcePreEvent", "discard"), step("resOutputsEvent", "discard"), `{"summaryEvent":{"resourceChanges":{"discard":1}}}`},
			"  * Namespace codewizard discard\nupdate: 1 discard\n",
		},
		"a policy that was broken": {
			[]string{`{"policyEvent":{"resourceUrn":"` + namespace + `","message":"no labels","policyName":"labels","policyPackName":"house","enforcementLevel":"mandatory"}}`},
			"  policy labels of house (mandatory): Namespace postgres: no labels\n",
		},
		"a plugin that is fetched": {
			[]string{
				`{"progressEvent":{"id":"x","message":"Downloading plugin kubernetes","received":1}}`,
				`{"progressEvent":{"id":"x","message":"Downloading plugin kubernetes","received":2}}`,
				`{"progressEvent":{"id":"x","message":"Downloading plugin kubernetes","done":true}}`,
			},
			"  Downloading plugin kubernetes: begun\n  Downloading plugin kubernetes: done\n",
		},
		"what is no event, as it is": {
			[]string{"warning: using pulumi-resource-kubernetes from $PATH", `{"errorEvent":{"error":"broken"}}`},
			"warning: using pulumi-resource-kubernetes from $PATH\n  error: broken\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, test.want, written(t, test.lines...))
		})
	}
}

func TestWaitingIsForTheLastChangeBegun(t *testing.T) {
	t.Parallel()
	l := newLog(&bytes.Buffer{}, colors.Never, nil)
	require.Equal(t, "the program runs", l.waiting())
	for _, event := range []struct{ line, waiting string }{
		{step("resourcePreEvent", "same"), "the program runs"},
		{step("resourcePreEvent", "create"), "Namespace codewizard: creating"},
		{message("info", "true", "[1/2] waiting\\n"), "Namespace codewizard: [1/2] waiting"},
		{message("info", "true", "\\n"), "Namespace codewizard: [1/2] waiting"},
		{step("resOutputsEvent", "create"), "the program runs"},
	} {
		l.read([]byte(event.line))
		require.Equal(t, event.waiting, l.waiting(), event.line)
	}
	l.event(apitype.EngineEvent{ResourcePreEvent: &apitype.ResourcePreEvent{
		Planning: true, Metadata: apitype.StepEventMetadata{Op: apitype.OpCreate, URN: namespace},
	}})
	require.Equal(t, "the program runs", l.waiting(), "a preview creates nothing")
}

func TestWhatTakesLongIsSaid(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	l := newLog(&out, colors.Never, nil)
	clock := l.begun
	l.now = func() time.Time { clock = clock.Add(2 * time.Second); return clock }
	l.read([]byte(step("resourcePreEvent", "create")))
	l.read([]byte(step("resOutputsEvent", "create")))
	l.read([]byte(`{"summaryEvent":{"resourceChanges":{"create":1}}}`))
	require.Equal(t, "  + Namespace codewizard created (2.0s)\nupdate: 1 created (6.0s)\n", out.String())
}

func TestColoursAreForTerminals(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	l := newLog(&out, colors.Always, nil)
	l.read([]byte(step("resourcePreEvent", "create")))
	l.read([]byte(step("resOutputsEvent", "create")))
	require.Contains(t, out.String(), "\x1b[")
	require.NotContains(t, out.String(), "<{%")
	require.NotContains(t, written(t, `{"stdoutEvent":{"message":"<{%fg 1%}>red<{%reset%}>"}}`), "%")
}

func TestSecretOutputsStaySecret(t *testing.T) {
	t.Parallel()
	var secret any
	require.NoError(t, json.Unmarshal([]byte(`{"4dabf18193072939515e22adb298388d":"1b47061264138c4ac30d75fd1eb44270","ciphertext":"x"}`), &secret))
	require.Equal(t, "[secret]", value(secret))
	require.Equal(t, `{"a":1}`, value(map[string]any{"a": 1}))
}

// broken is a stream that cannot be written to.
type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("disk is full") }

func TestUnwritableLogIsAnError(t *testing.T) {
	t.Parallel()
	require.EqualError(t, follow(strings.NewReader("text"), newLog(broken{}, colors.Never, nil)), "disk is full")
}
