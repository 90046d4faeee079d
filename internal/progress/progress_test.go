package progress_test

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"stateful-postgres/internal/buffer"
	"stateful-postgres/internal/progress"
)

func TestProgressShowsWhatTakesLong(t *testing.T) {
	t.Parallel()
	for name, terminal := range map[string]bool{"terminal": true, "plain": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out buffer.Locked
			line := progress.New(&out, terminal, 40)
			line.Say("quick")
			line.Print(func() {})
			line.Say("waiting for %s", strings.Repeat("a very long name ", 10))
			require.Eventually(t, func() bool { return strings.Contains(out.String(), "waiting") }, 10*time.Second, 10*time.Millisecond)
			line.Stop()
			require.NotContains(t, out.String(), "quick", "what ends soon is not shown")
			require.NotContains(t, out.String(), "(0s)")
			require.Equal(t, terminal, strings.HasSuffix(out.String(), "\r\x1b[K"), "a terminal's line is removed")
			if terminal {
				for drawn := range strings.SplitSeq(out.String(), "\r\x1b[K") {
					require.Less(t, utf8.RuneCountInString(drawn), 40)
					require.Regexp(t, `^$|… \(\d+ms\)$`, drawn, "cut, and for how long it has been")
				}
			}
		})
	}
	var none *progress.Line
	none.Say("nothing")
	none.Print(func() {})
	none.Stop()
}
