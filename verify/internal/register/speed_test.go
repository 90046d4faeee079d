package register_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stateful-postgres/verify/internal/register"
)

func compress(t testing.TB, text []byte) int {
	t.Helper()
	var small bytes.Buffer
	packed := gzip.NewWriter(&small)
	_, err := packed.Write(text)
	require.NoError(t, err)
	require.NoError(t, packed.Close())
	return small.Len()
}

func BenchmarkCheck(b *testing.B) {
	operations := load(100_000)
	for b.Loop() {
		result := register.Check(b.Context(), operations)
		require.Equal(b, register.Linearizable, result.Verdict)
	}
}

func TestALongHistoryIsCheckedInSeconds(t *testing.T) {
	t.Parallel()
	operations := load(100_000)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	began := time.Now()
	result := register.Check(t.Context(), operations)
	took := time.Since(began)
	runtime.ReadMemStats(&after)
	require.Equal(t, register.Linearizable, result.Verdict)
	require.Greater(t, result.Unknown, 500)
	t.Logf("%s in %s, %d MB made on the way", result, took, (after.TotalAlloc-before.TotalAlloc)>>20)
	require.Less(t, took, 30*time.Second)
}

// Writes without an answer are what makes a search long: each may have happened at any time or not at all.
func TestManyUnknownWritesDoNotHideAViolation(t *testing.T) {
	t.Parallel()
	var history strings.Builder
	history.WriteString("1 0-10 write 1\n")
	for client := range 40 {
		fmt.Fprintf(&history, "%d 20-30 write %d unknown\n", 10+client, 100+client)
	}
	history.WriteString(`
		2 40-50 write 2
		2 60-70 swap 1 3 refused
		2 80-90 read 1`)
	result := register.Check(t.Context(), parse(t, history.String()))
	require.Equal(t, register.Violated, result.Verdict)
	require.Equal(t, "Client 2 read 1 at 0.000090 s, though client 2 wrote 2 by 0.000050 s, and 2 is newer.", result.Shortest().Sentence)
	require.Len(t, result.Shortest().Operations, 3)
}

// crowd is a number of writes that all happen at the same time.
func crowd(writes int) string {
	var history strings.Builder
	for i := range writes {
		fmt.Fprintf(&history, "%d 100-900 write %d\n", 10+i, 100+i)
	}
	return history.String()
}

// What a row lock has held up comes at once when it is gone.
func TestACrowdDoesNotHideAViolation(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ history, sentence string }{
		"a stale read": {
			"1 0-10 write 1\n" + crowd(40) + "3 1000-1010 read 1\n",
			"Client 3 read 1 at 0.001010 s, though client 49 wrote 139 by 0.000900 s, and 139 is newer.",
		},
		"a value goes back": {
			crowd(40) + "3 1000-1010 read 101\n3 1020-1030 read 103\n",
			"Client 3 read 103 at 0.001030 s, though client 3 read 101 by 0.001010 s, and 101 is newer.",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			result := register.Check(t.Context(), parse(t, test.history))
			require.Equal(t, register.Violated, result.Verdict)
			require.Equal(t, test.sentence, result.Shortest().Sentence)
		})
	}
}

// hopeless is a history in which every order of many writes has to be tried.
func hopeless(t testing.TB) []register.Operation {
	t.Helper()
	return parse(t, crowd(40)+"1 1000-1010 write 1\n2 1020-1030 swap 1 2 refused\n")
}

func TestACheckEndsWhenItsTimeIsOver(t *testing.T) {
	t.Parallel()
	operations := append(parse(t, "k9: 1 0-10 write 1\nk9: 2 20-30 read 0"), hopeless(t)...)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	began := time.Now()
	result := register.Check(ctx, operations)
	require.Less(t, time.Since(began), 10*time.Second)
	require.Equal(t, register.Violated, result.Verdict, "one key is undecided, another one is violated")
	require.Equal(t, 1, result.Count(register.Undecided))
	require.Equal(t, 1, result.Count(register.Violated))

	result = register.Check(ctx, hopeless(t))
	require.Equal(t, register.Undecided, result.Verdict)
	require.Nil(t, result.Shortest())
	require.Equal(t, "42 operations on 1 key: not decided for 1 key", result.String())
}

func TestACheckEndsWhenItsMemoryIsUsedUp(t *testing.T) {
	t.Parallel()
	began := time.Now()
	result := register.Check(t.Context(), hopeless(t))
	t.Logf("after %s", time.Since(began))
	require.Equal(t, register.Undecided, result.Verdict)
}

func TestPictures(t *testing.T) {
	t.Parallel()
	long := load(3000)
	crowded := newWorld(2)
	crowded.clients, crowded.lost = 16, 5
	stale := crowded.run(140)
	require.True(t, lies["a stale read"](crowded.random, stale))
	longer := newWorld(3).run(300)
	require.True(t, lies["a read of nothing"](crowded.random, longer))
	for name, test := range map[string]struct {
		operations []register.Operation
		contains   string
	}{
		"nothing":                    {nil, "render(data)"},
		"a few":                      {parse(t, "1 0-10 write 1\n2 20-30 read 1\n3 20-30 write 2 unknown"), "client 2: read: found 1"},
		"the first key of many":      {long, "client 1: "},
		"a violated one":             {stale, "did not take place"},
		"the shortest of a long one": {longer, "found nothing"},
		"one that is not decided":    {hopeless(t), "write 105"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			result := register.Check(ctx, test.operations)
			var page bytes.Buffer
			require.NoError(t, register.Visualize(&page, result, test.operations))
			require.Contains(t, page.String(), test.contains)
			require.NotRegexp(t, `(src|href)=`, page.String(), "the page needs something else")
			require.Less(t, page.Len(), 2_000_000)
			t.Logf("%d bytes", page.Len())
		})
	}
	require.ErrorIs(t, register.Visualize(failing{}, register.Check(t.Context(), nil), nil), io.ErrClosedPipe)
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }
