package register

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/anishathalye/porcupine"
)

// searchMemory is what the search for an order of one key's operations may remember, in bytes.
const searchMemory = 256 << 20

// state is a key's value in the search, and how many operations are left that saw it. Nobody gives a key
// another value before, when the value does not come again: that spares the search what leads nowhere.
type state struct {
	value int64
	left  int
}

// move is a step with the states that it needs and leaves behind. They are made once, not at each attempt.
type move struct {
	*step
	before, after any
}

// search looks for an order of the steps, with porcupine.
func search(ctx context.Context, all []step) Verdict {
	searching := newSearch(ctx, len(all))
	moves, start := lookAhead(all)
	switch {
	case porcupine.CheckOperations(searching.model(start), asHistory(moves)):
		return Linearizable
	case searching.stopped:
		return Undecided
	default:
		return Violated
	}
}

// plain are the moves of steps, and the state before them, for who wants to see also what leads nowhere.
func plain(all []step) ([]move, state) {
	moves := make([]move, len(all))
	for i := range all {
		s := &all[i]
		moves[i] = move{step: s, before: state{value: s.op.Expected}, after: state{value: s.op.Value}}
		if s.op.Kind == Read {
			moves[i].before, moves[i].after = state{value: s.op.Found}, state{value: s.op.Found}
		}
	}
	return moves, state{}
}

// lookAhead are the moves of steps, and the state before them. Those who saw one value come in the order
// of their calls, which fits when any order does, and a swap of it comes last.
func lookAhead(all []step) ([]move, state) {
	moves, start := plain(all)
	writers := writersOf(all)
	seenBy := map[int64][]*move{}
	for i := range moves {
		if value, observed := moves[i].observes(); observed && writers.once(value) {
			seenBy[value] = append(seenBy[value], &moves[i])
		}
	}
	start.left = len(seenBy[0])
	for i := range moves {
		if m := &moves[i]; m.op.changes() {
			m.after = state{value: m.op.Value, left: len(seenBy[m.op.Value])}
		}
	}
	for value, who := range seenBy {
		slices.SortStableFunc(who, func(a, b *move) int {
			return cmp.Or(cmp.Compare(a.op.Kind, b.op.Kind), cmp.Compare(a.op.CallUS, b.op.CallUS))
		})
		for i, m := range who {
			m.before = state{value: value, left: len(who) - i}
			if m.op.Kind == Read {
				m.after = state{value: value, left: len(who) - i - 1}
			}
		}
	}
	return moves, start
}

// asHistory writes moves as porcupine takes them.
func asHistory(moves []move) []porcupine.Operation {
	history := make([]porcupine.Operation, len(moves))
	for i := range moves {
		history[i] = porcupine.Operation{Input: &moves[i], Call: moves[i].op.CallUS, Return: moves[i].end}
	}
	return history
}

// next says whether a move is possible in a state, and what state it leads to.
func next(before, input, _ any) (bool, any) {
	m := input.(*move)
	switch {
	case m.op.Kind == Read:
		return before == m.before, m.after
	case m.op.Kind == Write:
		return before.(state).left == 0, m.after
	case m.refused():
		return before.(state).value != m.op.Expected, before
	case !m.maybe:
		return before == m.before, m.after
	case before == state{value: m.op.Expected}:
		return true, m.after
	default:
		// What may not have happened is nothing here, or anything later.
		return true, before
	}
}

// searching is one search, which ends when ctx does, or when it has remembered too much.
type searching struct {
	ctx context.Context
	// left is how many states it may still remember. For each of them porcupine keeps a bit an operation
	// and about a hundred bytes.
	left    int
	stopped bool
}

func newSearch(ctx context.Context, operations int) *searching {
	return &searching{ctx: ctx, left: searchMemory / (operations/8 + 100)}
}

// model is a key's value, which begins with start. porcupine has a limit of time alone; a search that was
// stopped finds nothing possible any more, and so comes to its end.
func (s *searching) model(start state) porcupine.Model {
	model := register
	model.Init = func() any { return start }
	model.Step = func(before, input, output any) (bool, any) {
		if s.stopped {
			return false, before
		}
		possible, after := next(before, input, output)
		if possible {
			s.left--
			s.stopped = s.left <= 0 || s.left%256 == 0 && s.ctx.Err() != nil
		}
		return possible, after
	}
	return model
}

// register is the model of a key's value, with plain moves.
var register = porcupine.Model{
	Init: func() any { return state{} },
	Step: next,
	Hash: func(at any) uint64 {
		s := at.(state)
		return uint64(s.value)*0x9e3779b97f4a7c15 + uint64(s.left)
	},
	DescribeOperation: func(input, _ any) string {
		op := input.(*move).op
		return fmt.Sprintf("client %d: %s: %s", op.Client, op.what(), op.result())
	},
	DescribeState: func(at any) string { return value(at.(state).value) },
}
