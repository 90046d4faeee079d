package register

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
)

// String lists the operations, one a line, and ends with what is wrong with them.
func (v *Violation) String() string {
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	for i := range v.Operations {
		op := &v.Operations[i]
		// A tabwriter does not write to a strings.Builder in vain.
		_, _ = fmt.Fprintf(table, "%s to %s\tclient %d\t%s\t%s\n", seconds(op.CallUS), seconds(op.ReturnUS), op.Client, op.what(), op.result())
	}
	_ = table.Flush()
	text.WriteString(v.Sentence)
	text.WriteByte('\n')
	return text.String()
}

func (o *Operation) what() string {
	switch o.Kind {
	case Read:
		return "read"
	case Write:
		return "write " + value(o.Value)
	default:
		return fmt.Sprintf("swap %s for %s", value(o.Expected), value(o.Value))
	}
}

func (o *Operation) result() string {
	switch {
	case o.Outcome == Failed:
		return "failed"
	case o.Outcome == Unknown:
		return "no answer"
	case o.Kind == Read:
		return "found " + value(o.Found)
	case o.Kind == Write:
		return "done"
	case o.Took:
		return "took place"
	default:
		return "did not take place"
	}
}

// value names a value of a key.
func value(v int64) string {
	if v == 0 {
		return "nothing"
	}
	return fmt.Sprintf("%d", v)
}

func seconds(us int64) string { return fmt.Sprintf("%.6f s", float64(us)/1e6) }

// touch is what an operation proves of one value: that the key had it at a moment from call to end.
type touch struct {
	op        *Operation
	call, end int64
	// sees says that the operation found the value, and did not bring it.
	sees bool
}

// did says what it was.
func (t touch) did(v int64) string {
	switch {
	case !t.sees:
		return fmt.Sprintf("client %d wrote %s", t.op.Client, value(v))
	case t.op.Kind == Swap:
		return fmt.Sprintf("a swap of client %d found %s", t.op.Client, value(v))
	default:
		return fmt.Sprintf("client %d read %s", t.op.Client, value(v))
	}
}

// touches are those of one value. The key has it for one stretch of time: no value is written twice.
type touches []touch

// collect finds the touches of each value, and the values in the order of their first calls. Nothing is
// there from before the beginning.
func collect(operations []Operation) (map[int64]touches, []int64) {
	found := map[int64]touches{0: {{op: &Operation{}, call: -1, end: -1}}}
	values := []int64{0}
	add := func(v int64, t touch) {
		if found[v] == nil {
			values = append(values, v)
		}
		found[v] = append(found[v], t)
	}
	for _, s := range settle(steps(operations)) {
		if v, observed := s.observes(); observed {
			add(v, touch{op: s.op, call: s.op.CallUS, end: s.end, sees: true})
		}
		if s.op.changes() {
			add(s.op.Value, touch{op: s.op, call: s.op.CallUS, end: s.end})
		}
	}
	return found, values
}

// explain says in one sentence what is wrong with operations that no order explains.
func explain(operations []Operation) string {
	found, values := collect(operations)
	for _, say := range []func([]Operation, map[int64]touches, []int64) string{unwritten, lostUpdate, wentBack, between, refusedInVain} {
		if sentence := say(operations, found, values); sentence != "" {
			return sentence
		}
	}
	return "No order of these operations explains what came back."
}

// unwritten finds a value that was seen and not written, or not yet.
func unwritten(operations []Operation, found map[int64]touches, values []int64) string {
	for _, v := range values[1:] {
		sees := slices.IndexFunc(found[v], func(t touch) bool { return t.sees })
		if sees < 0 {
			continue
		}
		saw := found[v][sees]
		writes := slices.IndexFunc(found[v], func(t touch) bool { return !t.sees })
		if writes >= 0 {
			if wrote := found[v][writes]; saw.end < wrote.call {
				return fmt.Sprintf("%s until %s, before client %d began to write it at %s.",
					capital(saw.did(v)), seconds(saw.end), wrote.op.Client, seconds(wrote.call))
			}
			continue
		}
		for i := range operations {
			switch op := &operations[i]; {
			case op.Kind == Read || op.Value != v:
			case op.Outcome == Failed:
				return fmt.Sprintf("%s at %s, although the %s of client %d to it had failed.",
					capital(saw.did(v)), seconds(saw.end), op.Kind, op.Client)
			default:
				return fmt.Sprintf("%s at %s, although the swap of client %d to it did not take place.",
					capital(saw.did(v)), seconds(saw.end), op.Client)
			}
		}
		return fmt.Sprintf("%s at %s, which nobody wrote.", capital(saw.did(v)), seconds(saw.end))
	}
	return ""
}

// lostUpdate finds two swaps that both took place on one value.
func lostUpdate(_ []Operation, found map[int64]touches, values []int64) string {
	for _, v := range values {
		var swaps []touch
		for _, t := range found[v] {
			if t.sees && t.op.Kind == Swap {
				swaps = append(swaps, t)
			}
		}
		if len(swaps) > 1 {
			return fmt.Sprintf("The swaps of client %d to %d and of client %d to %d both found %s: one of the two updates was lost.",
				swaps[0].op.Client, swaps[0].op.Value, swaps[1].op.Client, swaps[1].op.Value, value(v))
		}
	}
	return ""
}

// precedes finds a touch of one value that was over before a touch of another one began. Of several it
// is the one that ended first, before the one that began last and saw its value.
func precedes(older, newer touches) (first, then touch, ok bool) {
	for _, t := range older {
		if !ok || t.end < first.end {
			first, ok = t, true
		}
	}
	end := first.end
	ok = false
	for _, t := range newer {
		if t.call > end && (!ok || t.sees && !then.sees || t.sees == then.sees && t.call > then.call) {
			then, ok = t, true
		}
	}
	return first, then, ok
}

// latestBefore is the touch that ended last before a moment, one that saw the value if there is one.
// There has to be one.
func (t touches) latestBefore(moment int64) touch {
	var latest touch
	for _, other := range t {
		if other.end < moment && (latest.op == nil || other.sees && !latest.sees || other.sees == latest.sees && other.end > latest.end) {
			latest = other
		}
	}
	return latest
}

// replaces says whether a swap made one value of another.
func replaces(older, newer touches) bool {
	return slices.ContainsFunc(newer, func(t touch) bool {
		return !t.sees && t.op.Kind == Swap && slices.ContainsFunc(older, func(o touch) bool { return o.sees && o.op == t.op })
	})
}

// wentBack finds a value that was seen after a newer one: the last that was, when there are several.
func wentBack(_ []Operation, found map[int64]touches, values []int64) string {
	sentence, last := "", int64(-1)
	for _, a := range values {
		// Nothing is newer than the beginning.
		for _, b := range values[1:] {
			_, _, newer := precedes(found[a], found[b])
			_, saw, older := precedes(found[b], found[a])
			if a == b || !older || !saw.sees || !newer && !replaces(found[a], found[b]) || saw.call <= last {
				continue
			}
			last = saw.call
			after := found[b].latestBefore(saw.call)
			sentence = fmt.Sprintf("%s at %s, though %s by %s, and %s is newer.",
				capital(saw.did(a)), seconds(saw.end), after.did(b), seconds(after.end), value(b))
		}
	}
	return sentence
}

// between finds a value that the key had between two of which a swap made one of the other.
func between(_ []Operation, found map[int64]touches, values []int64) string {
	for _, a := range values {
		for _, b := range values {
			if a == b || !replaces(found[a], found[b]) {
				continue
			}
			for _, c := range values {
				_, _, afterA := precedes(found[a], found[c])
				_, _, beforeB := precedes(found[c], found[b])
				if c != a && c != b && afterA && beforeB {
					return fmt.Sprintf("The key had %s after %s and before %s, although a swap made %s of %s at one moment.",
						value(c), value(a), value(b), value(b), value(a))
				}
			}
		}
	}
	return ""
}

// refusedInVain finds a swap that found another value where there was none.
func refusedInVain(operations []Operation, _ map[int64]touches, _ []int64) string {
	for i := range operations {
		if op := &operations[i]; op.Kind == Swap && !op.Took && op.Outcome == Done {
			return fmt.Sprintf("The swap of client %d did not find %s, although the key had no other value from %s to %s.",
				op.Client, value(op.Expected), seconds(op.CallUS), seconds(op.ReturnUS))
		}
	}
	return ""
}

func capital(text string) string { return strings.ToUpper(text[:1]) + text[1:] }
