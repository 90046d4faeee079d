// Package register reads and exchanges the values of a few keys from several clients at once, and says
// whether everything that came back can be explained by one value a key that changes at one moment an
// operation: whether the history is linearizable. A client that saw a value never sees an older one then.
package register

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
)

// Kind is what an operation does.
type Kind uint8

// The kinds.
const (
	// Read reads the value of a key.
	Read Kind = iota
	// Write gives a key a new value, whatever it had before.
	Write
	// Swap gives a key a new value if it has an expected one.
	Swap
)

var kinds = []string{Read: "read", Write: "write", Swap: "swap"}

// Outcome is what is known of an operation once it is over.
type Outcome uint8

// The outcomes.
const (
	// Done: the server said that its transaction is committed.
	Done Outcome = iota
	// Failed: it did not happen and never will.
	Failed
	// Unknown: it may have happened, at any time after its call, or not at all.
	Unknown
)

var outcomes = []string{Done: "done", Failed: "failed", Unknown: "unknown"}

// Operation is what one client did to one key, in a transaction of its own. It takes 56 bytes of memory.
type Operation struct {
	// Client is who did it. One whose operation has no known outcome goes on under another number.
	Client  int32   `json:"client"`
	Key     int32   `json:"key"`
	Kind    Kind    `json:"kind"`
	Outcome Outcome `json:"outcome"`
	// Took says of a swap that the key had the expected value, which the server says before the commit.
	Took bool `json:"took,omitempty"`
	// Expected is what a swap expects, Value what it or a write gives the key, Found what a read found.
	// 0 is a key without a value.
	Expected int64 `json:"expected,omitempty"`
	Value    int64 `json:"value,omitempty"`
	Found    int64 `json:"found,omitempty"`
	// CallUS and ReturnUS are microseconds since the run began, on a clock that is never set.
	CallUS   int64 `json:"call_us"`
	ReturnUS int64 `json:"return_us"`
}

// changes says whether the operation gave its key a value, or may have done so.
func (o *Operation) changes() bool {
	return o.Outcome != Failed && (o.Kind == Write || o.Kind == Swap && o.Took)
}

func (k Kind) String() string { return name(kinds, uint8(k)) }

// MarshalText writes the kind by its name.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads the kind by its name.
func (k *Kind) UnmarshalText(text []byte) error {
	return parse(kinds, (*uint8)(k), "kind of operation", text)
}

func (o Outcome) String() string { return name(outcomes, uint8(o)) }

// MarshalText writes the outcome by its name.
func (o Outcome) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// UnmarshalText reads the outcome by its name.
func (o *Outcome) UnmarshalText(text []byte) error {
	return parse(outcomes, (*uint8)(o), "outcome", text)
}

func name(names []string, number uint8) string {
	if int(number) < len(names) {
		return names[number]
	}
	return fmt.Sprintf("number %d", number)
}

func parse(names []string, number *uint8, what string, text []byte) error {
	for i, name := range names {
		if name == string(text) {
			*number = uint8(i)
			return nil
		}
	}
	return fmt.Errorf("%s %q is none of %q", what, text, names)
}

// columns are operations as they are kept: what is alike stands together, and times are differences, so
// that they compress well.
type columns struct {
	// Kinds and Outcomes have one letter for each operation.
	Kinds    string  `json:"kinds"`
	Outcomes string  `json:"outcomes"`
	Clients  []int32 `json:"clients"`
	Keys     []int32 `json:"keys"`
	// Values are what was written, or found by a read. Expected are those of swaps alone.
	Values   []int64 `json:"values"`
	Expected []int64 `json:"expected"`
	// Calls are differences to the call before, Lasted the times from call to return.
	Calls  []int64 `json:"calls"`
	Lasted []int64 `json:"lasted"`
}

const (
	letterRead    = 'r'
	letterWrite   = 'w'
	letterRefused = 's'
	letterTook    = 'S'
)

var outcomeLetters = []byte{Done: 'd', Failed: 'f', Unknown: 'u'}

// Encode packs operations for a history, in the order they have.
func Encode(operations []Operation) (json.RawMessage, error) {
	n := len(operations)
	packed := columns{
		Clients: make([]int32, n), Keys: make([]int32, n), Values: make([]int64, n), Expected: []int64{},
		Calls: make([]int64, n), Lasted: make([]int64, n),
	}
	letters, outcomes := make([]byte, n), make([]byte, n)
	var last int64
	for i := range operations {
		op := &operations[i]
		packed.Clients[i], packed.Keys[i], packed.Values[i] = op.Client, op.Key, op.Value
		packed.Calls[i], packed.Lasted[i] = op.CallUS-last, op.ReturnUS-op.CallUS
		last = op.CallUS
		switch op.Kind {
		case Read:
			letters[i], packed.Values[i] = letterRead, op.Found
		case Write:
			letters[i] = letterWrite
		case Swap:
			letters[i] = letterRefused
			if op.Took {
				letters[i] = letterTook
			}
			packed.Expected = append(packed.Expected, op.Expected)
		default:
			return nil, fmt.Errorf("operation %d: the kind is %s", i, op.Kind)
		}
		if int(op.Outcome) >= len(outcomeLetters) {
			return nil, fmt.Errorf("operation %d: the outcome is %s", i, op.Outcome)
		}
		outcomes[i] = outcomeLetters[op.Outcome]
	}
	packed.Kinds, packed.Outcomes = string(letters), string(outcomes)
	return json.Marshal(packed)
}

var errUneven = errors.New("operations: the columns are not of one length")

// Decode reads what Encode has packed.
func Decode(packed json.RawMessage) ([]Operation, error) {
	var from columns
	if err := json.Unmarshal(packed, &from); err != nil {
		return nil, fmt.Errorf("operations: %w", err)
	}
	n := len(from.Kinds)
	for _, length := range []int{len(from.Outcomes), len(from.Clients), len(from.Keys), len(from.Values), len(from.Calls), len(from.Lasted)} {
		if length != n {
			return nil, errUneven
		}
	}
	operations := make([]Operation, n)
	var last int64
	for i := range operations {
		op := &operations[i]
		op.Client, op.Key, op.Value = from.Clients[i], from.Keys[i], from.Values[i]
		switch letter := from.Kinds[i]; letter {
		case letterRead:
			op.Kind, op.Found, op.Value = Read, op.Value, 0
		case letterWrite:
			op.Kind = Write
		case letterRefused, letterTook:
			op.Kind, op.Took = Swap, letter == letterTook
			if len(from.Expected) == 0 {
				return nil, errUneven
			}
			op.Expected, from.Expected = from.Expected[0], from.Expected[1:]
		default:
			return nil, fmt.Errorf("operation %d: unknown kind %q", i, letter)
		}
		outcome := bytes.IndexByte(outcomeLetters, from.Outcomes[i])
		if outcome < 0 {
			return nil, fmt.Errorf("operation %d: unknown outcome %q", i, from.Outcomes[i])
		}
		op.Outcome = Outcome(outcome)
		op.CallUS = last + from.Calls[i]
		op.ReturnUS = op.CallUS + from.Lasted[i]
		if op.CallUS < 0 || op.ReturnUS < op.CallUS || op.ReturnUS == math.MaxInt64 {
			return nil, fmt.Errorf("operation %d: it began at %d µs and ended at %d µs", i, op.CallUS, op.ReturnUS)
		}
		last = op.CallUS
	}
	if len(from.Expected) > 0 {
		return nil, errUneven
	}
	return operations, nil
}
