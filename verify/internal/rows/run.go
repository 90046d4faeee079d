package rows

import (
	"stateful-postgres/verify/internal/ledger"
	"stateful-postgres/verify/internal/payload"
)

// runAuditor compares the rows of one run. It is told about every sequence number once: as part
// of a range that is as expected, as present, or as absent.
type runAuditor struct {
	audit  *Audit
	run    *ledger.Run
	source payload.Source
	// presentOf is how many rows are there of each undecided transaction, by its first row.
	presentOf map[int64]int64
	// unrecorded is how many rows are there without the ledger knowing, that need not be wrong:
	// they have the right content, or the run is somebody else's and was adopted in part.
	unrecorded int64
	// used is a sequence number that no row of the table reaches.
	used int64
	// withdrawable says that rows may be missing that were seen and never acknowledged.
	withdrawable bool
}

func newRunAuditor(audit *Audit, run *ledger.Run) *runAuditor {
	return &runAuditor{
		audit:     audit,
		run:       run,
		source:    payload.NewSource(run.Seed, run.ID),
		presentOf: map[int64]int64{},
	}
}

func (r *runAuditor) expect(first, end int64) expectation {
	return expect(r.run, r.source, first, end)
}

// matches says whether a range holds exactly its required rows, and of the undecided ones all
// or none.
func (r *runAuditor) matches(found payload.Digest, expected expectation) bool {
	return found == expected.required || found == expected.everything()
}

// accept takes a range for what its digest says. It returns false, and does nothing, when the
// rows have to be looked at.
func (r *runAuditor) accept(first, end int64, found payload.Digest, expected expectation) bool {
	if !r.matches(found, expected) {
		return false
	}
	r.audit.Intact += expected.required.Rows
	if found == expected.required {
		return true
	}
	r.run.Within(first, end, func(span ledger.Span) {
		if span.Status == ledger.Undecided {
			r.eachUnit(span, func(unit, rows int64) { r.presentOf[unit] += rows })
		}
	})
	return true
}

// eachUnit calls yield for every transaction that has rows in a part of an undecided span, with
// the transaction's first row and the number of its rows in that part.
func (r *runAuditor) eachUnit(part ledger.Span, yield func(unit, rows int64)) {
	whole, _ := r.run.At(part.First)
	for seq := part.First; seq < part.End(); {
		unit := whole.First + (seq-whole.First)/whole.Unit*whole.Unit
		end := min(unit+whole.Unit, part.End())
		yield(unit, end-seq)
		seq = end
	}
}

// present takes one row that is there.
func (r *runAuditor) present(seq int64, text string) {
	r.used = max(r.used, seq+1)
	span, known := r.run.At(seq)
	expected := r.source.Text(seq)
	finding := Finding{Run: r.run.ID, Seq: seq, Status: span.Status, At: span.At, Found: text}
	switch {
	case !known && (text == expected || r.run.Adopted):
		r.unrecorded++
		return
	case !known, span.Status == ledger.Failed:
		finding.Kind = Phantom
		r.audit.add(finding)
		return
	case span.Status == ledger.Undecided:
		r.eachUnit(ledger.Span{First: seq, Rows: 1}, func(unit, rows int64) { r.presentOf[unit] += rows })
	case text == expected:
		r.audit.Intact++
	}
	if text != expected {
		finding.Kind, finding.Expected = Altered, expected
		r.audit.add(finding)
	}
}

// duplicated takes a row that is there once more.
func (r *runAuditor) duplicated(seq int64, text string) {
	span, _ := r.run.At(seq)
	r.audit.add(Finding{Kind: Duplicated, Run: r.run.ID, Seq: seq, Status: span.Status, At: span.At, Found: text, Expected: r.source.Text(seq)})
}

// absent takes a range of which no row is there.
func (r *runAuditor) absent(first, end int64) {
	r.run.Within(first, end, func(span ledger.Span) {
		if !span.Status.Required() {
			return
		}
		if span.Status == ledger.Seen && r.withdrawable {
			r.audit.Required -= span.Rows
			r.audit.Withdrawn = append(r.audit.Withdrawn, SeenRows{Run: r.run.ID, First: span.First, Rows: span.Rows})
			return
		}
		named := max(0, min(span.Rows, Named-r.audit.Count[Lost]))
		for seq := span.First; seq < span.First+named; seq++ {
			r.audit.add(Finding{Kind: Lost, Run: r.run.ID, Seq: seq, Status: span.Status, At: span.At, Expected: r.source.Text(seq)})
		}
		if unnamed := span.Rows - named; unnamed > 0 {
			r.audit.Count[Lost] += unnamed
		}
	})
}

// settle decides about the undecided transactions, once every row was looked at.
func (r *runAuditor) settle() {
	for _, span := range r.run.Spans {
		if span.Status != ledger.Undecided {
			continue
		}
		r.eachUnit(span, func(unit, rows int64) {
			present := r.presentOf[unit]
			r.audit.UndecidedPresent += present
			r.audit.UndecidedAbsent += rows - present
			switch present {
			case 0:
			case rows:
				r.audit.Seen = append(r.audit.Seen, SeenRows{Run: r.run.ID, First: unit, Rows: rows})
			default:
				r.audit.add(Finding{Kind: Torn, Run: r.run.ID, Seq: unit, Status: span.Status, At: span.At})
			}
		})
	}
	if r.unrecorded > 0 {
		r.audit.Unrecorded = append(r.audit.Unrecorded, Unrecorded{Run: r.run.ID, Rows: r.unrecorded, Ours: !r.run.Adopted})
	}
}
