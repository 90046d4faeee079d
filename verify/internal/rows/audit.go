package rows

import (
	"time"

	"stateful-postgres/verify/internal/ledger"
	"stateful-postgres/verify/internal/payload"
)

const (
	// Rows are compared by segments first, and by blocks within a segment that differs. Both
	// are powers of two, so that SQL finds them by shifting.
	segmentBits = 16
	segmentRows = 1 << segmentBits
	blockBits   = 8
	blockRows   = 1 << blockBits
	// With more differing blocks than this the whole segment is read at once.
	maximumBlocks = 16
	// Named is how many rows of a kind are named.
	Named = 10
)

// Kind is what is wrong with a row.
type Kind string

// The kinds of findings.
const (
	// Lost: acknowledged, or seen before, and not there.
	Lost Kind = "lost"
	// Altered: there, but with another content.
	Altered Kind = "altered"
	// Duplicated: there more than once.
	Duplicated Kind = "duplicated"
	// Phantom: there, although its transaction failed or nobody ever wrote it.
	Phantom Kind = "phantom"
	// Torn: the first row of a transaction that is there in part only.
	Torn Kind = "torn"
	// Unindexed: in the heap, and not found through the primary key.
	Unindexed Kind = "unindexed"
	// Dangling: found through the primary key, and not in the heap.
	Dangling Kind = "dangling"
)

// Kinds are all kinds, worst first.
var Kinds = []Kind{Lost, Altered, Duplicated, Phantom, Torn, Dangling, Unindexed}

// Finding is one row that is wrong.
type Finding struct {
	Kind Kind
	Run  int64
	Seq  int64
	// Status and At are what the ledger last entered about the row and when; Status is empty
	// when it never entered anything.
	Status ledger.Status
	At     time.Time
	// Found is the content in the table, cut to twice the length it should have.
	Found string
	// Expected is the content that the row should have; empty when it should not exist.
	Expected string
}

// Unrecorded are rows of a run that are in the table and not in the ledger.
type Unrecorded struct {
	Run  int64
	Rows int64
	// Ours says that the run is the ledger's own and the content right: the ledger has
	// forgotten them, as one does that was put back from a copy.
	Ours bool
}

// Audit is what comparing the table with the ledger yielded.
type Audit struct {
	// Rows is the number of rows in the table.
	Rows int64
	// Required is the number of rows that must be there, Intact how many of them are, unaltered.
	Required, Intact int64
	// Count holds the number of findings of each kind, Findings the first Named of each.
	Count    map[Kind]int64
	Findings []Finding
	// UndecidedPresent and UndecidedAbsent count the rows whose transaction had no known
	// outcome.
	UndecidedPresent, UndecidedAbsent int64
	// Seen are the undecided transactions that are there: from now on they must stay.
	Seen []SeenRows
	// Unrecorded is sorted by run.
	Unrecorded []Unrecorded
	// Withdrawn are rows that were never acknowledged and were seen once; they are not required any
	// more.
	Withdrawn []SeenRows
	// Total is the digest of the whole table.
	Total payload.Digest
	// Used is the first sequence number of the ledger's current run that no row has.
	Used int64
	// Computed are the digests of what was computed and found, for the next audit; nil when the
	// table as a whole was not as computed.
	Computed []ledger.RunDigest
	// IndexCompared says whether the rows of the heap and those of the primary key were
	// compared; Unindexed and Dangling rows are found by that only.
	IndexCompared bool
}

// SeenRows is a range of rows of one transaction.
type SeenRows struct{ Run, First, Rows int64 }

// Wrong is the number of findings of all kinds but those about the index.
func (a *Audit) Wrong() int64 {
	return a.Count[Lost] + a.Count[Altered] + a.Count[Duplicated] + a.Count[Phantom] + a.Count[Torn]
}

// WithdrawnRows is the number of rows that were withdrawn.
func (a *Audit) WithdrawnRows() int64 {
	var rows int64
	for _, withdrawn := range a.Withdrawn {
		rows += withdrawn.Rows
	}
	return rows
}

func (a *Audit) add(finding Finding) {
	a.Count[finding.Kind]++
	if a.Count[finding.Kind] <= Named {
		a.Findings = append(a.Findings, finding)
	}
}

// Of returns the named findings of a kind.
func (a *Audit) Of(kind Kind) []Finding {
	var findings []Finding
	for _, finding := range a.Findings {
		if finding.Kind == kind {
			findings = append(findings, finding)
		}
	}
	return findings
}
