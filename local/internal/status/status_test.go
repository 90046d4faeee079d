package status

import (
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// screen is a writer that can be read while a Status writes to it.
type screen struct {
	mu   sync.Mutex
	text strings.Builder
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// clock stands still until it is moved, and ticks when it is told to.
type clock struct {
	mu     sync.Mutex
	time   time.Time
	ticks  chan time.Time
	waited []time.Duration
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.time
}

func (c *clock) tick(d time.Duration) (<-chan time.Time, func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waited = append(c.waited, d)
	return c.ticks, func() {}
}

// pass lets time pass and one tick be seen.
func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	c.time = c.time.Add(d)
	c.mu.Unlock()
	c.ticks <- c.now()
}

func setup(terminal bool) (*Status, *screen, *clock) {
	out := &screen{}
	c := &clock{time: time.Unix(0, 0), ticks: make(chan time.Time)}
	s := New(out)
	s.terminal = terminal
	s.now, s.tick = c.now, c.tick
	return s, out, c
}

func TestPlainOutputIsOneLineAStep(t *testing.T) {
	t.Parallel()
	s, out, c := setup(false)
	require.NoError(t, s.Step("Building", func(update func(string)) error {
		update("package 1")
		c.mu.Lock()
		c.time = c.time.Add(12 * time.Second)
		c.mu.Unlock()
		return nil
	}))
	s.Note("%d images", 3)
	require.Equal(t, "✓ Building (12 s)\n3 images\n", out.String())
}

func TestFailedStepSaysWhatItLastDidAndReturnsTheError(t *testing.T) {
	t.Parallel()
	s, out, _ := setup(false)
	want := errors.New("no answer")
	err := s.Step("Waiting for the node", func(update func(string)) error {
		update("NotReady:\n  no network")
		return want
	})
	require.Same(t, want, err)
	require.Equal(t, "✗ Waiting for the node: NotReady: no network (0 s)\n", out.String())
}

func TestLongStepIsReportedWithoutTerminal(t *testing.T) {
	t.Parallel()
	s, out, c := setup(false)
	require.NoError(t, s.Step("Building", func(update func(string)) error {
		update("12 of 40")
		c.pass(firstReport)
		c.pass(reportInterval)
		return nil
	}))
	require.Equal(t, []time.Duration{firstReport, reportInterval}, c.waited)
	require.Equal(t, "  Building: 12 of 40 (5 s so far)\n  Building: 12 of 40 (35 s so far)\n✓ Building (35 s)\n", out.String())
}

func TestTerminalLineIsRedrawnInPlace(t *testing.T) {
	t.Parallel()
	s, out, c := setup(true)
	require.NoError(t, s.Step("Building", func(update func(string)) error {
		c.pass(2500 * time.Millisecond)
		s.Note("kept")
		return nil
	}))
	text := out.String()
	require.Contains(t, text, "⠙ Building (2 s)")
	require.Contains(t, text, "\r\x1b[Kkept\n")
	require.True(t, strings.HasSuffix(text, "\r\x1b[K✓ Building (2.5 s)\n"), "%q", text)
	require.Equal(t, 2, strings.Count(text, "\n"), "only lines that stay may move the cursor down: %q", text)
}

// Steps that run together share the line on a terminal. One that ends leaves a
// line of its own above those that go on.
func TestStepsMayRunAtTheSameTime(t *testing.T) {
	t.Parallel()
	for _, terminal := range []bool{false, true} {
		s, out, c := setup(terminal)
		require.NoError(t, s.Step("Building", func(update func(string)) error {
			update("12 of 40")
			return s.Step("Assembling", func(inner func(string)) error {
				inner("unpacking")
				update("13 of 40")
				c.mu.Lock()
				c.time = c.time.Add(3 * time.Second)
				c.mu.Unlock()
				return nil
			})
		}))
		text := out.String()
		if !terminal {
			require.Equal(t, "✓ Assembling (3 s)\n✓ Building (3 s)\n", text)
			continue
		}
		require.Contains(t, text, "Building: 13 of 40 (0 s) · Assembling: unpacking (0 s)")
		_, after, found := strings.Cut(text, "✓ Assembling (3 s)\n")
		require.True(t, found, "%q", text)
		require.Contains(t, after, "Building: 13 of 40 (3 s)")
		require.True(t, strings.HasSuffix(after, "✓ Building (3 s)\n"), "%q", text)
	}
}

func TestStepEndsWhenItPanics(t *testing.T) {
	t.Parallel()
	s, out, _ := setup(false)
	require.Panics(t, func() { _ = s.Step("Building", func(func(string)) error { panic("broken") }) })
	require.Equal(t, "✗ Building (0 s)\n", out.String())
}

func TestFileIsNoTerminal(t *testing.T) {
	file, err := os.CreateTemp(t.TempDir(), "")
	require.NoError(t, err)
	defer file.Close()
	t.Setenv("TERM", "xterm")
	require.False(t, New(file).terminal)
}

func TestColourFollowsTheEnvironment(t *testing.T) {
	// The only character device that every machine lends to a test.
	device, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	require.NoError(t, err)
	defer device.Close()
	for _, c := range []struct {
		term, noColour   string
		terminal, colour bool
	}{
		{"xterm", "", true, true},
		{"xterm", "1", true, false},
		{"dumb", "", false, false},
		{"", "", false, false},
	} {
		t.Setenv("TERM", c.term)
		t.Setenv("NO_COLOR", c.noColour)
		s := New(device)
		require.Equal(t, c.terminal, s.terminal, "%+v", c)
		require.Equal(t, c.colour, s.colour, "%+v", c)
	}
}

func TestElapsed(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		-time.Second:             "0 s",
		0:                        "0 s",
		340 * time.Millisecond:   "0.3 s",
		9949 * time.Millisecond:  "9.9 s",
		9960 * time.Millisecond:  "10 s",
		7 * time.Second:          "7 s",
		59600 * time.Millisecond: "1 min 0 s",
		884 * time.Second:        "14 min 44 s",
	} {
		require.Equal(t, want, Elapsed(d))
	}
}
