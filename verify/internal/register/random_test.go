package register_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"stateful-postgres/verify/internal/register"
)

// world is a key whose value really changes at one moment an operation, seen by clients whose requests
// and answers take their time or get lost.
type world struct {
	random *rand.Rand
	// clients is how many there are at a time, lost how many of a hundred answers do not arrive.
	clients, lost int

	value, nextValue int64
	nextClient       int32
	key              int32
	operations       []register.Operation
}

// event is a moment in the life of an operation.
type event struct {
	at     int64
	number int
	effect bool
}

// run lets the clients do a number of operations, and returns them in the order of their calls.
func (w *world) run(total int) []register.Operation {
	w.operations = make([]register.Operation, 0, total)
	w.value = 0
	var events []event
	// free is when each client is free again.
	free, ids, seen := make([]int64, w.clients), make([]int32, w.clients), make([]int64, w.clients)
	for i := range ids {
		w.nextClient++
		ids[i] = w.nextClient
	}
	whose := make([]int, total)
	// Each round takes what comes next: a call of the client that is free first, or an effect.
	for called := 0; called < total || len(events) > 0; {
		client := 0
		for i := range free {
			if free[i] < free[client] {
				client = i
			}
		}
		next := slices.IndexFunc(events, func(e event) bool { return !slices.ContainsFunc(events, func(o event) bool { return o.at < e.at }) })
		if next >= 0 && (called == total || events[next].at < free[client]) {
			happens := events[next]
			events = slices.Delete(events, next, next+1)
			w.happen(&w.operations[happens.number], happens.effect, &seen[whose[happens.number]])
			continue
		}
		op := w.call(ids[client], seen[client], free[client])
		whose[called] = client
		delay := func(most int64) int64 { return w.random.Int64N(most) + 1 }
		effectAt := op.CallUS + delay(100)
		op.ReturnUS = effectAt + delay(100)
		effect := true
		switch chance := w.random.IntN(100); {
		case chance < w.lost:
			op.Outcome = register.Unknown
			// It never happens, or happens at any time, also when nobody waits any more.
			effect = w.random.IntN(3) > 0
			effectAt = op.CallUS + delay(1000)
			w.nextClient++
			ids[client] = w.nextClient
		case chance < w.lost+5:
			op.Outcome, effect = register.Failed, false
		}
		w.operations = append(w.operations, op)
		events = append(events, event{at: effectAt, number: called, effect: effect})
		free[client] = op.ReturnUS + delay(20)
		called++
	}
	return w.operations
}

func (w *world) call(client int32, seen, at int64) register.Operation {
	op := register.Operation{Client: client, Key: w.key, CallUS: at}
	switch w.random.IntN(5) {
	case 0, 1:
		op.Kind = register.Read
	case 2:
		op.Kind = register.Write
	default:
		op.Kind, op.Expected = register.Swap, seen
	}
	if op.Kind != register.Read {
		w.nextValue++
		op.Value = w.nextValue
	}
	return op
}

// happen is the moment at which an operation looks at the value and changes it.
func (w *world) happen(op *register.Operation, effect bool, seen *int64) {
	before := w.value
	switch op.Kind {
	case register.Read:
		op.Found = before
	case register.Write:
		if effect {
			w.value = op.Value
		}
	case register.Swap:
		// One that does not happen may have been about to.
		op.Took = before == op.Expected
		if effect && op.Took {
			w.value = op.Value
		}
	}
	if op.Outcome == register.Done {
		*seen = w.value
	}
}

func newWorld(seed uint64) *world {
	random := rand.New(rand.NewPCG(seed, 1))
	return &world{random: random, clients: 2 + random.IntN(8), lost: random.IntN(10)}
}

func TestWhatARealRegisterDoesIsLinearizable(t *testing.T) {
	t.Parallel()
	var unknown, refused, took int
	for seed := range uint64(400) {
		operations := newWorld(seed).run(150)
		result := register.Check(t.Context(), operations)
		if result.Verdict != register.Linearizable {
			require.Fail(t, "a linearizable history was not found so", "seed %d: %s\n%s%s", seed, result, result.Shortest(), format(operations))
		}
		unknown += result.Unknown
		for _, op := range operations {
			if op.Kind == register.Swap && op.Outcome == register.Done {
				if op.Took {
					took++
				} else {
					refused++
				}
			}
		}
	}
	require.Greater(t, unknown, 1000)
	require.Greater(t, refused, 1000)
	require.Greater(t, took, 1000)
}

// lies are ways to make of a history one that no order explains. Each returns false when there is
// nothing in the history that it could be done to.
var lies = map[string]func(random *rand.Rand, operations []register.Operation) bool{
	"a stale read": func(random *rand.Rand, operations []register.Operation) bool {
		return eachShuffled(random, operations, func(read *register.Operation) bool {
			if read.Kind != register.Read || read.Outcome != register.Done {
				return false
			}
			for _, newer := range operations {
				if !wrote(newer) || newer.ReturnUS >= read.CallUS {
					continue
				}
				for _, older := range operations {
					if wrote(older) && older.ReturnUS < newer.CallUS {
						read.Found = older.Value
						return true
					}
				}
			}
			return false
		})
	},
	"a read of nothing": func(random *rand.Rand, operations []register.Operation) bool {
		return eachShuffled(random, operations, func(read *register.Operation) bool {
			written := slices.ContainsFunc(operations, func(op register.Operation) bool { return wrote(op) && op.ReturnUS < read.CallUS })
			if read.Kind != register.Read || read.Outcome != register.Done || !written {
				return false
			}
			read.Found = 0
			return true
		})
	},
	"a read of what failed": func(random *rand.Rand, operations []register.Operation) bool {
		failed := slices.IndexFunc(operations, func(op register.Operation) bool { return op.Kind == register.Write && op.Outcome == register.Failed })
		return failed >= 0 && eachShuffled(random, operations, func(read *register.Operation) bool {
			if read.Kind != register.Read || read.Outcome != register.Done {
				return false
			}
			read.Found = operations[failed].Value
			return true
		})
	},
	"two swaps of one value": func(random *rand.Rand, operations []register.Operation) bool {
		return eachShuffled(random, operations, func(swap *register.Operation) bool {
			if swap.Kind != register.Swap || swap.Outcome != register.Done {
				return false
			}
			other := slices.IndexFunc(operations, func(op register.Operation) bool {
				return op.Kind == register.Swap && wrote(op) && op.Value != swap.Value
			})
			if other < 0 {
				return false
			}
			swap.Took, swap.Expected = true, operations[other].Expected
			return true
		})
	},
	"a write that was answered and is not there": func(random *rand.Rand, operations []register.Operation) bool {
		return eachShuffled(random, operations, func(write *register.Operation) bool {
			if write.Kind != register.Write || write.Outcome != register.Failed {
				return false
			}
			older := slices.IndexFunc(operations, func(op register.Operation) bool { return wrote(op) && op.ReturnUS < write.CallUS })
			later := slices.IndexFunc(operations, func(op register.Operation) bool {
				return op.Kind == register.Read && op.Outcome == register.Done && op.CallUS > write.ReturnUS
			})
			if older < 0 || later < 0 {
				return false
			}
			operations[later].Found = operations[older].Value
			write.Outcome = register.Done
			return true
		})
	},
}

func wrote(op register.Operation) bool {
	return op.Outcome == register.Done && (op.Kind == register.Write || op.Kind == register.Swap && op.Took)
}

// eachShuffled changes the first operation, in any order, that can be changed.
func eachShuffled(random *rand.Rand, operations []register.Operation, change func(*register.Operation) bool) bool {
	for _, i := range random.Perm(len(operations)) {
		if change(&operations[i]) {
			return true
		}
	}
	return false
}

func TestALieIsAlwaysFound(t *testing.T) {
	t.Parallel()
	for name, lie := range lies {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			told := 0
			for seed := range uint64(150) {
				w := newWorld(seed)
				operations := w.run(100)
				if !lie(w.random, operations) {
					continue
				}
				told++
				result := register.Check(t.Context(), operations)
				if result.Verdict != register.Violated {
					require.Fail(t, "a violation was not found", "seed %d: %s\n%s", seed, result, format(operations))
				}
				found := result.Shortest()
				if message := showsItself(found, operations); message != "" || len(found.Operations) > 8 {
					require.Fail(t, "the violation is not shown well", "seed %d: %s\n%s%s", seed, message, found, format(operations))
				}
			}
			require.Greater(t, told, 30)
		})
	}
}

// showsItself says what is wrong with what is shown of a violation; nothing when it is a part of the
// history, and no order explains it.
func showsItself(violation *register.Violation, history []register.Operation) string {
	for _, op := range violation.Operations {
		if !slices.Contains(history, op) {
			return fmt.Sprintf("%+v is not a part of the history", op)
		}
	}
	// What did not write a value that was seen is there for the reader.
	known := slices.Clone(violation.Operations)
	proveNothingAfter(violation.UntilUS, known)
	needed := slices.DeleteFunc(slices.Clone(known), func(op register.Operation) bool {
		return op.Kind != register.Read && (op.Outcome == register.Failed || op.Kind == register.Swap && !op.Took) &&
			slices.ContainsFunc(known, func(saw register.Operation) bool {
				return saw.Outcome == register.Done && (saw.Kind == register.Read && saw.Found == op.Value ||
					saw.Kind == register.Swap && saw.Took && saw.Expected == op.Value)
			})
	})
	if explains(needed) {
		return "an order explains it"
	}
	for i, op := range needed {
		if op.Kind == register.Read && !explains(slices.Delete(slices.Clone(needed), i, i+1)) {
			return fmt.Sprintf("%+v is not needed", op)
		}
	}
	return ""
}

// proveNothingAfter takes the answers away from what was called after a moment.
func proveNothingAfter(moment int64, operations []register.Operation) {
	for i := range operations {
		if op := &operations[i]; op.CallUS > moment && op.Outcome == register.Done {
			op.Outcome = register.Unknown
		}
	}
}

// explains says whether an order explains a short history, by trying all of them.
func explains(operations []register.Operation) bool {
	var try func(value int64, left []register.Operation) bool
	try = func(value int64, left []register.Operation) bool {
		if !slices.ContainsFunc(left, func(op register.Operation) bool { return op.Outcome == register.Done }) {
			return true
		}
		for i, op := range left {
			later := slices.ContainsFunc(left, func(other register.Operation) bool {
				return other.Outcome == register.Done && other.ReturnUS < op.CallUS
			})
			if later || op.Outcome == register.Failed {
				continue
			}
			next, ok := value, op.Outcome == register.Done
			switch {
			case op.Kind == register.Read:
				ok = ok && op.Found == value
			case op.Kind == register.Write:
				next, ok = op.Value, true
			case op.Took:
				next, ok = op.Value, op.Expected == value
			default:
				ok = ok && op.Expected != value
			}
			if ok && try(next, slices.Delete(slices.Clone(left), i, i+1)) {
				return true
			}
		}
		return false
	}
	return try(0, operations)
}

// short makes a history of a few operations in which anything may have come back.
func short(random *rand.Rand, unique bool) []register.Operation {
	operations := make([]register.Operation, 3+random.IntN(5))
	for i := range operations {
		op := &operations[i]
		op.Client = int32(i)
		op.CallUS = random.Int64N(30)
		op.ReturnUS = op.CallUS + random.Int64N(12)
		op.Kind = register.Kind(random.IntN(3))
		if random.IntN(3) == 0 {
			op.Outcome = register.Outcome(1 + random.IntN(2))
		}
		any := func() int64 { return random.Int64N(int64(len(operations))) }
		switch op.Kind {
		case register.Read:
			op.Found = any()
		case register.Write, register.Swap:
			op.Value = int64(i) + 1
			if !unique {
				op.Value = 1 + any()
			}
		}
		if op.Kind == register.Swap {
			op.Expected, op.Took = any(), random.IntN(2) == 0
			if unique || op.Expected == op.Value {
				// Who swaps has seen the value: it was written before.
				op.Expected = random.Int64N(op.Value)
			}
		}
	}
	return operations
}

func TestVerdictIsThatOfTryingAllOrders(t *testing.T) {
	t.Parallel()
	for _, unique := range []bool{true, false} {
		t.Run(fmt.Sprintf("unique values %t", unique), func(t *testing.T) {
			t.Parallel()
			count := map[register.Verdict]int{}
			for seed := range uint64(8000) {
				operations := short(rand.New(rand.NewPCG(seed, 2)), unique)
				expected := register.Violated
				if explains(operations) {
					expected = register.Linearizable
				}
				count[expected]++
				result := register.Check(t.Context(), operations)
				if expected != result.Verdict {
					require.Equal(t, expected, result.Verdict, "seed %d:\n%s", seed, format(operations))
				}
				if expected == register.Linearizable || !unique {
					continue
				}
				found := result.Shortest()
				if message := showsItself(found, operations); message != "" {
					require.Fail(t, "the violation is not shown well", "seed %d: %s\n%s\n%s", seed, message, found, format(operations))
				}
			}
			require.Greater(t, count[register.Linearizable], 1000)
			require.Greater(t, count[register.Violated], 1000)
		})
	}
}

// leastShown is how many operations the shortest honest part of a history has that no order explains:
// one that holds whatever wrote the values that it saw or expected. Parts with refused swaps are left out.
func leastShown(operations []register.Operation) int {
	least := math.MaxInt
	for chosen := range 1 << len(operations) {
		var part []register.Operation
		honest := true
		for i, op := range operations {
			if chosen&(1<<i) != 0 {
				part = append(part, op)
				honest = honest && op.Outcome != register.Failed && (op.Kind != register.Swap || op.Took)
			}
		}
		for i, op := range operations {
			needed := slices.ContainsFunc(part, func(saw register.Operation) bool {
				return op.Kind != register.Read && op.Outcome != register.Failed && (op.Kind != register.Swap || op.Took) &&
					(saw.Kind == register.Read && saw.Outcome == register.Done && saw.Found == op.Value || saw.Kind == register.Swap && saw.Expected == op.Value)
			})
			honest = honest && (!needed || chosen&(1<<i) != 0)
		}
		if honest && len(part) < least && !explains(part) {
			least = len(part)
		}
	}
	return least
}

func TestWhatIsShownIsAsShortAsCanBe(t *testing.T) {
	t.Parallel()
	compared, longer := 0, 0
	for seed := range uint64(4000) {
		operations := short(rand.New(rand.NewPCG(seed, 3)), true)
		result := register.Check(t.Context(), operations)
		if result.Verdict != register.Violated {
			continue
		}
		found := result.Shortest()
		// What happened after the first violation proves nothing.
		operations = slices.DeleteFunc(operations, func(op register.Operation) bool {
			return (op.CallUS > found.UntilUS || op.ReturnUS > found.UntilUS) && op.Kind == register.Read
		})
		proveNothingAfter(found.UntilUS, operations)
		least := leastShown(operations)
		if least == math.MaxInt {
			continue
		}
		compared++
		// Nor is what did not write a value that was seen.
		shown := 0
		for _, op := range found.Operations {
			if op.Outcome != register.Failed && (op.Kind != register.Swap || op.Took) {
				shown++
			}
		}
		if shown > least {
			longer++
			t.Logf("seed %d: %d instead of %d\n%s\n%s", seed, shown, least, found, format(operations))
		}
	}
	require.Greater(t, compared, 500)
	// Leaving out one after the other may end before a still shorter one, of which there are many here.
	require.Less(t, longer*500, compared)
}
