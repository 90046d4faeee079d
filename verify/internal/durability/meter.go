package durability

import (
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"stateful-postgres/verify/internal/commit"
	"stateful-postgres/verify/internal/history"
)

const (
	// bucketTime is that of a bucket as long as there are not too many.
	bucketTime  = time.Second
	mostBuckets = 7200

	// Latencies are kept from a microsecond to longer than any commit is waited for, to three digits.
	leastLatency, mostLatency, digits = 1, int64(5 * time.Minute / time.Microsecond), 3
)

// phase is a part of the time, seen from the faults.
type phase int

const (
	before phase = iota
	during
	after
)

// meter counts commits, and how long they took. It is safe for concurrent use.
type meter struct {
	started time.Time

	mutex sync.Mutex
	// bucket collects the latencies of the last bucket, which begins at bucketStart.
	bucket      *hdrhistogram.Histogram
	bucketTime  time.Duration
	bucketStart time.Time
	buckets     []history.Bucket

	phase   phase
	latency [after + 1]*hdrhistogram.Histogram

	writes history.Writes
	// fault is the one that numbers are counted for; nil between two.
	fault *history.Fault
	// counted is when counting for it began, or the last write was acknowledged since.
	counted time.Time
}

func newMeter(now time.Time) *meter {
	m := &meter{}
	m.start(now)
	return m
}

// start lets the time begin, and forgets everything.
func (m *meter) start(now time.Time) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.started, m.bucketTime, m.bucketStart = now, bucketTime, now
	m.buckets, m.bucket = []history.Bucket{{}}, newHistogram()
	for i := range m.latency {
		m.latency[i] = newHistogram()
	}
	m.writes, m.fault, m.phase = history.Writes{}, nil, before
}

func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(leastLatency, mostLatency, digits)
}

// since is a moment in milliseconds since the beginning.
func (m *meter) since(at time.Time) int64 { return at.Sub(m.started).Milliseconds() }

// outcome counts a commit that took from one moment to another.
func (m *meter) outcome(outcome commit.Outcome, began, ended time.Time) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.roll(ended)
	bucket := &m.buckets[len(m.buckets)-1]
	m.writes.Attempted++
	switch outcome {
	case commit.Acknowledged, commit.AcknowledgedLocally:
		took := min(max(ended.Sub(began).Microseconds(), leastLatency), mostLatency)
		// A value within the bounds is always taken.
		_ = m.bucket.RecordValue(took)
		_ = m.latency[m.phase].RecordValue(took)
		bucket.Acknowledged++
		m.writes.Acknowledged++
		if outcome == commit.AcknowledgedLocally {
			m.writes.AcknowledgedLocally++
		}
		m.acknowledged(ended)
	case commit.Failed:
		bucket.Failed++
		m.writes.Failed++
		if m.fault != nil {
			m.fault.Failed++
		}
	default:
		bucket.Unknown++
		m.writes.Unknown++
		if m.fault != nil {
			m.fault.Unknown++
		}
	}
}

func (m *meter) acknowledged(at time.Time) {
	if m.fault != nil {
		m.fault.Acknowledged++
		m.pause(at)
		m.counted = at
	}
}

// pause notes the time since the last acknowledged write, if it is the longest one.
func (m *meter) pause(until time.Time) {
	if pause := until.Sub(m.counted).Milliseconds(); pause > m.fault.PauseMS {
		m.fault.PauseMS, m.fault.PauseBeganMS = pause, m.since(m.counted)
	}
}

// reconnected counts a connection that was opened in the place of one that broke.
func (m *meter) reconnected() {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.writes.Reconnects++
	if m.fault != nil {
		m.fault.Reconnects++
	}
}

// begin lets everything from now on count for a fault, until it is over.
func (m *meter) begin(fault *history.Fault, at time.Time) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.fault, m.counted, m.phase = fault, at, during
	fault.BeganMS = m.since(at)
}

// over says that commits go on, or that nobody waits for them any more.
func (m *meter) over(at time.Time) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.pause(at)
	m.fault, m.phase = nil, after
}

// end closes the last bucket.
func (m *meter) end(at time.Time) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.roll(at)
	m.close()
}

// count is how many writes were acknowledged until now.
func (m *meter) count() history.Writes {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	return m.writes
}

// roll goes on to the bucket of a moment.
func (m *meter) roll(at time.Time) {
	for at.Sub(m.bucketStart) >= m.bucketTime {
		m.close()
		m.buckets = append(m.buckets, history.Bucket{})
		m.bucketStart = m.bucketStart.Add(m.bucketTime)
		if len(m.buckets) > mostBuckets {
			m.halve()
		}
	}
}

// close enters the latencies of the last bucket. Of one that was joined with another the higher ones
// stay.
func (m *meter) close() {
	bucket := &m.buckets[len(m.buckets)-1]
	if m.bucket.TotalCount() > 0 {
		bucket.P50US = max(bucket.P50US, m.bucket.ValueAtQuantile(50))
		bucket.P99US = max(bucket.P99US, m.bucket.ValueAtQuantile(99))
		bucket.MaxUS = max(bucket.MaxUS, m.bucket.Max())
	}
	m.bucket.Reset()
}

// halve joins two buckets each: a long run stays within bounds.
func (m *meter) halve() {
	joined := make([]history.Bucket, 0, mostBuckets)
	for i := 0; i < len(m.buckets); i += 2 {
		bucket := m.buckets[i]
		if i+1 < len(m.buckets) {
			next := m.buckets[i+1]
			bucket = history.Bucket{
				Acknowledged: bucket.Acknowledged + next.Acknowledged, Failed: bucket.Failed + next.Failed, Unknown: bucket.Unknown + next.Unknown,
				P50US: max(bucket.P50US, next.P50US), P99US: max(bucket.P99US, next.P99US), MaxUS: max(bucket.MaxUS, next.MaxUS),
			}
		}
		joined = append(joined, bucket)
	}
	m.buckets = joined
	m.bucketTime *= 2
	m.bucketStart = m.started.Add(time.Duration(len(m.buckets)-1) * m.bucketTime)
}

// latencies are those of the commits before, during and after faults.
func (m *meter) latencies() history.Latencies {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	of := func(p phase) history.Latency {
		h := m.latency[p]
		if h.TotalCount() == 0 {
			return history.Latency{}
		}
		return history.Latency{Commits: h.TotalCount(), P50US: h.ValueAtQuantile(50), P95US: h.ValueAtQuantile(95), P99US: h.ValueAtQuantile(99), MaxUS: h.Max()}
	}
	return history.Latencies{Before: of(before), During: of(during), After: of(after)}
}
