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

// Plan is what was asked for.
type Plan struct {
	Workload   string   `json:"workload"`
	Writers    int      `json:"writers"`
	DurationMS int64    `json:"duration_ms"`
	EveryMS    int64    `json:"every_ms"`
	Faults     []string `json:"faults"`
	Through    []int    `json:"through,omitempty"`
	// Seed decides the order of the faults and the moments at which they strike.
	Seed int64 `json:"seed"`
}

// Bucket is what happened to commits in some time. Latencies are of the acknowledged ones.
type Bucket struct {
	Acknowledged int64 `json:"acknowledged"`
	Failed       int64 `json:"failed,omitempty"`
	Unknown      int64 `json:"unknown,omitempty"`
	P50US        int64 `json:"p50_us,omitempty"`
	P99US        int64 `json:"p99_us,omitempty"`
	MaxUS        int64 `json:"max_us,omitempty"`
}

// Fault is one that struck.
type Fault struct {
	// Kind is its name, Does says what happened, Victims are the pods or nodes it happened to.
	Kind    string   `json:"kind"`
	Does    string   `json:"does"`
	Victims []string `json:"victims,omitempty"`
	// BeganMS is when it began to strike, EndedMS when what it had changed was put back, RecoveredMS
	// when commits went on after that: -1 when they did not.
	BeganMS     int64 `json:"began_ms"`
	EndedMS     int64 `json:"ended_ms"`
	RecoveredMS int64 `json:"recovered_ms"`
	// InFlight is how many transactions had begun and were not answered when it began.
	InFlight int64 `json:"in_flight"`
	// PauseMS is the longest time without an acknowledged write from its beginning to the next fault;
	// PauseBeganMS is when it began.
	PauseMS      int64 `json:"pause_ms"`
	PauseBeganMS int64 `json:"pause_began_ms"`
	// What happened from its beginning to the next fault.
	Acknowledged int64 `json:"acknowledged"`
	Failed       int64 `json:"failed"`
	Unknown      int64 `json:"unknown"`
	Reconnects   int64 `json:"reconnects"`
	// Problem is why it could not strike, or could not be put back; empty when all went well.
	Problem string `json:"problem,omitempty"`
}

// Interval is a state that an object had for some time.
type Interval struct {
	Of     string `json:"of"`
	State  string `json:"state"`
	FromMS int64  `json:"from_ms"`
	ToMS   int64  `json:"to_ms"`
}

// Writes are the numbers of commits by their outcome.
type Writes struct {
	Attempted    int64 `json:"attempted"`
	Acknowledged int64 `json:"acknowledged"`
	// AcknowledgedLocally, of the acknowledged ones, are those whose wait for a standby was given up.
	AcknowledgedLocally int64 `json:"acknowledged_locally"`
	Failed              int64 `json:"failed"`
	Unknown             int64 `json:"unknown"`
	// Survived, of the unknown ones, were found in the database.
	Survived   int64 `json:"survived"`
	Reconnects int64 `json:"reconnects"`
}

// Latencies are of acknowledged commits before the first fault, from the beginning of a fault until
// commits went on, and at all other times.
type Latencies struct {
	Before Latency `json:"before"`
	During Latency `json:"during"`
	After  Latency `json:"after"`
}

// Latency is how long commits took, in microseconds, from the first byte of the transaction to its
// answer.
type Latency struct {
	Commits int64 `json:"commits"`
	P50US   int64 `json:"p50_us"`
	P95US   int64 `json:"p95_us"`
	P99US   int64 `json:"p99_us"`
	MaxUS   int64 `json:"max_us"`
}

// Span is a range of rows with one outcome: acknowledged, acknowledged_locally, failed, undecided or
// seen.
type Span struct {
	First  int64  `json:"first"`
	Rows   int64  `json:"rows"`
	Status string `json:"status"`
}

// Reads are those that looked for a row on the primary that was acknowledged before they began.
type Reads struct {
	Answered int64 `json:"answered"`
	// Without, of these, did not find the row.
	Without int64 `json:"without"`
	// Named are rows that were not found by a read, at most ten.
	Named []int64 `json:"named,omitempty"`
}

// Look is what was found in the database at the end.
type Look struct {
	Checks  []report.Check  `json:"checks"`
	Members []report.Member `json:"members,omitempty"`
	Rows    *report.Counts  `json:"rows,omitempty"`
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
