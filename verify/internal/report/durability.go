package report

// Durability is what was written under faults. Times of events are milliseconds since the run began.
type Durability struct {
	// Command is the command line that ran, to be typed again.
	Command string `json:"command"`
	// Run is the number of the run in the ledger.
	Run     int64     `json:"run"`
	Plan    Plan      `json:"plan"`
	Writes  Writes    `json:"writes"`
	Reads   Reads     `json:"reads"`
	Latency Latencies `json:"latency"`
	Faults  []Fault   `json:"faults"`
	// CommitsPerSecond is how many were acknowledged in a second on average.
	CommitsPerSecond float64 `json:"commits_per_second"`
	// History is the file that holds everything that is known of the run.
	History string `json:"history,omitempty"`
}

// Plan is what was asked for.
type Plan struct {
	Workload   string `json:"workload"`
	Writers    int    `json:"writers"`
	DurationMS int64  `json:"duration_ms"`
	EveryMS    int64  `json:"every_ms"`
	// Times is how often each fault strikes; 0 for as long as DurationMS.
	Times   int      `json:"times,omitempty"`
	Faults  []string `json:"faults"`
	Through []int    `json:"through,omitempty"`
	// Rate is how many commits a second all writers try together; 0 for as fast as they are acknowledged.
	Rate float64 `json:"rate,omitempty"`
	// Seed decides the order of the faults and the moments at which they strike.
	Seed int64 `json:"seed"`
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
	// PauseMS is the longest time without an acknowledged write from its beginning until commits went
	// on; PauseBeganMS is when it began.
	PauseMS      int64 `json:"pause_ms"`
	PauseBeganMS int64 `json:"pause_began_ms"`
	// What happened from its beginning until commits went on.
	Acknowledged int64 `json:"acknowledged"`
	Failed       int64 `json:"failed"`
	Unknown      int64 `json:"unknown"`
	Reconnects   int64 `json:"reconnects"`
	// Problem is why it could not strike, or could not be put back; empty when all went well.
	Problem string `json:"problem,omitempty"`
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

// Reads are those that looked for a row on the primary that was acknowledged before they began.
type Reads struct {
	Answered int64 `json:"answered"`
	// Without, of these, did not find the row.
	Without int64 `json:"without"`
	// Named are rows that were not found by a read, at most ten.
	Named []int64 `json:"named,omitempty"`
}
