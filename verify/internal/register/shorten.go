package register

import (
	"context"
	"slices"
	"sort"
)

// Violation shows why a key's history is not linearizable.
type Violation struct {
	Key int32 `json:"key"`
	// Operations are as few as show it, in the order of their calls, and what failed to write a value
	// that was seen all the same. Whatever else happened to the key cannot explain them.
	Operations []Operation `json:"operations"`
	// UntilUS is the first moment at which the history was violated.
	UntilUS int64 `json:"until_us"`
	// Sentence says what is wrong with them.
	Sentence string `json:"sentence"`
}

// shorten looks for the shortest part of a violated history that shows it. When ctx ends, what is left
// is longer.
func shorten(ctx context.Context, history []Operation) *Violation {
	all := steps(history)
	violated := func(part []step) bool { return decide(ctx, part) == Violated }

	// Once violated, a history stays so. When the search runs out of time or memory on the way, this may
	// lead past the first moment, at most to the end.
	moments := answers(all)
	first := sort.Search(len(moments)-1, func(i int) bool { return violated(until(all, moments[i])) })
	violation := &Violation{Key: history[0].Key, UntilUS: moments[first]}
	part := afterwards(all, violation.UntilUS)
	// What goes first decides what stays.
	var shortest []step
	for _, changingFirst := range []bool{false, true} {
		for range 2 {
			if found := reduce(ctx, part, changingFirst, violated); shortest == nil || len(found) < len(shortest) {
				shortest = found
			}
			part = slices.Clone(part)
			slices.Reverse(part)
		}
	}
	violation.Operations = withFailed(shortest, history)
	violation.Sentence = explain(violation.Operations)
	return violation
}

// answers returns the moments at which an operation was answered, in their order.
func answers(all []step) []int64 {
	var ends []int64
	for i := range all {
		if !all[i].open {
			ends = append(ends, all[i].end)
		}
	}
	slices.Sort(ends)
	return slices.Compact(ends)
}

// until returns what a history was at a moment: what was called later is not there yet, and what was
// answered later may still happen or not. That leaves a read or a refused swap without a meaning.
func until(all []step, moment int64) []step {
	var part []step
	for _, s := range all {
		if s.end > moment {
			if s.op.CallUS > moment || !s.op.changes() {
				continue
			}
			s.leaveOpen()
		}
		part = append(part, s)
	}
	return part
}

// afterwards returns what is known later of a history until a moment: what was called by then has its
// answer, and what came after may have changed the value, but proves nothing.
func afterwards(all []step, moment int64) []step {
	var part []step
	for _, s := range all {
		if s.end > moment && !s.op.changes() {
			continue
		}
		if s.op.CallUS > moment {
			s.leaveOpen()
		}
		part = append(part, s)
	}
	return part
}

// reduce leaves steps out as long as the others are violated, and none of those can be what explains
// them: until each one that is left is needed.
func reduce(ctx context.Context, part []step, changingFirst bool, violated func([]step) bool) []step {
	for _, changing := range []bool{changingFirst, !changingFirst} {
		for size := max(1, len(part)/2); size > 0; size /= 2 {
			part, _ = leaveOut(ctx, part, size, violated, func(s step) bool { return s.op.changes() == changing })
		}
	}
	for again := true; again && ctx.Err() == nil; {
		part, again = leaveOut(ctx, part, 1, violated, func(step) bool { return true })
	}
	return part
}

// leaveOut goes once over the steps and leaves out as many as size together where the rest stays
// violated. It returns whether there were any.
func leaveOut(ctx context.Context, part []step, size int, violated func([]step) bool, candidate func(step) bool) (rest []step, any bool) {
	for at := 0; at < len(part) && ctx.Err() == nil; {
		rest := slices.Clone(part[:at])
		taken, next := 0, at
		for ; next < len(part) && taken < size; next++ {
			if candidate(part[next]) && dispensable(part[next], rest, part[next+1:]) {
				taken++
			} else {
				rest = append(rest, part[next])
			}
		}
		kept := len(rest)
		rest = append(rest, part[next:]...)
		if taken > 0 && violated(rest) {
			part, at, any = rest, kept, true
		} else {
			at = next
		}
	}
	return part, any
}

// dispensable says whether a step may be left out of a history without the others becoming wrong for that
// reason alone. A write is not when somebody saw its value or expected it, nor when it may be what made a
// swap find another value than it expected.
func dispensable(s step, others ...[]step) bool {
	if !s.op.changes() {
		return true
	}
	for _, part := range others {
		for i := range part {
			other := &part[i]
			value, observed := other.observes()
			switch {
			case observed && value == s.op.Value, other.op.Kind == Swap && other.op.Expected == s.op.Value:
				return false
			case other.refused() && other.end >= s.op.CallUS && !before(s, other.op.Expected, others):
				return false
			}
		}
	}
	return true
}

// before says whether a step was over before anybody began to write a value.
func before(s step, value int64, others [][]step) bool {
	if value == 0 {
		return false
	}
	for _, part := range others {
		for i := range part {
			if op := part[i].op; op.changes() && op.Value == value && op.CallUS <= s.end {
				return false
			}
		}
	}
	return true
}

// withFailed returns the operations of steps in the order of their calls, together with those that surely
// did not write a value that was seen.
func withFailed(part []step, history []Operation) []Operation {
	unwritten := map[int64]bool{}
	for i := range part {
		if value, observed := part[i].observes(); observed {
			unwritten[value] = true
		}
	}
	shown := map[*Operation]bool{}
	for i := range part {
		shown[part[i].op] = true
		if part[i].op.changes() {
			delete(unwritten, part[i].op.Value)
		}
	}
	var operations []Operation
	for i := range history {
		op := &history[i]
		if shown[op] || op.Kind != Read && !op.changes() && unwritten[op.Value] {
			operations = append(operations, *op)
		}
	}
	return operations
}
