package faults

import (
	"math"
	"slices"
	"time"
)

// Summary is the median of some times, the time that 95 of 100 do not exceed (the
// nearest rank), and the longest. There has to be one at least.
func Summary(some []time.Duration) (median, p95, most time.Duration) {
	sorted := slices.Sorted(slices.Values(some))
	at := func(share float64) time.Duration { return sorted[int(math.Ceil(share*float64(len(sorted))))-1] }
	return at(0.5), at(0.95), at(1)
}
