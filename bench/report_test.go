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
	require.Equal(t, "2.00 s (1.00 to 4.00)", plain.String())
}

func TestReportHasTheSameRowsOnTerminalAndInTheFile(t *testing.T) {
	t.Parallel()
	r := &report{
		command: "go run ./bench", machine: []string{"2 cores"}, date: time.Unix(0, 0).UTC(),
		sections: []section{{
			title: "Program",
			rows:  []row{beside("scale", times{time.Second}, "kubectl", times{time.Second}, 1.5), {what: "memory", ours: "1 GiB"}},
			notes: []string{"a note"},
		}},
	}
	require.Equal(t, "# Benchmarks\n\nWritten by `go run ./bench` on 1970-01-01; a new run replaces this file.\n"+
		"Both sides of a ratio were measured in turns in one run. The ratio is the claim; the times are this machine's.\n\n"+
		"- 2 cores\n\n## Program\n\n"+
		"| what | here | beside | ratio | target | met |\n|---|---|---|---|---|---|\n"+
		"| scale | 1.00 s (1.00 to 1.00) | kubectl: 1.00 s (1.00 to 1.00) | 1.00 | at most 1.5 times | yes |\n"+
		"| memory | 1 GiB | - | - | - | - |\n\n- a note\n", r.markdown())
	require.Contains(t, r.terminal(), "scale   1.00 s (1.00 to 1.00)  kubectl: 1.00 s (1.00 to 1.00)  1.00   at most 1.5 times  yes\n")
}
