package rows

import (
	"context"

	"stateful-postgres/verify/internal/ledger"
	"stateful-postgres/verify/internal/payload"
)

// expectation is what the ledger lets one expect of a range of rows.
type expectation struct {
	// required is the digest of the rows that must be there, optional that of the undecided.
	required, optional payload.Digest
}

func expect(run *ledger.Run, source payload.Source, first, end int64) expectation {
	var expected expectation
	run.Within(first, end, func(span ledger.Span) {
		if span.Status.Required() {
			expected.required.Merge(source.Digest(span.First, span.Rows))
		} else if span.Status == ledger.Undecided {
			expected.optional.Merge(source.Digest(span.First, span.Rows))
		}
	})
	return expected
}

func (e *expectation) merge(other expectation) {
	e.required.Merge(other.required)
	e.optional.Merge(other.optional)
}

// everything is the digest with all optional rows present.
func (e expectation) everything() payload.Digest {
	all := e.required
	all.Merge(e.optional)
	return all
}

// runExpectation is what the ledger lets one expect of a run.
type runExpectation struct {
	expectation
	// begin is the digest of the rows from the first on that all must be there.
	begin payload.Digest
}

// expectRuns computes what every run should be. The first rows of a run need no computing when an
// earlier audit did it: their digest is in the ledger. Were it wrong, the rows would seem to differ
// and be computed anew.
func (c *comparison) expectRuns(ctx context.Context) map[int64]runExpectation {
	expected := map[int64]runExpectation{}
	for _, run := range c.state.Runs {
		auditor, begin := c.runs[run.ID], run.RequiredFromStart()
		part := runExpectation{begin: remembered(c.state, run.ID, begin)}
		for first := part.begin.Rows; first < begin && ctx.Err() == nil; first += segmentRows {
			part.begin.Merge(auditor.expect(first, min(first+segmentRows, begin)).required)
		}
		part.required = part.begin
		for first := begin; first < run.Next() && ctx.Err() == nil; first += segmentRows {
			part.merge(auditor.expect(first, first+segmentRows))
		}
		expected[run.ID] = part
	}
	return expected
}

// remembered is the digest of the first rows of a run, at most limit of them, that the ledger holds.
func remembered(state *ledger.State, run, limit int64) payload.Digest {
	for _, known := range state.Sighting.Digests {
		if known.Run != run || known.Rows > limit {
			continue
		}
		if digest, err := payload.ParseDigest(known.Rows, known.Sum); err == nil {
			return digest
		}
	}
	return payload.Digest{}
}

// expectSegments computes what every segment should be, while the server is busy with its pass.
func (c *comparison) expectSegments(ctx context.Context) map[segmentKey]expectation {
	expected := map[segmentKey]expectation{}
	for _, run := range c.state.Runs {
		for first := int64(0); first < run.Next() && ctx.Err() == nil; first += segmentRows {
			expected[segmentKey{run.ID, first >> segmentBits}] = c.runs[run.ID].expect(first, first+segmentRows)
		}
	}
	return expected
}
