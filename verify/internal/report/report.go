// Package report holds the result of a verification and prints it: as a table for people, as
// JSON and as JUnit XML for machines.
package report

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Status is the result of one check.
type Status string

// The statuses, from best to worst for the verdict.
const (
	// Passed: seen, and as it should be.
	Passed Status = "passed"
	// Skipped: not looked at; the detail says why.
	Skipped Status = "skipped"
	// Warning: seen, worth knowing, and no harm to the verdict.
	Warning Status = "warning"
	// Unknown: could not be seen or decided.
	Unknown Status = "unknown"
	// Violated: seen, and not as it should be.
	Violated Status = "violated"
)

// Verdict is the result of all checks.
type Verdict string

// The verdicts.
const (
	Proven       Verdict = "proven"
	NotProven    Verdict = "could_not_tell"
	NotKept      Verdict = "violated"
	schemaNumber         = 1
)

// The exit codes of the program.
const (
	ExitProven      = 0
	ExitViolated    = 1
	ExitUnknown     = 2
	ExitUsage       = 64
	ExitDeadline    = 124
	ExitInterrupted = 130
)

// The sections of a report, in their order.
const (
	Kubernetes = "Kubernetes"
	Server     = "Server"
	Members    = "Members"
	Rows       = "Rows"
	Cycle      = "Cycle"
	Faults     = "Faults"
	Commits    = "Commits"
	Registers  = "Registers"
	Conditions = "Conditions"
	Record     = "Record"
)

// Row is a row that is named because something is wrong with it.
type Row struct {
	// Finding is lost, altered, duplicated, phantom, torn, unindexed, dangling or stale.
	Finding string `json:"finding"`
	Run     int64  `json:"run"`
	Seq     int64  `json:"seq"`
	// Recorded is the status in the ledger; empty when the ledger never knew the row.
	Recorded string `json:"recorded,omitempty"`
	// RecordedAt is when that status was entered.
	RecordedAt time.Time `json:"recorded_at,omitzero"`
	Expected   string    `json:"expected,omitempty"`
	Found      string    `json:"found,omitempty"`
}

// Check is one thing that was looked at.
type Check struct {
	Section string `json:"section"`
	Name    string `json:"name"`
	Status  Status `json:"status"`
	// Detail is what was seen.
	Detail string `json:"detail"`
	// Hint is what to do about it.
	Hint string `json:"hint,omitempty"`
	// Statements are the hint's, for a program that runs them.
	Statements []Statement `json:"statements,omitempty"`
	Rows       []Row       `json:"rows,omitempty"`
	DurationMS int64       `json:"duration_ms"`
}

// Statement is what to run, and in which database.
type Statement struct {
	Database string `json:"database"`
	SQL      string `json:"sql"`
}

// Counts are the numbers of rows.
type Counts struct {
	// Before is the number of rows in the table before anything was written, Now afterwards.
	Before int64 `json:"before"`
	Added  int64 `json:"added"`
	Now    int64 `json:"now"`
	// Required is how many rows had to be there, Intact how many of them were.
	Required int64 `json:"required"`
	Intact   int64 `json:"intact"`
	// The numbers of rows that were wrong, of each kind.
	Lost       int64 `json:"lost"`
	Altered    int64 `json:"altered"`
	Duplicated int64 `json:"duplicated"`
	Phantom    int64 `json:"phantom"`
	Torn       int64 `json:"torn"`
	Unindexed  int64 `json:"unindexed"`
	Dangling   int64 `json:"dangling"`
	// Undecided rows are those whose commit had no known outcome and that were never seen.
	Undecided int64 `json:"undecided"`
	// Unrecorded rows are in the table and in no run that the ledger knows.
	Unrecorded int64 `json:"unrecorded"`
	// Withdrawn rows were never acknowledged, were seen once, and went with the end of a timeline
	// before any standby had them.
	Withdrawn int64 `json:"withdrawn"`
}

// Target is what was verified.
type Target struct {
	Stack       string `json:"stack,omitempty"`
	Namespace   string `json:"namespace,omitempty"`
	StatefulSet string `json:"stateful_set,omitempty"`
	Replicas    *int   `json:"replicas,omitempty"`
	Database    string `json:"database,omitempty"`
	// Via is how the server was reached: nodeport, loadbalancer, port-forward or dsn.
	Via     string `json:"via,omitempty"`
	Address string `json:"address,omitempty"`
	// Pod is that of the server which takes the writes.
	Pod string `json:"pod,omitempty"`
}

// Member is one of several servers.
type Member struct {
	Pod string `json:"pod"`
	// Role is what the server itself says: primary or standby; empty when it could not be asked.
	// Label is what Patroni has written on the pod.
	Role  string `json:"role,omitempty"`
	Label string `json:"label,omitempty"`
	// Via is how the server was reached: port-forward or address.
	Via    string `json:"via,omitempty"`
	Claim  string `json:"claim,omitempty"`
	Volume string `json:"volume,omitempty"`
	// Timeline is the one that is written or received.
	Timeline int64 `json:"timeline,omitempty"`
	// LSN is how far the server has come: a primary's log is durable up to there, a standby has
	// replayed it. LagBytes is how far a standby is behind.
	LSN      string `json:"lsn,omitempty"`
	LagBytes *int64 `json:"lag_bytes,omitempty"`
	// SyncState is sync, potential, quorum or async; empty for one that does not stream.
	SyncState string `json:"sync_state,omitempty"`
	// Slot is the primary's replication slot for a standby; empty when there is none.
	Slot       string `json:"slot,omitempty"`
	SlotActive *bool  `json:"slot_active,omitempty"`
	// Rows is how many rows of the table a standby has; nil when they were not compared.
	Rows *int64 `json:"rows,omitempty"`
}

// TLS is how the connection to the server was encrypted.
type TLS struct {
	// Version is the protocol's, like "TLS 1.3".
	Version string `json:"version"`
	// ServerName is what the certificate was checked for (verify-full); empty when it was not.
	ServerName string `json:"server_name,omitempty"`
	// ExpiresAt is when the certificate does.
	ExpiresAt time.Time `json:"expires_at"`
	// PlainRefused says whether a connection without encryption was refused; nil when that could
	// not be seen.
	PlainRefused *bool `json:"plain_refused,omitempty"`
}

// Report is everything that a command found.
type Report struct {
	SchemaVersion int       `json:"schema_version"`
	Command       string    `json:"command"`
	StartedAt     time.Time `json:"started_at"`
	DurationMS    int64     `json:"duration_ms"`
	Target        Target    `json:"target"`
	// TLS is nil when the server was not reached, or without encryption.
	TLS    *TLS    `json:"tls,omitempty"`
	Ledger string  `json:"ledger,omitempty"`
	Checks []Check `json:"checks"`
	// Members are the servers, where there may be several; sorted by ordinal.
	Members []Member `json:"members,omitempty"`
	// Rows is nil when the rows were not looked at.
	Rows *Counts `json:"rows,omitempty"`
	// Cycle is nil for commands other than cycle.
	Cycle *Timings `json:"cycle,omitempty"`
	// Durability is nil for commands other than durability.
	Durability *Durability `json:"durability,omitempty"`
	Verdict    Verdict     `json:"verdict"`
	Summary    string      `json:"summary"`
	ExitCode   int         `json:"exit_code"`

	started time.Time
	// early is the exit code of a command that was ended from outside, 0 for all others.
	early int
}

// Timings are the phases of a cycle.
type Timings struct {
	Phases []Phase `json:"phases"`
	// UnavailableMS is the longest time during which no write was acknowledged, for each round.
	UnavailableMS []int64 `json:"unavailable_ms"`
	// Steps are those of a cycle through a list of replicas.
	Steps []Step `json:"steps,omitempty"`
}

// Step is a cycle's way from one number of replicas to the next.
type Step struct {
	// Step is its number, from 1.
	Step int `json:"step"`
	From int `json:"from"`
	To   int `json:"to"`
	// Pod is that of the server which took the writes after it; empty at 0 replicas.
	Pod string `json:"pod,omitempty"`
	// DurationMS is until the writes went on, or at 0 replicas until the server was proven down.
	DurationMS int64 `json:"duration_ms"`
	// Acknowledged is how many rows were acknowledged in the meantime, AcknowledgedLocally how many
	// of those by the primary alone, and UnavailableMS the longest time in which none was; nil while
	// there was no writer yet.
	Acknowledged        int64  `json:"acknowledged"`
	AcknowledgedLocally int64  `json:"acknowledged_locally"`
	UnavailableMS       *int64 `json:"unavailable_ms,omitempty"`
}

// Phase is one step of a cycle.
type Phase struct {
	Round      int    `json:"round"`
	Name       string `json:"name"`
	DurationMS int64  `json:"duration_ms"`
}

// New starts a report.
func New(command string) *Report {
	now := time.Now()
	return &Report{SchemaVersion: schemaNumber, Command: command, StartedAt: now.UTC().Truncate(time.Millisecond), Checks: []Check{}, started: now}
}

// CutShort says whether the context of the command has ended, and notes it when it has: the
// exit code will say why. A violation that was seen until then stays one.
func (r *Report) CutShort(ctx context.Context) bool {
	switch {
	case ctx.Err() == nil:
		return false
	case errors.Is(context.Cause(ctx), context.DeadlineExceeded):
		r.early = ExitDeadline
	default:
		r.early = ExitInterrupted
	}
	return true
}

// Has says whether a check of a status was made.
func (r *Report) Has(status Status) bool {
	for _, check := range r.Checks {
		if check.Status == status {
			return true
		}
	}
	return false
}

// Conclude sets verdict, exit code and duration from the checks.
func (r *Report) Conclude() {
	r.DurationMS = time.Since(r.started).Milliseconds()
	switch {
	case r.Has(Violated):
		r.Verdict, r.ExitCode = NotKept, ExitViolated
	case r.early != 0:
		r.Verdict, r.ExitCode = NotProven, r.early
	case r.Has(Unknown), !r.Has(Passed):
		r.Verdict, r.ExitCode = NotProven, ExitUnknown
	default:
		r.Verdict, r.ExitCode = Proven, ExitProven
	}
}

// Summarize says in one sentence what a concluded report amounts to. The sentence for one in which
// everything was as it should be is the command's own.
func (r *Report) Summarize(proven func() string) string {
	return fmt.Sprintf("%s (in %s)", r.outcome(proven), Duration(time.Duration(r.DurationMS)*time.Millisecond))
}

func (r *Report) outcome(proven func() string) string {
	switch {
	case r.Verdict == NotKept && r.Rows != nil && r.Rows.Lost+r.Rows.Altered > 0:
		return fmt.Sprintf("%s lost, %s altered, of %s that had to be there",
			Plural(r.Rows.Lost, "row"), Number(r.Rows.Altered), Number(r.Rows.Required))
	case r.Verdict == NotKept:
		return "what was seen is not as it should be: see ✗ above"
	case r.ExitCode == ExitInterrupted:
		return "interrupted; nothing was found wrong until then"
	case r.ExitCode == ExitDeadline:
		return "the deadline passed; nothing was found wrong until then"
	case r.Verdict == NotProven:
		return "nothing was found wrong, and not everything could be seen: see ? above"
	}
	return proven()
}
