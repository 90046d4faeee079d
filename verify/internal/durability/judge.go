package durability

import (
	"fmt"
	"strings"
	"time"

	"stateful-postgres/internal/faults"
	"stateful-postgres/verify/internal/history"
	"stateful-postgres/verify/internal/report"
)

func milliseconds(ms int64) string { return report.Duration(time.Duration(ms) * time.Millisecond) }

// microseconds writes a latency: below a second in milliseconds, to three digits.
func microseconds(us int64) string {
	switch ms := float64(us) / 1000; {
	case ms < 10:
		return fmt.Sprintf("%.2fms", ms)
	case ms < 100:
		return fmt.Sprintf("%.1fms", ms)
	case ms < 1000:
		return fmt.Sprintf("%.0fms", ms)
	}
	return milliseconds(us / 1000)
}

// faultCheck says what one fault did.
func faultCheck(f *history.Fault) report.Check {
	check := report.Check{Section: report.Faults, Name: f.Kind, Status: report.Passed}
	detail := fmt.Sprintf("at %s", milliseconds(f.BeganMS))
	if len(f.Victims) > 0 {
		detail += " " + strings.Join(f.Victims, ", ")
	}
	detail += fmt.Sprintf(": %s in flight; none acknowledged for %s", report.Plural(f.InFlight, "commit"), milliseconds(f.PauseMS))
	if f.Failed > 0 {
		detail += fmt.Sprintf("; %s failed", report.Number(f.Failed))
	}
	if f.Unknown > 0 {
		detail += fmt.Sprintf("; %s without an answer", report.Number(f.Unknown))
	}
	if f.Reconnects > 0 {
		detail += "; " + report.Plural(f.Reconnects, "reconnect")
	}
	check.Detail = detail
	if f.Problem != "" {
		check.Status, check.Detail = report.Unknown, detail+"; "+f.Problem
		check.Hint = "a fault that did not come to its end proves nothing: see kubectl get pods, nodes and events"
	}
	return check
}

// judge says what a history amounts to besides the faults and the look at the end: what became of the
// commits, and whether the run could show anything at all.
func judge(h *history.History) []report.Check {
	checks := []report.Check{commits(h)}
	if h.Writes.AcknowledgedLocally > 0 {
		checks = append(checks, report.Check{Section: report.Commits, Name: "local only", Status: report.Warning,
			Detail: fmt.Sprintf("of these %s were committed on the primary alone: the wait for the synchronous standby was given up",
				report.Number(h.Writes.AcknowledgedLocally))})
	}
	checks = append(checks, latencies(h)...)
	checks = append(checks, pauses(h)...)
	if h.Plan.Workload == history.Register {
		checks = append(checks, linearizable(h)...)
	} else {
		checks = append(checks, reads(h))
	}
	return append(checks, conditions(h)...)
}

func commits(h *history.History) report.Check {
	w := h.Writes
	detail := fmt.Sprintf("%s attempted: %s acknowledged (%s a second), %s failed, %s without an answer",
		report.Number(w.Attempted), report.Number(w.Acknowledged), report.Number(int64(h.CommitsPerSecond())), report.Number(w.Failed), report.Number(w.Unknown))
	if w.Unknown > 0 && h.Plan.Workload == history.Rows {
		detail += fmt.Sprintf(", of which %s there", areOrIs(w.Survived))
	}
	return report.Check{Section: report.Commits, Name: "outcomes", Status: report.Passed,
		Detail: fmt.Sprintf("%s; %s", detail, report.Plural(w.Reconnects, "reconnect"))}
}

func areOrIs(n int64) string {
	if n == 1 {
		return "1 is"
	}
	return report.Number(n) + " are"
}

func latencies(h *history.History) []report.Check {
	var checks []report.Check
	for _, part := range []struct {
		name string
		of   history.Latency
	}{{"before faults", h.Latency.Before}, {"during faults", h.Latency.During}, {"after faults", h.Latency.After}} {
		if part.of.Commits == 0 {
			continue
		}
		checks = append(checks, report.Check{Section: report.Commits, Name: part.name, Status: report.Passed,
			Detail: fmt.Sprintf("latency p50 %s, p95 %s, p99 %s, max %s of %s", microseconds(part.of.P50US), microseconds(part.of.P95US),
				microseconds(part.of.P99US), microseconds(part.of.MaxUS), report.Plural(part.of.Commits, "commit"))})
	}
	return checks
}

// pauses summarizes the faults of each kind that struck more than once.
func pauses(h *history.History) []report.Check {
	var checks []report.Check
	for _, kind := range h.Kinds() {
		if len(kind.Pauses) < 2 {
			continue
		}
		median, p95, most := faults.Summary(kind.Pauses)
		checks = append(checks, report.Check{Section: report.Commits, Name: kind.Name, Status: report.Passed,
			Detail: fmt.Sprintf("%d times: none acknowledged for %s (median), %s (p95), %s (max)", len(kind.Pauses),
				report.Duration(median), report.Duration(p95), report.Duration(most))})
	}
	return checks
}

func reads(h *history.History) report.Check {
	check := report.Check{Section: report.Commits, Name: "reads"}
	switch r := h.Reads; {
	case r.Without > 0:
		check.Status = report.Violated
		check.Detail = fmt.Sprintf("%s of %s on the primary did not find a row that was acknowledged before", report.Number(r.Without), report.Plural(r.Answered, "read"))
		for _, row := range r.Named {
			check.Rows = append(check.Rows, report.Row{Finding: "stale", Run: h.Run, Seq: row, Recorded: "acknowledged"})
		}
	case r.Answered == 0:
		check.Status, check.Detail = report.Unknown, "no read was answered"
	default:
		check.Status = report.Passed
		check.Detail = fmt.Sprintf("%s on the primary found the row that was acknowledged last", report.Plural(r.Answered, "read"))
	}
	return check
}

// conditions are what must have been met at least once: a run in which no fault hit anything proves
// nothing.
func conditions(h *history.History) []report.Check {
	var inFlight, recovered int
	for _, f := range h.Faults {
		if f.InFlight > 0 {
			inFlight++
		}
		if f.RecoveredMS >= 0 {
			recovered++
		}
	}
	condition := func(name string, met bool, seen, not, hint string) report.Check {
		if met {
			return report.Check{Section: report.Conditions, Name: name, Status: report.Passed, Detail: seen}
		}
		return report.Check{Section: report.Conditions, Name: name, Status: report.Unknown, Detail: not, Hint: hint}
	}
	if len(h.Plan.Faults) == 0 {
		return []report.Check{condition("unknown", h.Writes.Unknown > 0,
			fmt.Sprintf("%s had no answer: something hit them between COMMIT and its answer", report.Plural(h.Writes.Unknown, "commit")),
			"nothing was broken, and every commit was answered: this proves nothing about faults", "name one with --fault, or break something meanwhile")}
	}
	return []report.Check{
		condition("in flight", inFlight > 0, fmt.Sprintf("a commit was in flight when %s struck", of(inFlight, len(h.Faults), "fault")),
			"no commit was in flight when a fault struck: this proves nothing about faults", "run it for longer, or with more --writers"),
		condition("recovery", recovered > 0, fmt.Sprintf("commits were acknowledged after %s", of(recovered, len(h.Faults), "fault")),
			"no commit was acknowledged after a fault", "run it for longer, or see why the server does not come back"),
		condition("unknown", h.Writes.Unknown > 0,
			fmt.Sprintf("%s had no answer: a fault hit them between COMMIT and its answer", report.Plural(h.Writes.Unknown, "commit")),
			"every commit was answered: no fault hit one between COMMIT and its answer", "run it for longer, with more --writers, or with a harder fault: --fault pod-kill,process-kill"),
	}
}

func of(some, all int, what string) string {
	if some == all {
		return report.Plural(int64(all), what)
	}
	return fmt.Sprintf("%d of %s", some, report.Plural(int64(all), what))
}

// Summarize says in one sentence what a run amounts to.
func Summarize(h *history.History) func(*report.Report) string {
	return func(r *report.Report) string {
		return r.Summarize(func() string {
			if h.Plan.Workload == history.Register {
				return fmt.Sprintf("%s under %s, and no client saw an older value after a newer one", report.Plural(h.Writes.Acknowledged, "operation"), report.Plural(int64(len(h.Faults)), "fault"))
			}
			return fmt.Sprintf("%s acknowledged under %s, none lost or altered", report.Plural(h.Writes.Acknowledged, "commit"), report.Plural(int64(len(h.Faults)), "fault"))
		})
	}
}

// Replay reports a history again: the same checks lead to the same verdict.
func Replay(h *history.History, sink *report.Sink) {
	sink.Header(h.Target)
	for i := range h.Faults {
		sink.Add(faultCheck(&h.Faults[i]))
	}
	conclude(h, sink, true)
}

// conclude reports what was found at the end, and what it amounts to.
func conclude(h *history.History, sink *report.Sink, withLook bool) {
	if withLook {
		for _, check := range h.Look.Checks {
			sink.Add(check)
		}
	}
	sink.Report.Rows, sink.Report.Members = h.Look.Rows, h.Look.Members
	for _, check := range judge(h) {
		sink.Add(check)
	}
	sink.Report.Durability = &report.Durability{
		Command: h.Command, Run: h.Run, Plan: h.Plan, Writes: h.Writes, Reads: h.Reads, Latency: h.Latency, Faults: h.Faults, CommitsPerSecond: h.CommitsPerSecond(),
	}
}
