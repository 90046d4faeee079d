package report_test

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/charmbracelet/x/ansi"
	"github.com/stretchr/testify/require"

	"stateful-postgres/verify/internal/report"
)

func TestVerdictIsTheWorstOfTheChecks(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		statuses []report.Status
		ended    error
		verdict  report.Verdict
		exitCode int
		summary  string
	}{
		"all passed":                      {[]report.Status{report.Passed, report.Passed}, nil, report.Proven, 0, "all is well"},
		"warnings and skipped do no harm": {[]report.Status{report.Passed, report.Warning, report.Skipped}, nil, report.Proven, 0, "all is well"},
		"nothing checked is no pass":      {nil, nil, report.NotProven, 2, "not everything could be seen: see ?"},
		"nothing passed is no pass":       {[]report.Status{report.Skipped, report.Warning}, nil, report.NotProven, 2, "not everything could be seen: see ?"},
		"unknown":                         {[]report.Status{report.Passed, report.Unknown}, nil, report.NotProven, 2, "not everything could be seen: see ?"},
		"violated beats unknown":          {[]report.Status{report.Violated, report.Unknown}, nil, report.NotKept, 1, "2 rows lost, 3 altered, of 10 that had to be there"},
		"deadline":                        {[]report.Status{report.Passed}, context.DeadlineExceeded, report.NotProven, 124, "the deadline passed; nothing was found wrong until then"},
		"interrupted":                     {[]report.Status{report.Unknown}, errors.New("interrupted"), report.NotProven, 130, "interrupted; nothing was found wrong until then"},
		"violated beats the deadline":     {[]report.Status{report.Violated}, context.DeadlineExceeded, report.NotKept, 1, "2 rows lost, 3 altered"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := report.New("check")
			for _, status := range test.statuses {
				r.Checks = append(r.Checks, report.Check{Status: status})
			}
			ctx, end := context.WithCancelCause(t.Context())
			defer end(nil)
			require.False(t, r.CutShort(ctx))
			if test.ended != nil {
				end(test.ended)
				require.True(t, r.CutShort(ctx))
			}
			r.Conclude()
			require.Equal(t, test.verdict, r.Verdict)
			require.Equal(t, test.exitCode, r.ExitCode)
			r.Rows = &report.Counts{Lost: 2, Altered: 3, Required: 10}
			require.Contains(t, r.Summarize(func() string { return "all is well" }), test.summary)
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

func TestVerdictFitsTheWidthInColourToo(t *testing.T) {
	t.Parallel()
	for _, color := range []bool{true, false} {
		var out bytes.Buffer
		table := report.NewTable(&out, report.Style{Width: 50, Color: color})
		// With the word before it, exactly one too many.
		summary := strings.Repeat("x", 50-len(" PASS ")-len(" a")) + " a"
		require.NoError(t, table.Finish(&report.Report{Verdict: report.Proven, Summary: summary}))
		for line := range strings.Lines(ansi.Strip(out.String())) {
			require.LessOrEqual(t, utf8.RuneCountInString(strings.TrimSuffix(line, "\n")), 50, line)
		}
	}
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
