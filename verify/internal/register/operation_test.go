package register_test

import (
	"encoding/json"
	"math/rand/v2"
	"slices"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"

	"stateful-postgres/verify/internal/register"
)

func TestOperationsAreReadAsTheyWereWritten(t *testing.T) {
	t.Parallel()
	operations := parse(t, `
		1 0-10 write 1
		2 5-30 read 0
		k7: 2 40-50 swap 0 2 took
		k7: 3 20-50 swap 2 3 refused
		3 20-50 swap 2 4 took failed
		4 60-70 write 5 unknown
		4 60-60 read 3 unknown
		5 3000000000-4000000000 write 9000000000`)
	for seed := range uint64(50) {
		operations = append(operations, short(rand.New(rand.NewPCG(seed, 4)), true)...)
	}
	for _, some := range [][]register.Operation{operations, operations[:1], {}} {
		packed, err := register.Encode(some)
		require.NoError(t, err)
		read, err := register.Decode(packed)
		require.NoError(t, err)
		require.Equal(t, some, read)
	}

	text, err := json.Marshal(operations)
	require.NoError(t, err)
	var read []register.Operation
	require.NoError(t, json.Unmarshal(text, &read))
	require.Equal(t, operations, read)
	require.Contains(t, string(text), `"kind":"swap","outcome":"done","took":true`)
}

func TestDamagedOperationsAreRefused(t *testing.T) {
	t.Parallel()
	const whole = `{"kinds":"rwsS","outcomes":"dduf","clients":[1,1,2,2],"keys":[0,0,0,0],"values":[0,1,2,3],"expected":[1,2],"calls":[0,10,10,10],"lasted":[5,5,5,5]}`
	_, err := register.Decode(json.RawMessage(whole))
	require.NoError(t, err)
	for name, test := range map[string]struct{ packed, expected string }{
		"not JSON":                {`{`, "operations: unexpected end of JSON input"},
		"a list":                  {`[]`, "operations: json: cannot unmarshal array"},
		"unknown kind":            {`{"kinds":"x","outcomes":"d","clients":[1],"keys":[0],"values":[0],"calls":[0],"lasted":[5]}`, `operation 0: unknown kind 'x'`},
		"unknown outcome":         {`{"kinds":"r","outcomes":"x","clients":[1],"keys":[0],"values":[0],"calls":[0],"lasted":[5]}`, `operation 0: unknown outcome 'x'`},
		"no client":               {`{"kinds":"r","outcomes":"d","clients":[],"keys":[0],"values":[0],"calls":[0],"lasted":[5]}`, "not of one length"},
		"no expected value":       {`{"kinds":"s","outcomes":"d","clients":[1],"keys":[0],"values":[0],"calls":[0],"lasted":[5]}`, "not of one length"},
		"too many expected ones":  {`{"kinds":"r","outcomes":"d","clients":[1],"keys":[0],"values":[0],"expected":[1],"calls":[0],"lasted":[5]}`, "not of one length"},
		"answered before it came": {`{"kinds":"r","outcomes":"d","clients":[1],"keys":[0],"values":[0],"calls":[10],"lasted":[-5]}`, "operation 0: it began at 10 µs and ended at 5 µs"},
		"before the run":          {`{"kinds":"r","outcomes":"d","clients":[1],"keys":[0],"values":[0],"calls":[-10],"lasted":[5]}`, "operation 0: it began at -10 µs and ended at -5 µs"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := register.Decode(json.RawMessage(test.packed))
			require.ErrorContains(t, err, test.expected)
		})
	}
	_, err = register.Encode([]register.Operation{{Kind: 7}})
	require.EqualError(t, err, "operation 0: the kind is number 7")
	_, err = register.Encode([]register.Operation{{Outcome: 7}})
	require.EqualError(t, err, "operation 0: the outcome is number 7")
}

func TestWhatAnOperationCosts(t *testing.T) {
	t.Parallel()
	require.EqualValues(t, 56, unsafe.Sizeof(register.Operation{}))
	operations := load(100_000)
	packed, err := register.Encode(operations)
	require.NoError(t, err)
	perOperation := float64(len(packed)) / float64(len(operations))
	small := compress(t, packed)
	t.Logf("%.1f bytes an operation, %.1f compressed", perOperation, float64(small)/float64(len(operations)))
	require.Less(t, perOperation, 32.0)
	require.Less(t, float64(small)/float64(len(operations)), 12.0)
}

// load makes a history as 16 clients leave it behind: a fresh key after 300 operations.
func load(total int) []register.Operation {
	w := newWorld(1)
	w.clients, w.lost = 16, 1
	var operations []register.Operation
	var began int64
	for len(operations) < total {
		part := w.run(min(300, total-len(operations)))
		for i := range part {
			part[i].CallUS += began
			part[i].ReturnUS += began
		}
		slices.SortStableFunc(part, func(a, b register.Operation) int { return int(a.ReturnUS - b.ReturnUS) })
		began = part[len(part)-1].ReturnUS
		operations = append(operations, part...)
		w.key++
	}
	return operations
}
