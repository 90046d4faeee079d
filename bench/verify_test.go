package main

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestRateIsOfRowsNotOfTimes(t *testing.T) {
	t.Parallel()
	plain := times{2 * time.Second}
	r := rate("fill", 1_000_000, times{2500 * time.Millisecond}, "copy", plain, 0.8)
	require.Equal(t, row{
		what: "fill", ours: "400,000 rows/s, 2.50 s (2.50 to 2.50, of 1)", plain: "copy: 500,000 rows/s, 2.00 s (2.00 to 2.00, of 1)",
		ratio: "0.80", target: "at least 0.8 times", met: "yes",
	}, r)
	require.Equal(t, "NO", rate("fill", 1_000_000, times{2501 * time.Millisecond}, "copy", plain, 0.8).met)
	require.Equal(t, "yes", rate("fill", 1_000_000, times{time.Second}, "copy", plain, 0.8).met)
}

func TestMemoryMustBeSmallAndFlat(t *testing.T) {
	t.Parallel()
	sizes := []int64{10_000, 10_000_000}
	for _, c := range []struct {
		first, last int64
		met         string
	}{
		{20 << 20, 20 << 20, "yes"},
		{20 << 20, 30 << 20, "yes"},
		{20 << 20, 31 << 20, "NO"},
		{60 << 20, 63 << 20, "yes"},
		{60 << 20, 64 << 20, "NO"},
		{64 << 20, 20 << 20, "NO"},
	} {
		require.Equal(t, c.met, memory("x", sizes, []int64{c.first, c.last}).met, "%d, %d", c.first, c.last)
	}
	r := memory("check", sizes, []int64{20 << 20, 25 << 20})
	require.Equal(t, "check, 10,000 / 10,000,000 rows", r.what)
	require.Equal(t, "20 / 25 MiB", r.ours)
	require.Equal(t, "1.25", r.ratio)
}

func TestNumbersAreGrouped(t *testing.T) {
	t.Parallel()
	for number, text := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 123456: "123,456", 10_000_000: "10,000,000"} {
		require.Equal(t, text, grouped(number))
	}
}

func TestDiskThatIsTooFullIsRefused(t *testing.T) {
	t.Parallel()
	require.NoError(t, checkFreeDisk(t.TempDir(), 1))
	require.ErrorContains(t, checkFreeDisk(t.TempDir(), math.MaxInt64), "make room, or measure with fewer -rows")
}
