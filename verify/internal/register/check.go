package register

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"stateful-postgres/verify/internal/report"
)

// Verdict is what a check says about a history. The zero value is none: nobody has looked.
type Verdict uint8

// The verdicts.
const (
	// Linearizable: there is an order of the operations that explains what came back.
	Linearizable Verdict = iota + 1
	// Undecided: the time or the memory for the check ran out.
	Undecided
	// Violated: there is no such order.
	Violated
)

var verdicts = []string{"none", Linearizable: "linearizable", Undecided: "undecided", Violated: "violated"}

func (v Verdict) String() string { return name(verdicts, uint8(v)) }

// MarshalText writes the verdict by its name.
func (v Verdict) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// UnmarshalText reads the verdict by its name.
func (v *Verdict) UnmarshalText(text []byte) error {
	return parse(verdicts, (*uint8)(v), "verdict", text)
}

// shortened is of how many violated keys the shortest history is looked for.
const shortened = 10

// Result is what a check found.
type Result struct {
	// Verdict is the worst one of a key. A history without an operation is linearizable.
	Verdict Verdict `json:"verdict"`
	// Operations is how many were looked at, Done and Unknown how many of them had that outcome.
	Operations int `json:"operations"`
	Done       int `json:"done"`
	Unknown    int `json:"unknown"`
	// Keys are in the order of their numbers.
	Keys []KeyResult `json:"keys"`
}

// KeyResult is what a check found of one key.
type KeyResult struct {
	Key        int32   `json:"key"`
	Operations int     `json:"operations"`
	Verdict    Verdict `json:"verdict"`
	// Violation shows why the key is violated; nil when it is not, or when enough others show it.
	Violation *Violation `json:"violation,omitempty"`
}

// Check says whether a history is linearizable. Each key is a history of its own. When ctx ends, what
// was not decided by then stays undecided, and what was not shortened stays long.
func Check(ctx context.Context, operations []Operation) *Result {
	result := &Result{Verdict: Linearizable, Operations: len(operations)}
	for i := range operations {
		switch operations[i].Outcome {
		case Done:
			result.Done++
		case Unknown:
			result.Unknown++
		}
	}
	histories := byKey(operations)
	result.Keys = make([]KeyResult, len(histories))
	var next atomic.Int64
	var workers sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(histories)) {
		workers.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(histories)); i = next.Add(1) - 1 {
				history := histories[i]
				result.Keys[i] = KeyResult{Key: history[0].Key, Operations: len(history), Verdict: decide(ctx, steps(history))}
			}
		})
	}
	workers.Wait()
	left := shortened
	for i := range result.Keys {
		key := &result.Keys[i]
		result.Verdict = max(result.Verdict, key.Verdict)
		if key.Verdict == Violated && left > 0 {
			key.Violation = shorten(ctx, histories[i])
			left--
		}
	}
	return result
}

// Shortest is the shortest of the violations that were found; nil when there is none.
func (r *Result) Shortest() *Violation {
	var shortest *Violation
	for i := range r.Keys {
		if found := r.Keys[i].Violation; found != nil && (shortest == nil || len(found.Operations) < len(shortest.Operations)) {
			shortest = found
		}
	}
	return shortest
}

// Count is how many keys have a verdict.
func (r *Result) Count(verdict Verdict) int {
	count := 0
	for i := range r.Keys {
		if r.Keys[i].Verdict == verdict {
			count++
		}
	}
	return count
}

// String says in one sentence what was found.
func (r *Result) String() string {
	looked := fmt.Sprintf("%s on %s", report.Plural(int64(r.Operations), "operation"), report.Plural(int64(len(r.Keys)), "key"))
	switch r.Verdict {
	case Linearizable:
		return looked + ": what came back is explained by one value a key that changes at one moment"
	case Undecided:
		return fmt.Sprintf("%s: not decided for %s", looked, report.Plural(int64(r.Count(Undecided)), "key"))
	default:
		return fmt.Sprintf("%s: not linearizable on %s", looked, report.Plural(int64(r.Count(Violated)), "key"))
	}
}

// byKey returns the histories of the keys, each in the order of its calls.
func byKey(operations []Operation) [][]Operation {
	sorted := slices.Clone(operations)
	slices.SortStableFunc(sorted, func(a, b Operation) int {
		return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.CallUS, b.CallUS), cmp.Compare(a.ReturnUS, b.ReturnUS))
	})
	var histories [][]Operation
	for len(sorted) > 0 {
		end := 1
		for end < len(sorted) && sorted[end].Key == sorted[0].Key {
			end++
		}
		histories = append(histories, sorted[:end:end])
		sorted = sorted[end:]
	}
	return histories
}

// never is the return of what may still happen.
const never = math.MaxInt64

// step is an operation of one key as the search sees it.
type step struct {
	op *Operation
	// end is the last moment at which it may have happened; never when there is none.
	end int64
	// open says that it has no answer, or none yet; maybe that it need not have happened at all.
	open, maybe bool
}

// steps are the operations that have to be explained. One that failed has no effect; nor has a read or
// a swap that found another value, so that without an answer to its commit there is nothing to explain.
func steps(history []Operation) []step {
	all := make([]step, 0, len(history))
	for i := range history {
		op := &history[i]
		if op.Outcome == Failed || op.Outcome == Unknown && !op.changes() {
			continue
		}
		s := step{op: op, end: max(op.CallUS, op.ReturnUS)}
		if op.Outcome == Unknown {
			s.leaveOpen()
		}
		all = append(all, s)
	}
	return all
}

// leaveOpen takes the answer away.
func (s *step) leaveOpen() { s.end, s.open, s.maybe = never, true, true }

// observes returns the value that the step proves the key to have had, if it proves one.
func (s *step) observes() (int64, bool) {
	switch {
	case s.maybe:
		return 0, false
	case s.op.Kind == Read:
		return s.op.Found, true
	default:
		return s.op.Expected, s.op.Kind == Swap && s.op.Took
	}
}

// leaves returns the value that the key surely had once the step was done, if that is known.
func (s *step) leaves() (int64, bool) {
	if s.op.Kind == Read {
		return s.op.Found, true
	}
	return s.op.Value, s.op.changes() && !s.maybe
}

// refused says that the step is a swap that found another value than it expected.
func (s *step) refused() bool { return s.op.Kind == Swap && !s.op.Took }

// writers are the steps that write a value, or may do so. No run writes one twice; what follows from that
// is not concluded for a value that has several all the same.
type writers map[int64][]*step

func writersOf(all []step) writers {
	of := writers{}
	for i := range all {
		if s := &all[i]; s.op.changes() {
			of[s.op.Value] = append(of[s.op.Value], s)
		}
	}
	return of
}

// once says whether the key has a value for one stretch of time at most.
func (w writers) once(value int64) bool {
	return len(w[value]) == 1 && value != 0 || len(w[value]) == 0
}

// seen returns the values that the key is proven to have had, each with the moment at which the first
// who saw it was answered.
func seen(all []step) map[int64]int64 {
	by := map[int64]int64{}
	for i := range all {
		if value, observed := all[i].observes(); observed {
			if first, known := by[value]; !known || all[i].end < first {
				by[value] = all[i].end
			}
		}
	}
	return by
}

// settle concludes what became of operations: whose value was seen has happened, and before whoever saw
// it was answered.
func settle(all []step) []step {
	all = slices.Clone(all)
	writers := writersOf(all)
	for changed := true; changed; {
		changed = false
		seenBy := seen(all)
		for i := range all {
			s := &all[i]
			by, found := seenBy[s.op.Value]
			if !found || !s.op.changes() || !writers.once(s.op.Value) {
				continue
			}
			// Who sees it before it was called is found by the search.
			if end := max(by, s.op.CallUS); s.maybe || end < s.end {
				s.end, s.maybe, changed = end, false, true
			}
		}
	}
	return all
}

// withoutExplained leaves out the swaps that found another value where there surely was one: because the
// expected value was not written yet when they were called, or no longer there when they were answered.
// Such a swap fits into every order of the others.
func withoutExplained(all []step) []step {
	writers := writersOf(all)
	left := make([]step, 0, len(all))
	for i := range all {
		if !all[i].refused() || !explained(all, i, writers) {
			left = append(left, all[i])
		}
	}
	return left
}

func explained(all []step, at int, writers writers) bool {
	swap := &all[at]
	expected := swap.op.Expected
	if !writers.once(expected) {
		return false
	}
	// The value is there from the beginning, or not before from.
	written, from := int64(-1), int64(-1)
	if expected != 0 {
		if len(writers[expected]) == 0 {
			return true
		}
		written, from = writers[expected][0].end, writers[expected][0].op.CallUS
	}
	if from > swap.op.CallUS {
		return true
	}
	over := func(s *step) bool {
		value, known := s.leaves()
		if !known || value == expected || s.end > swap.end {
			return false
		}
		within := s.op.CallUS >= swap.op.CallUS
		replaced, observed := s.observes()
		return within || s.op.CallUS > written || s.op.Kind == Swap && observed && replaced == expected
	}
	// What is near in time is the most likely.
	for i := at - 1; i >= 0; i-- {
		if over(&all[i]) {
			return true
		}
	}
	for i := at + 1; i < len(all); i++ {
		if over(&all[i]) {
			return true
		}
	}
	return false
}

// decide looks for an order of the steps. What doubles the orders to go through is left out at first: a
// write that nobody saw explains nothing but a swap that found another value, so that what is violated
// without both is so with them, too.
func decide(ctx context.Context, all []step) Verdict {
	all = withoutExplained(settle(all))
	wanted := wanted(all)
	unseen := func(s step) bool { return s.op.changes() && !wanted[s.op.Value] }
	// What may not have happened, and nobody saw, need not have.
	sure := slices.DeleteFunc(slices.Clone(all), func(s step) bool { return s.refused() || s.maybe && unseen(s) })
	found := slices.DeleteFunc(slices.Clone(sure), unseen)
	if len(found) < len(sure) && search(ctx, found) == Violated {
		return Violated
	}
	verdict := search(ctx, sure)
	if verdict != Violated && slices.ContainsFunc(all, func(s step) bool { return s.refused() }) {
		return search(ctx, all)
	}
	return verdict
}

// wanted are the values that somebody saw, or that a swap expects of which somebody may have seen the value.
func wanted(all []step) map[int64]bool {
	values := map[int64]bool{}
	for value := range seen(all) {
		values[value] = true
	}
	for changed := true; changed; {
		changed = false
		for i := range all {
			if s := &all[i]; s.maybe && s.op.Kind == Swap && values[s.op.Value] && !values[s.op.Expected] {
				values[s.op.Expected], changed = true, true
			}
		}
	}
	return values
}
