package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"golang.org/x/text/language"
	"golang.org/x/text/message"

	"stateful-postgres/internal/faults"
	"stateful-postgres/internal/stack"
)

// exitViolated is verify's exit code for lost or altered rows.
const exitViolated = 1

// record is one run of verify durability.
type record struct {
	Servers int       `json:"servers"`
	Lane    string    `json:"lane"`
	Commit  string    `json:"commit"`
	Began   time.Time `json:"began"`
	Seconds float64   `json:"seconds"`
	// ExitCode and what follows are what verify said, Problems what it found wrong.
	ExitCode int      `json:"exit"`
	Problems []string `json:"problems,omitempty"`
	// History is the name of the run's history, for verify durability --replay.
	History string `json:"history"`
	stack.Proof
}

// results are what is known of all runs. It is safe for concurrent use.
type results struct {
	times int

	mutex   sync.Mutex
	file    *os.File
	records []record
	// reserved are faults that are about to strike.
	reserved map[key]int
	// faults are all, by their names.
	faults map[string]faults.Fault
}

// key is a kind of fault that strikes so many servers.
type key struct {
	servers int
	kind    string
}

// openResults reads what earlier runs found, and adds to it.
func openResults(path string, times int) (*results, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	r := &results{times: times, file: file, reserved: map[key]int{}, faults: map[string]faults.Fault{}}
	for _, f := range faults.All() {
		r.faults[f.Name] = f
	}
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var one record
		if err := json.Unmarshal(lines.Bytes(), &one); err != nil {
			return nil, errors.Join(fmt.Errorf("%s: line %d: %w; move the file away to begin anew", path, len(r.records)+1, err), file.Close())
		}
		r.records = append(r.records, one)
	}
	return r, lines.Err()
}

func (r *results) close() error { return r.file.Close() }

// kind is that of a fault. Those that need Pulumi or verify itself have one role.
func (r *results) kind(name string) string { return cmp.Or(r.faults[name].Kind, name) }

// complete says that all rows were looked at in the end: a run that was interrupted shows nothing.
func (r record) complete() bool { return r.Rows != nil }

// struck are the faults that struck so many servers and came to their end, by kind.
func (r *results) struck(servers int) map[string][]stack.DurabilityFault {
	struck := map[string][]stack.DurabilityFault{}
	for _, one := range r.records {
		if one.Servers != servers || !one.complete() {
			continue
		}
		for _, f := range one.Durability.Faults {
			if f.Problem == "" {
				struck[r.kind(f.Kind)] = append(struck[r.kind(f.Kind)], f)
			}
		}
	}
	return struck
}

// left is how often a kind has to strike still, in all lanes together.
func (r *results) left(servers int, kind string, struck map[string][]stack.DurabilityFault) int {
	return max(0, r.times-len(struck[kind])-r.reserved[key{servers, kind}])
}

// leftOf is how often a kind has to strike still.
func (r *results) leftOf(servers int, kind string) int {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return r.left(servers, kind, r.struck(servers))
}

// reserve chooses the kinds that strike next in one of several lanes, and how often. None is left when it
// returns none.
func (r *results) reserve(servers, lanes int, kinds []string) (chosen []string, times int) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	struck := r.struck(servers)
	times = mostRounds
	slices.Sort(kinds)
	for _, kind := range kinds {
		if left := r.left(servers, kind, struck); left > 0 {
			chosen = append(chosen, kind)
			times = min(times, max(1, left/lanes))
		}
	}
	for _, kind := range chosen {
		r.reserved[key{servers, kind}] += times
	}
	return chosen, times
}

// add keeps what a run found, and gives back what was reserved for it.
func (r *results) add(one record, kinds []string, times int) error {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	for _, kind := range kinds {
		r.reserved[key{one.Servers, kind}] -= times
	}
	if one.ExitCode < 0 || one.ExitCode == exitInterrupted {
		// Somebody ended the soak: nothing is known of it.
		return nil
	}
	line, err := json.Marshal(one)
	if err != nil {
		return err
	}
	r.records = append(r.records, one)
	_, err = r.file.Write(append(line, '\n'))
	return err
}

// progress says what so many servers still have to meet.
func (r *results) progress(servers int) string {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	struck := r.struck(servers)
	var parts []string
	for _, kind := range sorted(struck) {
		parts = append(parts, fmt.Sprintf("%s %d", kind, len(struck[kind])))
	}
	return fmt.Sprintf("%s (of %d each)", strings.Join(parts, ", "), r.times)
}

func sorted(struck map[string][]stack.DurabilityFault) []string {
	var kinds []string
	for kind := range struck {
		kinds = append(kinds, kind)
	}
	slices.Sort(kinds)
	return kinds
}

// table says how often each fault struck, and what became of the rows, for docs/durability.md.
func (r *results) table() string {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	var text strings.Builder
	one, three := r.struck(1), r.struck(3)
	kinds := sorted(one)
	for _, kind := range sorted(three) {
		if one[kind] == nil {
			kinds = append(kinds, kind)
		}
	}
	slices.Sort(kinds)
	w := tabwriter.NewWriter(&text, 0, 0, 1, ' ', 0)
	fmt.Fprintln(w, "| fault\t| 1 server\t| median\t| p95\t| max\t| 3 servers\t| median\t| p95\t| max\t|")
	fmt.Fprintln(w, "|---\t|--:\t|--:\t|--:\t|--:\t|--:\t|--:\t|--:\t|--:\t|")
	for _, kind := range kinds {
		fmt.Fprintf(w, "| `%s`\t| %s\t| %s\t|\n", kind, cells(one[kind]), cells(three[kind]))
	}
	w.Flush()
	fmt.Fprintln(&text)
	for _, servers := range []int{1, 3} {
		fmt.Fprintln(&text, r.total(servers))
	}
	return text.String()
}

// cells are how often a kind struck, and for how long no write was acknowledged.
func cells(struck []stack.DurabilityFault) string {
	if len(struck) == 0 {
		return "-\t| \t| \t| "
	}
	var pauses []time.Duration
	for _, f := range struck {
		pauses = append(pauses, time.Duration(f.PauseMS)*time.Millisecond)
	}
	median, p95, most := faults.Summary(pauses)
	seconds := func(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }
	return fmt.Sprintf("%d\t| %s\t| %s\t| %s", len(struck), seconds(median), seconds(p95), seconds(most))
}

// total says what became of all rows.
func (r *results) total(servers int) string {
	var runs, proven, struck, inFlight int
	var sum stack.DurabilityWrites
	var found stack.DurabilityRows
	for _, one := range r.records {
		if one.Servers != servers || !one.complete() {
			continue
		}
		runs++
		if one.ExitCode == 0 {
			proven++
		}
		for _, f := range one.Durability.Faults {
			if f.Problem == "" {
				struck++
			}
			if f.InFlight > 0 {
				inFlight++
			}
		}
		w := one.Durability.Writes
		sum.Attempted += w.Attempted
		sum.Acknowledged += w.Acknowledged
		sum.Failed += w.Failed
		sum.Unknown += w.Unknown
		sum.Survived += w.Survived
		found.Lost += one.Rows.Lost
		found.Altered += one.Rows.Altered
		found.Duplicated += one.Rows.Duplicated
		found.Phantom += one.Rows.Phantom
	}
	return english.Sprintf("%s: %s, %d proven; %s, %d with a commit in flight; %s: %d acknowledged, %d failed, %d without an answer, of which %d are there; %d lost, %d altered, %d duplicated, %d phantom.",
		plural(servers, "server"), plural(runs, "run"), proven, plural(struck, "fault"), inFlight, plural(sum.Attempted, "commit"),
		sum.Acknowledged, sum.Failed, sum.Unknown, sum.Survived, found.Lost, found.Altered, found.Duplicated, found.Phantom)
}

// problem says which runs did not prove that everything is there.
func (r *results) problem() error {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	var problems []error
	for _, one := range r.records {
		if one.ExitCode == exitViolated {
			problems = append(problems, fmt.Errorf("%s, %s: %s; look at it with: verify durability --replay .local/%s/%s", one.Lane, one.Began.Format(time.RFC3339), one.Summary, historyFolder, one.History))
		}
	}
	return errors.Join(problems...)
}

// english writes large numbers as people read them.
var english = message.NewPrinter(language.English)

func plural[N int | int64](number N, what string) string {
	if number == 1 {
		return "1 " + what
	}
	return english.Sprintf("%d %ss", number, what)
}
