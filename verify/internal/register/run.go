package register

import (
	"cmp"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	defaultKeys   = 5
	defaultPerKey = 300
	defaultLimit  = 1_000_000
	// clientsPerKey is how many clients there are at most for each key, unless it was asked for fewer
	// keys. The more work on a key at the same time, the longer a check may take.
	clientsPerKey = 3
)

// Options say how a run uses keys. What is 0 has a default.
type Options struct {
	// Keys is how many keys are in use at a time; 5, or one for three clients when that is more.
	Keys int
	// PerKey is how many operations a key gets before another one takes its place; 300. Those in flight
	// come on top. What a check costs depends on it more than on the number of operations.
	PerKey int
	// Limit is how many operations the record holds; a million, which take 56 MB, as much again while
	// they are checked or encoded.
	Limit int
	// Lasts is how long the run lasts, so that Wait can see to it that the record is not full before;
	// when it is 0, nobody waits.
	Lasts time.Duration
}

// ErrFull says that the record holds as many operations as it may. Nothing was sent.
var ErrFull = errors.New("the record of the run is full")

// Run is what the clients of a workload share: the keys, and the record of what they did. It is safe for
// concurrent use.
type Run struct {
	id      int64
	started time.Time
	options Options
	// values and clients are how many were given out. A client may have several numbers.
	values  atomic.Int64
	clients atomic.Int32

	mutex sync.Mutex
	// inUse are the keys in use, with the number of their operations. Keys are used in the order of
	// their numbers. grows says that there are more with more clients, which are added.
	inUse      []usedKey
	keys       int32
	grows      bool
	added      int
	operations []Operation
}

type usedKey struct {
	key        int32
	operations int
}

// NewRun returns a run that has no keys in the table yet. Times are counted from started, which
// time.Now has returned.
func NewRun(id int64, started time.Time, options Options) *Run {
	grows := options.Keys == 0
	options.Keys = cmp.Or(options.Keys, defaultKeys)
	options.PerKey = cmp.Or(options.PerKey, defaultPerKey)
	options.Limit = cmp.Or(options.Limit, defaultLimit)
	run := &Run{id: id, started: started, options: options, grows: grows}
	for range options.Keys {
		run.addKey()
	}
	return run
}

// Client adds a client. Its seed decides what it does.
func (r *Run) Client(seed uint64) *Client {
	r.mutex.Lock()
	r.added++
	if r.grows && r.added > clientsPerKey*len(r.inUse) {
		r.addKey()
	}
	r.mutex.Unlock()
	return &Client{
		run: r, id: r.newClient(), random: rand.New(rand.NewPCG(seed, 0)),
		seen: map[int32]int64{},
	}
}

// Operations are those that are over, in the order in which they ended. They may not be changed.
func (r *Run) Operations() []Operation {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return slices.Clip(r.operations)
}

// Keys is how many keys were ever used. Their numbers begin with 0.
func (r *Run) Keys() int {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return int(r.keys)
}

func (r *Run) full() bool {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return len(r.operations) >= r.options.Limit
}

func (r *Run) newClient() int32 { return r.clients.Add(1) }

func (r *Run) newValue() int64 { return r.values.Add(1) }

// places is how many keys are in use.
func (r *Run) places() int {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return len(r.inUse)
}

func (r *Run) key(place int) int32 {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return r.inUse[place].key
}

func (r *Run) addKey() {
	r.inUse = append(r.inUse, usedKey{key: r.keys})
	r.keys++
}

// ahead is how long to wait until the record holds no more than it may by then.
func (r *Run) ahead() time.Duration {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return time.Duration(float64(len(r.operations))/float64(r.options.Limit)*float64(r.options.Lasts)) - time.Since(r.started)
}

// keep enters an operation. A key that has had enough of them makes place for the next one.
func (r *Run) keep(op Operation) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.operations = append(r.operations, op)
	for i := range r.inUse {
		used := &r.inUse[i]
		if used.key != op.Key {
			continue
		}
		used.operations++
		if used.operations >= r.options.PerKey {
			*used = usedKey{key: r.keys}
			r.keys++
		}
	}
}
