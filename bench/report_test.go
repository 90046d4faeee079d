package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestRowSaysWhetherItsTargetIsMet(t *testing.T) {
	t.Parallel()
	plain := times{time.Second, 4 * time.Second, 2 * time.Second}
	for _, c := range []struct {
		ours  times
		ratio string
		met   string
	}{
		{times{3 * time.Second}, "1.50", "yes"},
		{times{2 * time.Second, 4200 * time.Millisecond}, "1.55", "NO"},
		{times{9 * time.Second, time.Second, time.Second}, "0.50", "yes"},
	} {
		r := beside("x", c.ours, "y", plain, 1.5)
		require.Equal(t, c.ratio, r.ratio)
		require.Equal(t, c.met, r.met)
	}
	require.Equal(t, "NO", within("x", times{1501 * time.Millisecond}, 1500*time.Millisecond).met)
	require.Equal(t, "2.00 s (1.00 to 4.00, of 3)", plain.String())
}

func TestRowKeepsItsOwnTargetBesideAnother(t *testing.T) {
	t.Parallel()
	r := within("x", times{time.Second}, 1500*time.Millisecond).besides("y", times{3 * time.Second})
	require.Equal(t, row{what: "x", ours: "1.00 s (1.00 to 1.00, of 1)", plain: "y: 3.00 s (3.00 to 3.00, of 1)", target: "at most 1.5 s", met: "yes"}, r)
}

func TestReportHasTheSameRowsOnTerminalAndInTheFile(t *testing.T) {
	t.Parallel()
	r := &report{command: "go run ./bench", machine: []string{"2 cores", "nodes: 1"}, date: time.Unix(0, 0).UTC()}
	r.add("Program", findings{
		rows:  []row{beside("scale", times{time.Second}, "kubectl", times{time.Second}, 1.5)},
		notes: []string{"a note"},
	})
	r.add("Program", findings{rows: []row{{what: "memory", ours: "1 GiB"}}})
	r.add("Time", findings{tables: []table{{caption: "No-op", columns: []string{"what", "here"}, lines: [][]string{{"end", "0.1 s"}}}}})
	const before = "# Benchmarks\n\nWritten.\n\n## Program\n\nolder\n\n## Other\n\nkept\n"
	require.Equal(t, "# Benchmarks\n\nWritten by `go run ./bench`, section by section; a new run replaces those that it measures.\n"+
		"Both sides of a ratio were measured in turns in one run. The ratio is the claim; the times are this machine's.\n"+
		timesNote+"\n"+
		"\n## Program\n\nMeasured by `go run ./bench` on 1970-01-01: 2 cores; nodes: 1.\n\n"+
		"| what | here | beside | ratio | target | met |\n|---|---|---|---|---|---|\n"+
		"| scale | 1.00 s (1.00 to 1.00, of 1) | kubectl: 1.00 s (1.00 to 1.00, of 1) | 1.00 | at most 1.5 times | yes |\n"+
		"| memory | 1 GiB | - | - | - | - |\n\n- a note\n"+
		"\n## Other\n\nkept\n"+
		"\n## Time\n\nMeasured by `go run ./bench` on 1970-01-01: 2 cores; nodes: 1.\n\nNo-op\n\n| what | here |\n|---|---|\n| end | 0.1 s |\n",
		r.markdown(before, []string{"Program", "Other", "Time"}))
	require.Contains(t, r.terminal(), "scale   1.00 s (1.00 to 1.00, of 1)  kubectl: 1.00 s (1.00 to 1.00, of 1)  1.00   at most 1.5 times  yes\n")
	require.Contains(t, r.terminal(), "\nTime\n\nNo-op\nwhat  here\nend   0.1 s\n")
}
