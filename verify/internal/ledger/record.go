package ledger

import (
	"encoding/json"
	"fmt"
	"time"
)

// record is one entry. Kind says which of the other fields are set.
type record struct {
	Kind string    `json:"kind"`
	At   time.Time `json:"at,omitzero"`

	// created
	ID string `json:"id,omitempty"`

	// run
	Run     int64 `json:"run,omitempty"`
	Seed    int64 `json:"seed,omitempty"`
	Adopted bool  `json:"adopted,omitempty"`

	// rows and goal, of Run
	First  int64  `json:"first,omitempty"`
	Rows   int64  `json:"rows,omitempty"`
	Unit   int64  `json:"unit,omitempty"`
	Status Status `json:"status,omitempty"`

	Sighting *Sighting `json:"sighting,omitempty"`
	Result   *Result   `json:"result,omitempty"`
	// Results is the number of results up to and including this one.
	Results int64 `json:"results,omitempty"`
}

const (
	kindCreated  = "created"
	kindRun      = "run"
	kindRows     = "rows"
	kindGoal     = "goal"
	kindSighting = "sighting"
	kindResult   = "result"
)

func (r record) encode() ([]byte, error) { return json.Marshal(r) }

func decode(content []byte) (record, error) {
	var entry record
	if err := json.Unmarshal(content, &entry); err != nil {
		return record{}, fmt.Errorf("a record is not what this version writes: %w", err)
	}
	return entry, nil
}

// apply enters a record into the state.
func (s *State) apply(entry record) error {
	if (entry.Kind == kindCreated) != (s.ID == "") {
		return fmt.Errorf("a %q record at the wrong place", entry.Kind)
	}
	switch entry.Kind {
	case kindCreated:
		if entry.ID == "" {
			return fmt.Errorf("a ledger without an id")
		}
		s.ID, s.CreatedAt = entry.ID, entry.At
	case kindRun:
		if s.Run(entry.Run) != nil {
			return fmt.Errorf("run %d starts twice", entry.Run)
		}
		s.Runs = append(s.Runs, &Run{ID: entry.Run, Seed: entry.Seed, StartedAt: entry.At, Adopted: entry.Adopted})
	case kindRows:
		run := s.Run(entry.Run)
		if run == nil {
			return fmt.Errorf("rows of run %d, which never started", entry.Run)
		}
		if entry.Status == Undecided && entry.Unit < 1 {
			return fmt.Errorf("undecided rows in transactions of %d rows", entry.Unit)
		}
		return run.set(Span{First: entry.First, Rows: entry.Rows, Status: entry.Status, Unit: entry.Unit, At: entry.At.Truncate(time.Second)})
	case kindGoal:
		if s.Run(entry.Run) == nil || entry.Rows < 1 {
			return fmt.Errorf("a goal of %d rows in run %d, which never started", entry.Rows, entry.Run)
		}
		s.Goal = Goal{Run: entry.Run, First: entry.First, Rows: entry.Rows}
	case kindSighting:
		if entry.Sighting == nil {
			return fmt.Errorf("an empty sighting")
		}
		s.Sighting = *entry.Sighting
	case kindResult:
		if entry.Result == nil {
			return fmt.Errorf("an empty result")
		}
		s.LastResult, s.Results = *entry.Result, entry.Results
	default:
		return fmt.Errorf("a record of the unknown kind %q: written by a newer version?", entry.Kind)
	}
	return nil
}

// snapshot is the shortest list of records that leads to the state.
func (s *State) snapshot() []record {
	records := []record{{Kind: kindCreated, At: s.CreatedAt, ID: s.ID}}
	for _, run := range s.Runs {
		records = append(records, record{Kind: kindRun, At: run.StartedAt, Run: run.ID, Seed: run.Seed, Adopted: run.Adopted})
		for _, span := range run.Spans {
			records = append(records, record{
				Kind: kindRows, At: span.At, Run: run.ID, First: span.First, Rows: span.Rows, Unit: span.Unit, Status: span.Status,
			})
		}
	}
	if s.Left() > 0 {
		records = append(records, record{Kind: kindGoal, Run: s.Goal.Run, First: s.Goal.First, Rows: s.Goal.Rows})
	}
	if !s.Sighting.At.IsZero() {
		sighting := s.Sighting
		records = append(records, record{Kind: kindSighting, Sighting: &sighting})
	}
	if s.Results > 0 {
		result := s.LastResult
		records = append(records, record{Kind: kindResult, Result: &result, Results: s.Results})
	}
	return records
}
