package register_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"stateful-postgres/verify/internal/register"
)

// parse reads a history: one operation a line, with its client, the microseconds of its call and return,
// what it did, and what came of it when that is not what the words say.
//
//	1 0-10 write 5
//	2 20-30 read 5
//	3 20-30 swap 5 6 took
//	3 40-50 swap 5 7 refused
//	1 60-70 write 8 unknown
//
// A line may begin with a key, like k2:.
func parse(t testing.TB, lines string) []register.Operation {
	t.Helper()
	var operations []register.Operation
	for line := range strings.Lines(lines) {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		var op register.Operation
		number := func(text string) int64 {
			n, err := strconv.ParseInt(text, 10, 64)
			require.NoError(t, err, line)
			return n
		}
		if key, ok := strings.CutPrefix(words[0], "k"); ok {
			op.Key = int32(number(strings.TrimSuffix(key, ":")))
			words = words[1:]
		}
		op.Client = int32(number(words[0]))
		call, end, ok := strings.Cut(words[1], "-")
		require.True(t, ok, line)
		op.CallUS, op.ReturnUS = number(call), number(end)
		require.NoError(t, op.Kind.UnmarshalText([]byte(words[2])))
		words = words[3:]
		switch op.Kind {
		case register.Read:
			op.Found, words = number(words[0]), words[1:]
		case register.Write:
			op.Value, words = number(words[0]), words[1:]
		case register.Swap:
			op.Expected, op.Value, words = number(words[0]), number(words[1]), words[2:]
		}
		for _, word := range words {
			switch word {
			case "took":
				op.Took = true
			case "refused":
			default:
				require.NoError(t, op.Outcome.UnmarshalText([]byte(word)), line)
			}
		}
		operations = append(operations, op)
	}
	return operations
}

// format writes operations as parse reads them.
func format(operations []register.Operation) string {
	var text strings.Builder
	for _, op := range operations {
		if op.Key != 0 {
			fmt.Fprintf(&text, "k%d: ", op.Key)
		}
		fmt.Fprintf(&text, "%d %d-%d %s", op.Client, op.CallUS, op.ReturnUS, op.Kind)
		switch op.Kind {
		case register.Read:
			fmt.Fprintf(&text, " %d", op.Found)
		case register.Write:
			fmt.Fprintf(&text, " %d", op.Value)
		case register.Swap:
			fmt.Fprintf(&text, " %d %d %s", op.Expected, op.Value, map[bool]string{false: "refused", true: "took"}[op.Took])
		}
		if op.Outcome != register.Done {
			fmt.Fprintf(&text, " %s", op.Outcome)
		}
		text.WriteByte('\n')
	}
	return text.String()
}

func TestHistoriesThatAnOrderExplains(t *testing.T) {
	t.Parallel()
	for name, history := range map[string]string{
		"nothing":                   ``,
		"nothing is there at first": `1 0-10 read 0`,
		"one after the other": `
			1 0-10 write 1
			2 20-30 read 1
			2 40-50 swap 1 2 took
			1 60-70 read 2`,
		"a swap where nothing was": `
			1 0-10 swap 0 1 took
			2 20-30 swap 0 2 refused
			1 40-50 read 1`,
		"a read sees what is being written, or not yet": `
			1 0-100 write 1
			2 10-20 read 0
			3 30-40 read 1`,
		"two writes at once, in the order of the second client": `
			1 0-100 write 1
			2 0-100 write 2
			3 110-120 read 1`,
		"a write that began at the moment when another one ended may come first": `
			1 0-10 write 1
			2 10-20 write 2
			3 30-40 read 1`,
		"a failed write leaves nothing": `
			1 0-10 write 1
			2 20-30 write 2 failed
			3 40-50 read 1`,
		"a failed swap that the server had let take place leaves nothing": `
			1 0-10 write 1
			2 20-30 swap 1 2 took failed
			3 40-50 read 1`,
		"an unknown write happened": `
			1 0-10 write 1
			2 20-30 write 2 unknown
			3 40-50 read 2`,
		"an unknown write happened late": `
			1 0-10 write 1
			2 20-30 write 2 unknown
			3 40-50 read 1
			3 60-70 read 2`,
		"an unknown write did not happen": `
			1 0-10 write 1
			2 20-30 write 2 unknown
			3 40-50 read 1`,
		"an unknown swap happened": `
			1 0-10 write 1
			2 20-30 swap 1 2 took unknown
			3 40-50 read 2`,
		"an unknown swap did not happen": `
			1 0-10 write 1
			2 20-30 swap 1 2 took unknown
			3 40-50 swap 1 3 took
			3 60-70 read 3`,
		"an unknown swap expects the value of an unknown write": `
			1 0-10 write 1 unknown
			2 20-30 swap 1 2 took unknown
			3 40-50 read 2`,
		"a swap is refused because of an unknown write": `
			1 0-10 write 1
			2 20-30 write 2 unknown
			3 40-50 swap 1 3 refused`,
		"a swap is refused because of an unknown swap": `
			1 0-10 write 1
			2 20-30 swap 1 2 took unknown
			3 40-50 swap 1 3 refused
			3 60-70 write 4`,
		"the value of a read without an answer is not trusted": `
			1 0-10 write 1
			2 20-30 read 7 unknown
			3 40-50 read 8 failed
			4 60-70 swap 1 9 refused unknown`,
		"a value that two may have written": `
			4 9-18 write 5
			2 12-13 swap 5 4 took unknown
			5 14-16 read 4
			3 23-29 write 4`,
		"two keys have nothing to do with each other": `
			1 0-10 write 1
			k1: 1 20-30 write 2
			k1: 2 40-50 read 2
			2 60-70 read 1`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			operations := parse(t, history)
			result := register.Check(t.Context(), operations)
			require.Equal(t, register.Linearizable, result.Verdict, "%s", result.Shortest())
			require.Nil(t, result.Shortest())
			require.Equal(t, len(operations), result.Operations)
		})
	}
}

func TestViolationsAreFoundAndShortened(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		history  string
		shortest string
		sentence string
	}{
		"a stale read after an acknowledged write": {
			history: `
				1 0-10 write 1
				2 20-30 read 1
				1 40-50 write 2
				2 60-70 read 2
				3 80-90 read 1
				2 100-110 read 2
				1 120-130 write 3`,
			shortest: `
				1 0-10 write 1
				1 40-50 write 2
				3 80-90 read 1`,
			sentence: "Client 3 read 1 at 0.000090 s, though client 1 wrote 2 by 0.000050 s, and 2 is newer.",
		},
		"an acknowledged write is gone": {
			history: `
				1 0-10 write 1
				2 20-30 read 1
				3 40-50 read 0`,
			shortest: `
				1 0-10 write 1
				3 40-50 read 0`,
			sentence: "Client 3 read nothing at 0.000050 s, though client 1 wrote 1 by 0.000010 s, and 1 is newer.",
		},
		"a value goes back that nobody was told to be written": {
			history: `
				1 0-10 write 1
				2 20-30 write 2 unknown
				3 40-50 read 1
				3 60-70 read 2
				4 80-90 read 1
				5 100-110 read 2`,
			shortest: `
				1 0-10 write 1
				2 20-30 write 2 unknown
				3 60-70 read 2
				4 80-90 read 1`,
			sentence: "Client 4 read 1 at 0.000090 s, though client 3 read 2 by 0.000070 s, and 2 is newer.",
		},
		"a value goes back between two writes at once": {
			history: `
				1 0-100 write 1
				2 0-100 write 2
				3 110-120 read 1
				4 130-140 read 2
				5 150-160 read 2`,
			shortest: `
				1 0-100 write 1
				2 0-100 write 2
				3 110-120 read 1
				4 130-140 read 2`,
			sentence: "Client 4 read 2 at 0.000140 s, though client 3 read 1 by 0.000120 s, and 1 is newer.",
		},
		"a lost update": {
			history: `
				1 0-10 write 1
				1 11-12 read 1
				2 20-40 swap 1 2 took
				3 20-40 swap 1 3 took
				1 50-60 read 3`,
			shortest: `
				1 0-10 write 1
				2 20-40 swap 1 2 took
				3 20-40 swap 1 3 took`,
			sentence: "The swaps of client 2 to 2 and of client 3 to 3 both found 1: one of the two updates was lost.",
		},
		"a failed write is seen": {
			history: `
				1 0-10 write 1
				2 20-30 write 2 failed
				3 40-50 read 2
				4 60-70 read 2`,
			shortest: `
				2 20-30 write 2 failed
				3 40-50 read 2`,
			sentence: "Client 3 read 2 at 0.000050 s, although the write of client 2 to it had failed.",
		},
		"the value of a refused swap is seen": {
			history: `
				1 0-10 write 1
				2 20-30 swap 7 2 refused
				3 40-50 swap 2 3 took
				4 60-70 read 3`,
			shortest: `
				2 20-30 swap 7 2 refused
				3 40-50 swap 2 3 took`,
			sentence: "A swap of client 3 found 2 at 0.000050 s, although the swap of client 2 to it did not take place.",
		},
		"a value that nobody wrote": {
			history: `
				1 0-10 write 1
				3 40-50 read 7`,
			shortest: `3 40-50 read 7`,
			sentence: "Client 3 read 7 at 0.000050 s, which nobody wrote.",
		},
		"a value is seen before it is written": {
			history: `
				3 0-10 read 1
				1 20-30 write 1
				2 40-50 read 1`,
			shortest: `
				3 0-10 read 1
				1 20-30 write 1`,
			sentence: "Client 3 read 1 until 0.000010 s, before client 1 began to write it at 0.000020 s.",
		},
		"an unknown write is seen before it is called": {
			history: `
				3 0-10 read 1
				1 20-30 write 1 unknown`,
			shortest: `
				3 0-10 read 1
				1 20-30 write 1 unknown`,
			sentence: "Client 3 read 1 until 0.000010 s, before client 1 began to write it at 0.000020 s.",
		},
		"an unknown swap that took place on an old value": {
			history: `
				1 0-10 write 1
				1 20-30 write 2
				2 40-50 swap 1 3 took unknown
				3 60-70 read 2
				3 80-90 read 3`,
			shortest: `
				1 0-10 write 1
				1 20-30 write 2
				2 40-50 swap 1 3 took unknown
				3 80-90 read 3`,
			sentence: "A swap of client 2 found 1 at 0.000090 s, though client 1 wrote 2 by 0.000030 s, and 2 is newer.",
		},
		"a swap on an old value": {
			history: `
				1 0-10 write 1
				1 20-30 write 2
				2 40-50 swap 1 3 took`,
			shortest: `
				1 0-10 write 1
				1 20-30 write 2
				2 40-50 swap 1 3 took`,
			sentence: "A swap of client 2 found 1 at 0.000050 s, though client 1 wrote 2 by 0.000030 s, and 2 is newer.",
		},
		"something happens within a swap": {
			history: `
				1 0-10 write 1
				3 11-12 read 1
				2 20-100 swap 1 2 took
				1 30-40 write 3
				3 50-60 read 2`,
			shortest: `
				1 0-10 write 1
				2 20-100 swap 1 2 took
				1 30-40 write 3
				3 50-60 read 2`,
			sentence: "The key had 3 after 1 and before 2, although a swap made 2 of 1 at one moment.",
		},
		"a swap is refused for nothing": {
			history: `
				1 0-10 write 1
				1 20-30 write 2
				2 40-50 read 2
				2 60-70 swap 2 3 refused
				1 80-90 write 4
				1 100-110 write 5 unknown`,
			shortest: `
				1 20-30 write 2
				2 60-70 swap 2 3 refused`,
			sentence: "The swap of client 2 did not find 2, although the key had no other value from 0.000060 s to 0.000070 s.",
		},
		"a swap is refused while another value was surely gone": {
			history: `
				1 5-8 write 2
				2 7-8 write 5
				3 9-10 read 2
				4 9-20 swap 2 3 refused
				3 21-22 read 2`,
			shortest: `
				1 5-8 write 2
				2 7-8 write 5
				3 9-10 read 2
				4 9-20 swap 2 3 refused`,
			sentence: "The swap of client 4 did not find 2, although the key had no other value from 0.000009 s to 0.000020 s.",
		},
		"writes that may explain a refused swap stay": {
			history: `
				1 0-10 write 1
				3 5-15 write 2
				2 20-30 read 1
				2 40-50 swap 1 3 refused
				2 60-70 read 1`,
			shortest: `
				1 0-10 write 1
				3 5-15 write 2
				2 20-30 read 1
				2 40-50 swap 1 3 refused`,
			sentence: "The swap of client 2 did not find 1, although the key had no other value from 0.000040 s to 0.000050 s.",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			result := register.Check(t.Context(), parse(t, test.history))
			require.Equal(t, register.Violated, result.Verdict)
			found := result.Shortest()
			require.NotNil(t, found)
			require.Equal(t, format(parse(t, test.shortest)), format(found.Operations))
			require.Equal(t, test.sentence, found.Sentence)
		})
	}
}
