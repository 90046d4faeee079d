package report_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"stateful-postgres/verify/internal/report"
)

func TestVerdictIsTheWorstOfTheChecks(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		statuses []report.Status
		cut      int
		verdict  report.Verdict
		exitCode int
	}{
		"all passed":                      {[]report.Status{report.Passed, report.Passed}, 0, report.Proven, 0},
		"warnings and skipped do no harm": {[]report.Status{report.Passed, report.Warning, report.Skipped}, 0, report.Proven, 0},
		"nothing checked is no pass":      {nil, 0, report.NotProven, 2},
		"nothing passed is no pass":       {[]report.Status{report.Skipped, report.Warning}, 0, report.NotProven, 2},
		"unknown":                         {[]report.Status{report.Passed, report.Unknown}, 0, report.NotProven, 2},
		"violated beats unknown":          {[]report.Status{report.Violated, report.Unknown}, 0, report.NotKept, 1},
		"deadline":                        {[]report.Status{report.Passed}, report.ExitDeadline, report.NotProven, 124},
		"interrupted":                     {[]report.Status{report.Unknown}, report.ExitInterrupted, report.NotProven, 130},
		"violated beats the deadline":     {[]report.Status{report.Violated}, report.ExitDeadline, report.NotKept, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := report.New("check")
			for _, status := range test.statuses {
				r.Checks = append(r.Checks, report.Check{Status: status})
			}
			if test.cut != 0 {
				r.Cut(test.cut)
			}
			r.Conclude()
			require.Equal(t, test.verdict, r.Verdict)
			require.Equal(t, test.exitCode, r.ExitCode)
		})
	}
}

// example runs a report with every status through a printer.
func example(printer report.Printer) *report.Report {
	replicas := 1
	sink := report.NewSink("check", printer, nil)
	sink.Header(report.Target{Stack: "dev", Namespace: "codewizard", Replicas: &replicas, StatefulSet: "postgres", Database: "codewizard"})
	sink.Report.Ledger = "/project/.local/verify/dev/ledger"
	sink.Add(report.Check{Section: report.Kubernetes, Name: "claim", Status: report.Passed, Detail: "postgredb-postgres-0 is Bound, UID and volume as recorded", DurationMS: 12})
	sink.Add(report.Check{Section: report.Kubernetes, Name: "volume", Status: report.Warning, Detail: "could not be seen", DurationMS: 1})
	sink.Add(report.Check{Section: report.Server, Name: "connection", Status: report.Unknown, Detail: "no answer after 3 attempts", Hint: "is it up?", DurationMS: 1})
	sink.Add(report.Check{Section: report.Rows, Name: "earlier rows", Status: report.Violated, DurationMS: 1,
		Detail: "1 lost, 1 altered; 998 of 1,000 acknowledged rows are there and unaltered", Hint: "-o json names them",
		Rows: []report.Row{
			{Finding: "lost", Run: 7, Seq: 42, Recorded: "acknowledged", RecordedAt: time.Date(2026, 11, 22, 12, 0, 0, 0, time.Local), Expected: "aa"},
			{Finding: "altered", Run: 7, Seq: 43, Recorded: "acknowledged", RecordedAt: time.Date(2026, 11, 22, 12, 0, 0, 0, time.Local), Expected: "bb", Found: "cc"},
		}})
	sink.Add(report.Check{Section: report.Rows, Name: "new rows", Status: report.Skipped, Detail: "none written", DurationMS: 1})
	sink.Report.Rows = &report.Counts{Before: 999, Now: 999, Required: 1000, Intact: 998, Lost: 1, Altered: 1}
	if err := sink.Finish(func(*report.Report) string { return "1 row lost" }); err != nil {
		panic(err)
	}
	return sink.Report
}

func TestTableReadsLikeThis(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	example(report.NewTable(&out, report.Style{Width: 80}))
	require.Equal(t, `stack dev · namespace codewizard · replicas 1

Kubernetes
  ✓ claim           postgredb-postgres-0 is Bound, UID and volume as recorded
  ! volume          could not be seen

Server
  ? connection      no answer after 3 attempts
                    → is it up?

Rows
  ✗ earlier rows    1 lost, 1 altered; 998 of 1,000 acknowledged rows are there
                    and unaltered
                    lost: run 7 row 42, acknowledged 2026-11-22 12:00:00
                    altered: run 7 row 43, acknowledged 2026-11-22 12:00:00,
                      "cc" instead of "bb"
                    → -o json names them
  - new rows        none written

Rows before 999 · added 0 · now 999

FAIL 1 row lost
`, out.String())
}

func TestTableFitsItsWidth(t *testing.T) {
	t.Parallel()
	for _, width := range []int{1, 40, 60, 80, 200} {
		var out bytes.Buffer
		example(report.NewTable(&out, report.Style{Width: width}))
		for line := range strings.Lines(out.String()) {
			// The header and the words that are longer than the room are left whole.
			if strings.HasPrefix(line, " ") && strings.Contains(strings.TrimSpace(line), " ") {
				require.LessOrEqual(t, utf8.RuneCountInString(strings.TrimSuffix(line, "\n")), max(width, 60), line)
			}
		}
	}
	var wide bytes.Buffer
	example(report.NewTable(&wide, report.Style{}))
	require.Contains(t, wide.String(), "1 lost, 1 altered; 998 of 1,000 acknowledged rows are there and unaltered\n", "nothing is broken outside a terminal")
}

func TestColourIsOnlyUsedWhenAllowed(t *testing.T) {
	t.Parallel()
	var plain, colour bytes.Buffer
	example(report.NewTable(&plain, report.Style{}))
	example(report.NewTable(&colour, report.Style{Color: true}))
	require.NotContains(t, plain.String(), "\x1b")
	require.Contains(t, colour.String(), "\x1b[31;1m✗\x1b[0m")
}

func TestQuietLeavesProblemsAndVerdict(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	example(report.NewTable(&out, report.Style{Quiet: true}))
	require.NotContains(t, out.String(), "claim")
	require.Contains(t, out.String(), "✗ earlier rows")
	require.Contains(t, out.String(), "? connection")
	require.True(t, strings.HasSuffix(out.String(), "FAIL 1 row lost\n"))
}

func TestJSONIsTheWholeReport(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	printed := example(report.JSON{Out: &out})
	var read report.Report
	require.NoError(t, json.Unmarshal(out.Bytes(), &read))
	again, err := json.Marshal(read)
	require.NoError(t, err)
	whole, err := json.Marshal(printed)
	require.NoError(t, err)
	require.JSONEq(t, string(whole), string(again))
	require.Equal(t, report.NotKept, read.Verdict)
	require.Len(t, read.Checks, 5)
}

func TestJUnitCountsWhatFailed(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	example(report.JUnit{Out: &out})
	var read struct {
		Tests    int `xml:"tests,attr"`
		Failures int `xml:"failures,attr"`
		Errors   int `xml:"errors,attr"`
		Skipped  int `xml:"skipped,attr"`
		Suites   []struct {
			Name  string `xml:"name,attr"`
			Cases []struct {
				Name    string `xml:"name,attr"`
				Failure *struct {
					Text string `xml:",chardata"`
				} `xml:"failure"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	require.NoError(t, xml.Unmarshal(out.Bytes(), &read))
	// The verdict is a case of its own, so that no report is empty.
	require.Equal(t, []int{6, 2, 1, 1}, []int{read.Tests, read.Failures, read.Errors, read.Skipped})
	require.Equal(t, "Verdict", read.Suites[3].Name)
	require.NotNil(t, read.Suites[3].Cases[0].Failure)
	require.Contains(t, read.Suites[2].Cases[0].Failure.Text, "lost: run 7 row 42")
}

func TestNumbersAndDurationsReadWell(t *testing.T) {
	t.Parallel()
	for n, expected := range map[int64]string{0: "0", 999: "999", 1000: "1,000", -1234567: "-1,234,567"} {
		require.Equal(t, expected, report.Number(n))
	}
	require.Equal(t, "1 row", report.Plural(1, "row"))
	require.Equal(t, "0 rows", report.Plural(0, "row"))
	for d, expected := range map[time.Duration]string{
		12 * time.Millisecond: "12ms", 1500 * time.Millisecond: "1.5s", 65 * time.Second: "1m05s", 110 * time.Second: "1m50s",
		61 * time.Minute: "1h01m", 72 * time.Hour: "3 days",
	} {
		require.Equal(t, expected, report.Duration(d))
	}
}

// lockedBuffer is written by the progress and read by the test.
type lockedBuffer struct {
	mutex  sync.Mutex
	buffer bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.buffer.String()
}

func TestProgressShowsWhatTakesLong(t *testing.T) {
	t.Parallel()
	for name, terminal := range map[string]bool{"terminal": true, "plain": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out lockedBuffer
			progress := report.NewProgress(&out, terminal, 40)
			progress.Say("quick")
			progress.Print(func() {})
			progress.Say("waiting for %s", strings.Repeat("a very long name ", 10))
			require.Eventually(t, func() bool { return strings.Contains(out.String(), "waiting") }, 10*time.Second, 10*time.Millisecond)
			progress.Stop()
			require.NotContains(t, out.String(), "quick", "what ends soon is not shown")
			require.Equal(t, terminal, strings.HasSuffix(out.String(), "\r\x1b[K"), "a terminal's line is removed")
			if terminal {
				for line := range strings.SplitSeq(out.String(), "\r\x1b[K") {
					require.Less(t, utf8.RuneCountInString(line), 40)
				}
			}
		})
	}
	var none *report.Progress
	none.Say("nothing")
	none.Print(func() {})
	none.Stop()
}
