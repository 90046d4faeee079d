package page

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"stateful-postgres/verify/internal/history"
	"stateful-postgres/verify/internal/report"
)

// strike is a kind of fault as these tests make it up: how long nothing is acknowledged, and whether
// another member becomes the primary.
type strike struct {
	kind, does string
	pause      float64
	failover   bool
	node       bool
}

var strikes = []strike{
	{"leader-pod-delete", "the pod of the primary is deleted", 2.4, true, false},
	{"standby-pod-kill", "the pod of a synchronous standby is deleted by force", 0.9, false, false},
	{"leader-node-kill", "the node of the primary loses power, and comes back", 17.5, true, true},
	{"switchover", "the primary hands over, as before an update", 1.1, true, false},
	{"leader-process-kill", "SIGKILL of the postmaster of the primary", 5.2, true, false},
	{"leader-backend-kill", "SIGKILL of a backend of the primary", 0.12, false, false},
	{"leader-partition", "the node of the primary is cut off from everybody, and connected again", 23, true, true},
}

// simulated makes up a run: with so many faults that strike, from the end of one to the next so long.
func simulated(faults int, every time.Duration) (*history.History, *report.Report) {
	random := rand.New(rand.NewPCG(7, 42))
	between := func(low, high float64) float64 { return low + (high-low)*random.Float64() }
	replicas := 3
	h := &history.History{
		Version: 1,
		Command: "verify durability --stack dev --writers 16 --duration 5m --every 15s" +
			" --fault leader-node-kill,leader-partition,switchover --seed 1889321574",
		StartedAt: time.Date(2026, 11, 22, 12, 3, 5, 0, time.UTC),
		Target: report.Target{
			Stack: "dev", Namespace: "codewizard", StatefulSet: "postgres", Replicas: &replicas, Database: "codewizard",
			Via: "nodeport", Address: "10.88.0.2:30432", Pod: "postgres-0",
		},
		Plan:     history.Plan{Workload: history.Rows, Writers: 16, EveryMS: every.Milliseconds(), Seed: 1889321574},
		BucketMS: 1000,
		Run:      12,
	}
	for _, s := range strikes {
		h.Plan.Faults = append(h.Plan.Faults, s.kind)
	}

	roles, pods, nodes := &lanesOf{prefix: "postgres-"}, &lanesOf{prefix: "postgres-"}, &lanesOf{prefix: "localkube-node-"}
	now, primary := 4.0, 0
	ms := func(seconds float64) int64 { return int64(seconds * 1000) }
	for i := range 3 {
		roles.set(0, i, map[bool]string{true: "primary", false: "standby"}[i == primary])
		pods.set(0, i, "ready")
		nodes.set(0, i, "ready")
	}
	for i := range faults {
		now += every.Seconds() * between(0.75, 1.25)
		s := strikes[(i*5+i/7)%len(strikes)]
		pause := s.pause * between(0.7, 1.5)
		victim := primary
		if !s.failover && s.kind != "leader-backend-kill" {
			victim = (primary + 1 + random.IntN(2)) % 3
		}
		victims := []string{fmt.Sprintf("postgres-%d", victim)}
		if s.node {
			victims = []string{fmt.Sprintf("localkube-node-%d", victim)}
			nodes.set(ms(now+1), victim, "not ready")
			nodes.set(ms(now+pause+6), victim, "ready")
		}
		back := now + pause + between(2, 7)
		if s.kind != "leader-backend-kill" {
			if !s.node && s.kind != "switchover" && s.kind != "leader-process-kill" {
				pods.set(ms(now), victim, "terminating")
				pods.set(ms(now+0.6), victim, "absent")
			}
			if s.kind != "switchover" {
				pods.set(ms(now+1.5), victim, "not ready")
				pods.set(ms(back), victim, "ready")
			}
			roles.set(ms(now+0.3), victim, "none")
			if s.failover {
				primary = (primary + 1) % 3
				roles.set(ms(now+pause*0.9), primary, "primary")
			}
			roles.set(ms(back), victim, "standby")
		}
		recovered := now + pause + between(0.2, 1)
		h.Faults = append(h.Faults, history.Fault{
			Kind: s.kind, Does: s.does, Victims: victims, BeganMS: ms(now), EndedMS: ms(back), RecoveredMS: ms(max(recovered, back)),
			InFlight: int64(10 + random.IntN(7)), PauseMS: ms(pause), PauseBeganMS: ms(now + between(0.01, 0.1)),
			Acknowledged: int64(random.IntN(4000)), Failed: int64(random.IntN(int(pause*9) + 2)), Unknown: int64(random.IntN(14)),
			Reconnects: int64(16 * random.IntN(3)),
		})
		now = max(recovered, back)
	}
	now += 20
	h.DurationMS = ms(now)
	h.Plan.DurationMS = h.DurationMS
	for _, lanes := range []*lanesOf{roles, pods, nodes} {
		lanes.end(h.DurationMS)
	}
	h.Roles, h.Pods, h.Nodes = roles.sorted(), pods.sorted(), nodes.sorted()
	load(h, random)

	r := &report.Report{
		SchemaVersion: 1, Command: "durability", StartedAt: h.StartedAt, DurationMS: h.DurationMS + 42_000, Target: h.Target,
		Rows: &report.Counts{
			Before: 10_000, Added: h.Writes.Acknowledged + h.Writes.Survived, Now: 10_000 + h.Writes.Acknowledged + h.Writes.Survived,
			Required: 10_000 + h.Writes.Acknowledged, Intact: 10_000 + h.Writes.Acknowledged, Undecided: h.Writes.Unknown - h.Writes.Survived,
		},
		Verdict: report.Proven,
		Summary: fmt.Sprintf("%s commits acknowledged under %d faults, none lost or altered (in 6m02s)",
			report.Number(h.Writes.Acknowledged), len(h.Faults)),
	}
	add := func(section, name string, status report.Status, detail, hint string) {
		r.Checks = append(r.Checks, report.Check{Section: section, Name: name, Status: status, Detail: detail, Hint: hint})
	}
	add(report.Faults, "check before", report.Passed, "10,000 rows intact, 1,000 added in 3.1s", "")
	for i, f := range h.Faults {
		add(report.Faults, f.Kind, report.Passed, fmt.Sprintf("number %d, at %s: %d commits in flight; none acknowledged for %dms",
			i+1, report.Duration(time.Duration(f.BeganMS)*time.Millisecond), f.InFlight, f.PauseMS), "")
	}
	add(report.Kubernetes, "pods", report.Passed, "3 of 3 pods of StatefulSet postgres are ready", "")
	add(report.Kubernetes, "claims", report.Passed, "3 claims are Bound, UIDs and volumes as recorded", "")
	add(report.Server, "connection", report.Passed, "PostgreSQL 17.2 answered after 12ms, TLS 1.3", "")
	add(report.Server, "durability", report.Passed, "fsync, full_page_writes and synchronous_commit are on", "")
	add(report.Server, "checksums", report.Warning, "data checksums are off", "pg_checksums --enable turns them on while the server is down")
	add(report.Members, "standbys", report.Passed, "2 of 2 standbys stream, at most 0 bytes behind", "")
	add(report.Rows, "earlier rows", report.Passed, fmt.Sprintf("%s acknowledged rows are there and unaltered", report.Number(r.Rows.Intact)), "")
	add(report.Rows, "index", report.Skipped, "the primary key is compared from 1,000,000 rows on every tenth time only", "")
	add(report.Commits, "outcomes", report.Passed, fmt.Sprintf("%s attempted", report.Number(h.Writes.Attempted)), "")
	return h, r
}

// load makes up what the writers met.
func load(h *history.History, random *rand.Rand) {
	var during int64
	for at := int64(0); at < h.DurationMS; at += h.BucketMS {
		end := min(at+h.BucketMS, h.DurationMS)
		free := float64(end - at)
		b := history.Bucket{P50US: int64(2900 * math.Exp(random.NormFloat64()*0.06)), P99US: int64(9400 * math.Exp(random.NormFloat64()*0.25))}
		for _, f := range h.Faults {
			if overlap := min(end, f.PauseBeganMS+f.PauseMS) - max(at, f.PauseBeganMS); overlap > 0 {
				free -= float64(overlap)
			}
			if f.PauseBeganMS+f.PauseMS >= at && f.PauseBeganMS+f.PauseMS < end {
				b.P99US = max(b.P99US, f.PauseMS*1000)
				b.Failed, b.Unknown = b.Failed+f.Failed, b.Unknown+f.Unknown
			}
			if at >= f.PauseBeganMS+f.PauseMS && at < f.RecoveredMS {
				b.P50US = b.P50US * 3 / 2
				during++
			}
		}
		warm := 1 - 0.5*math.Exp(-float64(at)/4000)
		b.Acknowledged = int64(max(free, 0) / 1000 * 2350 * warm * (1 + 0.05*random.NormFloat64()))
		if b.Acknowledged <= 0 {
			b.Acknowledged, b.P50US, b.P99US = 0, 0, 0
		}
		b.MaxUS = b.P99US * 13 / 10
		h.Buckets = append(h.Buckets, b)
		h.Writes.Acknowledged += b.Acknowledged
		h.Writes.Failed += b.Failed
		h.Writes.Unknown += b.Unknown
	}
	h.Writes.Attempted = h.Writes.Acknowledged + h.Writes.Failed + h.Writes.Unknown
	h.Writes.Survived = h.Writes.Unknown * 2 / 3
	for _, f := range h.Faults {
		h.Writes.Reconnects += f.Reconnects
	}
	h.Reads = history.Reads{Answered: h.DurationMS / 60}
	h.Latency = history.Latencies{
		Before: history.Latency{Commits: h.Writes.Acknowledged / 9, P50US: 2847, P95US: 5820, P99US: 8911, MaxUS: 24_300},
		During: history.Latency{Commits: h.Writes.Acknowledged / 6, P50US: 3312, P95US: 12_480, P99US: 96_400, MaxUS: 31_240_000},
		After:  history.Latency{Commits: h.Writes.Acknowledged * 13 / 18, P50US: 2921, P95US: 6104, P99US: 9433, MaxUS: 61_700},
	}
}

// sample is a run in which all went well.
func sample() (*history.History, *report.Report) { return simulated(9, 15*time.Second) }

// violated is a run in which acknowledged rows were lost, and a fault did not come to its end.
func violated() (*history.History, *report.Report) {
	h, r := sample()
	lost := &h.Faults[6]
	lost.RecoveredMS, lost.Problem = -1, "commits to go on: timed out after 4m0s: 0 more, last problem: connection refused"
	h.Reads.Without, h.Reads.Named = 3, []int64{151_203, 151_204, 98_001}
	r.Rows.Lost, r.Rows.Phantom, r.Rows.Duplicated = 3, 1, 2
	r.Rows.Intact = r.Rows.Required - 3
	r.Verdict, r.ExitCode = report.NotKept, report.ExitViolated
	r.Summary = fmt.Sprintf("3 rows lost, 0 altered, of %s that had to be there (in 6m02s)", report.Number(r.Rows.Required))
	at := h.StartedAt.Add(time.Duration(h.Faults[2].BeganMS+350) * time.Millisecond)
	row := func(finding string, seq int64, recorded string, expected, found string) report.Row {
		recordedAt := at.Add(time.Duration(seq%7) * 40 * time.Millisecond)
		return report.Row{Finding: finding, Run: h.Run, Seq: seq, Recorded: recorded, RecordedAt: recordedAt, Expected: expected, Found: found}
	}
	r.Checks = append(r.Checks,
		report.Check{Section: report.Rows, Name: "new rows", Status: report.Violated,
			Detail: "3 lost, 1 phantom, 2 duplicated", Hint: "keep the volumes, and see the logs of the servers around that time",
			Rows: []report.Row{
				row("duplicated", 70_211, "acknowledged", "9f86d081884c7d659a2feaa0c55ad015", "9f86d081884c7d659a2feaa0c55ad015"),
				row("phantom", 88_412, "failed", "", "60303ae22b998861bce3b28f33eec1be"),
				row("lost", 151_203, "acknowledged", "fd61a03af4f77d870fc21e05e7e80678", ""),
				row("lost", 151_204, "acknowledged", "a4e624d686e03ed2767c0abd85c14426", ""),
				row("lost", 151_209, "acknowledged_locally", "b1d5781111d84f7b3fe45a0852e59758", ""),
			}},
		report.Check{Section: report.Commits, Name: "reads", Status: report.Violated,
			Detail: "3 of 4,712 reads on the primary did not find a row that was acknowledged before",
			Rows:   []report.Row{{Finding: "stale", Run: h.Run, Seq: 98_001, Recorded: "acknowledged"}}},
		report.Check{Section: report.Faults, Name: lost.Kind, Status: report.Unknown, Detail: lost.Problem,
			Hint: "a fault that did not come to its end proves nothing: see kubectl get pods, nodes and events"},
	)
	return h, r
}

// untold is a run that shows nothing wrong, and not enough.
func untold() (*history.History, *report.Report) {
	h, r := simulated(2, 8*time.Second)
	r.Verdict, r.ExitCode = report.NotProven, report.ExitUnknown
	r.Summary = "nothing was found wrong, and not everything could be seen: see ? above (in 58.1s)"
	r.Checks = append(r.Checks, report.Check{Section: "Conditions", Name: "unknown", Status: report.Unknown,
		Detail: "every commit was answered: no fault hit one between COMMIT and its answer",
		Hint:   "run it for longer, with more --writers, or with a harder fault: --fault pod-kill,process-kill"})
	return h, r
}

// long is a run with as many buckets as there may be, and many faults.
func long() (*history.History, *report.Report) {
	h, r := simulated(200, 21*time.Second)
	h.BucketMS = (h.DurationMS + 7199) / 7200
	h.DurationMS = 7200 * h.BucketMS
	h.Buckets, h.Writes = nil, history.Writes{}
	load(h, rand.New(rand.NewPCG(1, 2)))
	return h, r
}

// lanesOf makes up the states of three objects.
type lanesOf struct {
	prefix string
	of     [3][]history.Interval
}

func (l *lanesOf) set(at int64, i int, state string) {
	l.close(at, i)
	l.of[i] = append(l.of[i], history.Interval{Of: fmt.Sprintf("%s%d", l.prefix, i), State: state, FromMS: at, ToMS: at})
}

func (l *lanesOf) close(at int64, i int) {
	if last := len(l.of[i]) - 1; last >= 0 {
		l.of[i][last].ToMS = at
	}
}

func (l *lanesOf) end(at int64) {
	for i := range l.of {
		l.close(at, i)
	}
}

func (l *lanesOf) sorted() []history.Interval {
	return append(append(l.of[0], l.of[1]...), l.of[2]...)
}
