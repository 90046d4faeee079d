package stack

import (
	"encoding/json"
	"fmt"
)

// Proof is what `verify durability` says, as JSON (docs/verify-output.md): what is read of it here.
type Proof struct {
	Verdict  string `json:"verdict"`
	Summary  string `json:"summary"`
	ExitCode int    `json:"exit_code"`
	Checks   []struct {
		Section string `json:"section"`
		Name    string `json:"name"`
		Status  string `json:"status"`
		Detail  string `json:"detail"`
		Rows    []struct {
			Finding  string
			Run, Seq int64
		} `json:"rows,omitempty"`
	} `json:"checks,omitempty"`
	// Rows is nil when the rows were not looked at.
	Rows       *DurabilityRows `json:"rows,omitempty"`
	Durability struct {
		Run    int64             `json:"run"`
		Writes DurabilityWrites  `json:"writes"`
		Faults []DurabilityFault `json:"faults"`
	} `json:"durability"`
}

// DurabilityRows are how many rows are not as they should be.
type DurabilityRows struct {
	Lost       int64 `json:"lost"`
	Altered    int64 `json:"altered"`
	Duplicated int64 `json:"duplicated"`
	Phantom    int64 `json:"phantom"`
}

// DurabilityWrites are the numbers of commits by their outcome.
type DurabilityWrites struct {
	Attempted    int64 `json:"attempted"`
	Acknowledged int64 `json:"acknowledged"`
	Failed       int64 `json:"failed"`
	Unknown      int64 `json:"unknown"`
	Survived     int64 `json:"survived"`
}

// DurabilityFault is one that struck. Times are milliseconds.
type DurabilityFault struct {
	Kind     string   `json:"kind"`
	Victims  []string `json:"victims,omitempty"`
	InFlight int64    `json:"in_flight"`
	BeganMS  int64    `json:"began_ms"`
	EndedMS  int64    `json:"ended_ms"`
	PauseMS  int64    `json:"pause_ms"`
	// Problem is why it did not come to its end; empty when it did.
	Problem string `json:"problem,omitempty"`
}

// DurabilityArguments are those of `verify durability`, with its ledger in the stack's folder.
func (s *Stack) DurabilityArguments(flags ...string) []string {
	return append([]string{s.workspace.Verify, "durability", "--stack", s.Name, "--ledger", s.Ledger(), "--config-file", s.ConfigFile()}, flags...)
}

// ReadProof reads what `verify durability --output json` has printed.
func ReadProof(printed string) (Proof, error) {
	var said Proof
	if err := json.Unmarshal([]byte(printed), &said); err != nil {
		return said, fmt.Errorf("verify durability --output json: %w", err)
	}
	return said, nil
}
