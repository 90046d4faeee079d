package ledger

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"
	"time"
)

// Status is what is known about rows.
type Status string

// The statuses. Only required ones are missed when they are gone.
const (
	// Undecided: sent, or about to be, and the outcome is not known. Every transaction of
	// such rows is there or not, but whole.
	Undecided Status = "undecided"
	// Acknowledged: the server said that they are committed.
	Acknowledged Status = "acknowledged"
	// AcknowledgedLocally: committed, but the wait for a synchronous standby was given up.
	AcknowledgedLocally Status = "acknowledged_locally"
	// Failed: known not to be committed.
	Failed Status = "failed"
	// Seen: never acknowledged, but a read has returned them, so they must stay.
	Seen Status = "seen"
)

// Required says whether rows of this status must be in the database.
func (s Status) Required() bool {
	return s == Acknowledged || s == AcknowledgedLocally || s == Seen
}

// Span is a range of consecutive rows with one status.
type Span struct {
	First  int64
	Rows   int64
	Status Status
	// Unit is the number of rows in each transaction; the last one may have fewer. It matters
	// as long as the span is undecided.
	Unit int64
	// At is when the status was entered, to the second.
	At time.Time
}

// End is the sequence number after the last row.
func (s Span) End() int64 { return s.First + s.Rows }

// Run is a sequence of rows with one seed.
type Run struct {
	ID   int64
	Seed int64
	// StartedAt is when the ledger first knew the run.
	StartedAt time.Time
	// Adopted runs were found in the database: this ledger vouches for their rows but does not
	// add any.
	Adopted bool
	// Spans are sorted by sequence number and do not overlap.
	Spans []Span
}

// NewRunID draws the id of a run. It has 48 bits, so that it survives every JSON reader, which may
// keep numbers as floating point.
func NewRunID() int64 { return rand.Int64N(1 << 48) }

// Next is the first sequence number that the run never used.
func (r *Run) Next() int64 {
	if len(r.Spans) == 0 {
		return 0
	}
	return r.Spans[len(r.Spans)-1].End()
}

// Count is the number of rows of a status.
func (r *Run) Count(status Status) int64 {
	var rows int64
	for _, span := range r.Spans {
		if span.Status == status {
			rows += span.Rows
		}
	}
	return rows
}

// RequiredFromStart is how many rows from the first on must be in the database without a gap.
func (r *Run) RequiredFromStart() int64 {
	next := int64(0)
	for _, span := range r.Spans {
		if span.First != next || !span.Status.Required() {
			break
		}
		next = span.End()
	}
	return next
}

// Within calls yield for every part of a span that lies in [first, end).
func (r *Run) Within(first, end int64, yield func(Span)) {
	start := sort.Search(len(r.Spans), func(i int) bool { return r.Spans[i].End() > first })
	for _, span := range r.Spans[start:] {
		if span.First >= end || first >= end {
			return
		}
		yield(span.cut(max(first, span.First), min(end, span.End())))
	}
}

// At returns the span that holds row seq.
func (r *Run) At(seq int64) (Span, bool) {
	i := sort.Search(len(r.Spans), func(i int) bool { return r.Spans[i].End() > seq })
	if i == len(r.Spans) || r.Spans[i].First > seq {
		return Span{}, false
	}
	return r.Spans[i], true
}

func (s Span) cut(first, end int64) Span {
	s.First, s.Rows = first, end-first
	return s
}

// set gives [span.First, span.End()) the span's status, whatever it was before.
func (r *Run) set(span Span) error {
	if span.First < 0 || span.Rows < 1 || span.End() < span.First {
		return fmt.Errorf("rows %d to %d of run %d are no range", span.First, span.End()-1, r.ID)
	}
	// Everything before from and from to on stays as it is: changes happen near the end.
	from := sort.Search(len(r.Spans), func(i int) bool { return r.Spans[i].End() > span.First })
	to := from
	replacement := make([]Span, 0, 3)
	if from < len(r.Spans) && r.Spans[from].First < span.First {
		replacement = append(replacement, r.Spans[from].cut(r.Spans[from].First, span.First))
	}
	replacement = append(replacement, span)
	for to < len(r.Spans) && r.Spans[to].First < span.End() {
		if r.Spans[to].End() > span.End() {
			replacement = append(replacement, r.Spans[to].cut(span.End(), r.Spans[to].End()))
		}
		to++
	}
	r.Spans = slices.Replace(r.Spans, from, to, replacement...)
	for i := min(from+len(replacement), len(r.Spans)-1); i > max(from-1, 0); i-- {
		if r.Spans[i-1].joins(r.Spans[i]) {
			r.Spans[i-1].Rows += r.Spans[i].Rows
			r.Spans = slices.Delete(r.Spans, i, i+1)
		}
	}
	return nil
}

// joins says whether next continues the span without anything being forgotten.
func (s Span) joins(next Span) bool {
	return s.End() == next.First && s.Status == next.Status && s.At.Equal(next.At) &&
		(s.Status != Undecided || s.Unit == next.Unit && s.Rows%s.Unit == 0)
}

// Sighting is what was seen of the database and its volume. Values that could not be seen are
// zero.
type Sighting struct {
	At time.Time `json:"at"`
	// SystemIdentifier is given to a database by initdb and never changes.
	SystemIdentifier string `json:"system_identifier,omitempty"`
	Timeline         int64  `json:"timeline,omitempty"`
	// FlushedLSN is how far the write-ahead log was durable; it never goes back.
	FlushedLSN      string    `json:"flushed_lsn,omitempty"`
	PostmasterStart time.Time `json:"postmaster_start,omitzero"`
	ServerVersion   string    `json:"server_version,omitempty"`
	// Commits and StatisticsReset are of pg_stat_database: its counters survive a clean
	// shutdown and are discarded by crash recovery.
	Commits         int64     `json:"commits,omitempty"`
	StatisticsReset time.Time `json:"statistics_reset,omitzero"`
	// IndexComparedFor is the PostmasterStart of the server whose heap and index were last
	// compared.
	IndexComparedFor time.Time `json:"index_compared_for,omitzero"`
	// Digests are those that were computed of the rows of runs, and found in the table.
	Digests []RunDigest `json:"digests,omitempty"`

	// Pod is that of the server which took the writes; PostmasterStart, Commits and StatisticsReset
	// are of it.
	Pod string `json:"pod,omitempty"`
	// TimelineBegan is where the timeline branched off from the one before; empty for the first one.
	TimelineBegan string `json:"timeline_began,omitempty"`
	// ReplayedLSN is how far all servers had come when their rows were compared; empty when one could
	// not be, or none was a synchronous standby. Of one server alone it is how far that one had come.
	ReplayedLSN string `json:"replayed_lsn,omitempty"`

	// ClaimUID is that of the claim of ordinal 0; Volume and VolumeUID are of the volume that it is
	// bound to. Claims are those of the further ordinals, sorted.
	ClaimUID  string  `json:"claim_uid,omitempty"`
	Volume    string  `json:"volume,omitempty"`
	VolumeUID string  `json:"volume_uid,omitempty"`
	Claims    []Claim `json:"claims,omitempty"`

	// Database and DatabaseOID are of the database that holds the rows, TableOID of their table. An
	// OID stays the same when its object is renamed.
	Database    string `json:"database,omitempty"`
	DatabaseOID uint32 `json:"database_oid,omitempty"`
	TableOID    uint32 `json:"table_oid,omitempty"`
	// ClusterUID, Namespace and StatefulSet say where in Kubernetes the server was; ClusterUID is
	// that of the namespace kube-system.
	ClusterUID  string `json:"cluster_uid,omitempty"`
	Namespace   string `json:"namespace,omitempty"`
	StatefulSet string `json:"stateful_set,omitempty"`
	// Via and Address are the way on which the server answered.
	Via     string `json:"via,omitempty"`
	Address string `json:"address,omitempty"`
}

// Claim is what was seen of the claim of an ordinal.
type Claim struct {
	Ordinal int    `json:"ordinal"`
	UID     string `json:"uid"`
	// Volume and VolumeUID are of the volume that it was bound to.
	Volume    string `json:"volume,omitempty"`
	VolumeUID string `json:"volume_uid,omitempty"`
}

// Claim returns what was seen of the claim of an ordinal; its UID is empty when it was never seen.
func (s *Sighting) Claim(ordinal int) Claim {
	if ordinal == 0 {
		return Claim{UID: s.ClaimUID, Volume: s.Volume, VolumeUID: s.VolumeUID}
	}
	for _, claim := range s.Claims {
		if claim.Ordinal == ordinal {
			return claim
		}
	}
	return Claim{Ordinal: ordinal}
}

// SetClaim exchanges what was seen of the claim of an ordinal.
func (s *Sighting) SetClaim(claim Claim) {
	if claim.Ordinal == 0 {
		s.ClaimUID, s.Volume, s.VolumeUID = claim.UID, claim.Volume, claim.VolumeUID
		return
	}
	s.ForgetClaim(claim.Ordinal)
	s.Claims = append(s.Claims, claim)
	slices.SortFunc(s.Claims, func(a, b Claim) int { return a.Ordinal - b.Ordinal })
}

// ForgetClaim forgets the claim of an ordinal other than 0. Sightings that share the list keep theirs.
func (s *Sighting) ForgetClaim(ordinal int) {
	var rest []Claim
	for _, claim := range s.Claims {
		if claim.Ordinal != ordinal {
			rest = append(rest, claim)
		}
	}
	s.Claims = rest
}

// RunDigest is the digest of the first rows of a run. It follows from the run's seed: keeping it
// saves computing it again.
type RunDigest struct {
	Run  int64 `json:"run"`
	Rows int64 `json:"rows"`
	// Sum is that of the hashes, in decimal.
	Sum string `json:"sum"`
}

// Result is the outcome of a command that used the ledger.
type Result struct {
	At      time.Time `json:"at"`
	Command string    `json:"command"`
	Verdict string    `json:"verdict"`
	Summary string    `json:"summary"`
}

// Goal is a number of rows that a fill set out to write.
type Goal struct {
	Run int64
	// First is the sequence number that the fill began with.
	First int64
	Rows  int64
}

// State is everything that a ledger knows.
type State struct {
	// ID tells ledgers apart.
	ID        string
	CreatedAt time.Time
	Runs      []*Run
	// Sighting is the last one; its At is zero when there was none.
	Sighting Sighting
	// Goal is the last one; its Rows are zero when there was none.
	Goal Goal
	// Results is the number of results ever entered, LastResult the newest.
	Results    int64
	LastResult Result
	// Size of the file in bytes.
	Size int64
	// TornBytes is the size of an incomplete last record that was dropped.
	TornBytes int64
}

// Run returns the run with an id, or nil.
func (s *State) Run(id int64) *Run {
	for _, run := range s.Runs {
		if run.ID == id {
			return run
		}
	}
	return nil
}

// Current is the run that new rows belong to, or nil before the first.
func (s *State) Current() *Run {
	for i := len(s.Runs) - 1; i >= 0; i-- {
		if !s.Runs[i].Adopted {
			return s.Runs[i]
		}
	}
	return nil
}

// Left is how many rows of the last goal are not known to be committed.
func (s *State) Left() int64 {
	run := s.Run(s.Goal.Run)
	if run == nil {
		return 0
	}
	left := s.Goal.Rows
	run.Within(s.Goal.First, run.Next(), func(span Span) {
		if span.Status.Required() {
			left -= span.Rows
		}
	})
	return max(left, 0)
}

// Count is the number of rows of a status in all runs.
func (s *State) Count(status Status) int64 {
	var rows int64
	for _, run := range s.Runs {
		rows += run.Count(status)
	}
	return rows
}

// Required is the number of rows that must be in the database.
func (s *State) Required() int64 {
	return s.Count(Acknowledged) + s.Count(AcknowledgedLocally) + s.Count(Seen)
}
