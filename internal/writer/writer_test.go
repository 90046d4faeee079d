package writer

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

func TestWriterKeepsWhatWasAcknowledged(t *testing.T) {
	t.Parallel()
	refused := errors.New("refused")
	w := Start(t.Context(), Options{
		// A connection that nobody uses.
		Connect: func(context.Context) (*pgx.Conn, error) { return nil, nil },
		Write: func(_ context.Context, _ *pgx.Conn, number int64) error {
			if number%3 == 0 {
				return refused
			}
			return nil
		},
		Pace: time.Millisecond, Timeout: time.Second,
	})
	require.NoError(t, w.UntilSteady(t.Context(), 2, 2))
	w.Halt()
	require.GreaterOrEqual(t, w.Broken(), 2)
	require.Equal(t, []int64{1, 2, 4, 5, 7, 8}, w.Acknowledged()[:6])
	require.Len(t, w.Times(), len(w.Acknowledged()))

	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	require.ErrorContains(t, w.UntilSteady(short, 0, 1000), "expected 1000 writes in a row after 0 broken connections")
}

func TestLongestPauseBeginsAtAMoment(t *testing.T) {
	t.Parallel()
	start := time.Unix(1000, 0)
	w := &Writer{times: []time.Time{start, start.Add(9 * time.Second), start.Add(10 * time.Second), start.Add(12 * time.Second)}}
	require.Equal(t, 9*time.Second, w.LongestPause(start))
	require.Equal(t, 2*time.Second, w.LongestPause(start.Add(9*time.Second)))
	require.Equal(t, 4*time.Second, w.LongestPause(start.Add(5*time.Second)))
	require.Zero(t, w.LongestPause(start.Add(time.Minute)))
}
