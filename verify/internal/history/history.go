// Package history is the record of a run under faults: what was written, what happened meanwhile, and
// what was found at the end. It is kept as one compressed file, from which the same verdict and the
// same page can be made again.
package history

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"stateful-postgres/verify/internal/report"
)

// version is that of the file's format.
const version = 1

// The workloads.
const (
	// Rows: each writer adds rows, one a transaction.
	Rows = "rows"
	// Register: each client reads and exchanges the values of a few keys.
	Register = "register"
)

// History is everything that is known of a run. Times of events are milliseconds since StartedAt.
type History struct {
	Version int `json:"version"`
	// Command is the command line that ran, to be typed again.
	Command   string        `json:"command"`
	StartedAt time.Time     `json:"started_at"`
	Target    report.Target `json:"target"`
	Plan      Plan          `json:"plan"`
	// DurationMS is until the last write; looking at the rows came after.
	DurationMS int64 `json:"duration_ms"`

	// Buckets are what happened in each BucketMS, from the start on without a gap.
	BucketMS int64    `json:"bucket_ms"`
	Buckets  []Bucket `json:"buckets"`
	Faults   []Fault  `json:"faults"`
	// Roles are those that the members had (primary, standby), Pods and Nodes their states (ready,
	// not ready, terminating, absent). Of each object they are in order and do not overlap.
	Roles []Interval `json:"roles,omitempty"`
	Pods  []Interval `json:"pods,omitempty"`
	Nodes []Interval `json:"nodes,omitempty"`

	Writes  Writes    `json:"writes"`
	Latency Latencies `json:"latency"`
	// Run is the number of the run in the ledger, Spans what became of its rows, in their order.
	Run   int64  `json:"run,omitempty"`
	Spans []Span `json:"spans,omitempty"`
	Reads Reads  `json:"reads"`

	// Operations are those of the workload register, kept as its package writes them.
	Operations json.RawMessage `json:"operations,omitempty"`

	// Look is what was found at the end: everything that verify checks.
	Look Look `json:"look"`
}

// What a report has of a run, the history has, too.
type (
	// Plan is what was asked for.
	Plan = report.Plan
	// Fault is one that struck.
	Fault = report.Fault
	// Writes are the numbers of commits by their outcome.
	Writes = report.Writes
	// Latencies are those of acknowledged commits before, during and after faults.
	Latencies = report.Latencies
	// Latency is how long commits took.
	Latency = report.Latency
	// Reads are those that looked for an acknowledged row.
	Reads = report.Reads
)

// Bucket is what happened to commits in some time. Latencies are of the acknowledged ones.
type Bucket struct {
	Acknowledged int64 `json:"acknowledged"`
	Failed       int64 `json:"failed,omitempty"`
	Unknown      int64 `json:"unknown,omitempty"`
	P50US        int64 `json:"p50_us,omitempty"`
	P99US        int64 `json:"p99_us,omitempty"`
	MaxUS        int64 `json:"max_us,omitempty"`
}

// Interval is a state that an object had for some time.
type Interval struct {
	Of     string `json:"of"`
	State  string `json:"state"`
	FromMS int64  `json:"from_ms"`
	ToMS   int64  `json:"to_ms"`
}

// Span is a range of rows with one outcome: acknowledged, acknowledged_locally, failed, undecided or
// seen.
type Span struct {
	First  int64  `json:"first"`
	Rows   int64  `json:"rows"`
	Status string `json:"status"`
}

// Look is what was found in the database at the end.
type Look struct {
	Checks  []report.Check  `json:"checks"`
	Members []report.Member `json:"members,omitempty"`
	Rows    *report.Counts  `json:"rows,omitempty"`
}

// CommitsPerSecond is how many commits were acknowledged in a second, on average.
func (h *History) CommitsPerSecond() float64 {
	if h.DurationMS == 0 {
		return 0
	}
	return float64(h.Writes.Acknowledged) * 1000 / float64(h.DurationMS)
}

// Kind is what faults of one name did.
type Kind struct {
	Name string
	// Pauses are the longest times without an acknowledged write, of each that came to its end.
	Pauses []time.Duration
	// Problems is how many did not.
	Problems int64
}

// Kinds are the kinds of the faults, in the order in which they first struck.
func (h *History) Kinds() []Kind {
	var kinds []Kind
	for _, f := range h.Faults {
		i := slices.IndexFunc(kinds, func(k Kind) bool { return k.Name == f.Kind })
		if i < 0 {
			i = len(kinds)
			kinds = append(kinds, Kind{Name: f.Kind})
		}
		if f.Problem != "" {
			kinds[i].Problems++
			continue
		}
		kinds[i].Pauses = append(kinds[i].Pauses, time.Duration(f.PauseMS)*time.Millisecond)
	}
	return kinds
}

// Write writes a history to a file, which it replaces as a whole.
func Write(path string, h *History) (err error) {
	h.Version = version
	temporary := path + ".new"
	file, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return fmt.Errorf("history: %w", err)
	}
	defer os.Remove(temporary) // There is none any more when all went well.
	packed := gzip.NewWriter(file)
	err = json.NewEncoder(packed).Encode(h)
	err = errors.Join(err, packed.Close(), file.Sync(), file.Close())
	if err == nil {
		err = os.Rename(temporary, path)
	}
	if err != nil {
		return fmt.Errorf("history %s: %w", path, err)
	}
	return nil
}

// Read reads a history from a file.
func Read(path string) (*History, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("history: %w", err)
	}
	defer file.Close()
	packed, err := gzip.NewReader(file)
	if err != nil {
		return nil, fmt.Errorf("history %s: expected a file that verify durability wrote: %w", path, err)
	}
	var h History
	decoder := json.NewDecoder(packed)
	if err := decoder.Decode(&h); err != nil {
		return nil, fmt.Errorf("history %s: expected a file that verify durability wrote: %w", path, err)
	}
	// The checksum is at the end.
	if _, err := io.Copy(io.Discard, packed); err != nil {
		return nil, fmt.Errorf("history %s is damaged: %w", path, err)
	}
	if h.Version != version {
		return nil, fmt.Errorf("history %s: format %d, expected %d: replay it with the verify that wrote it", path, h.Version, version)
	}
	return &h, nil
}
