package faults

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestSummaryIsOfTheNearestRanks(t *testing.T) {
	t.Parallel()
	var twenty []time.Duration
	for i := range 20 {
		twenty = append(twenty, time.Duration(20-i)*time.Second)
	}
	for _, c := range []struct {
		some              []time.Duration
		median, p95, most time.Duration
	}{
		{twenty, 10 * time.Second, 19 * time.Second, 20 * time.Second},
		{twenty[:1], 20 * time.Second, 20 * time.Second, 20 * time.Second},
		{twenty[:3], 19 * time.Second, 20 * time.Second, 20 * time.Second},
	} {
		median, p95, most := Summary(c.some)
		require.Equal(t, []time.Duration{c.median, c.p95, c.most}, []time.Duration{median, p95, most})
	}
}
