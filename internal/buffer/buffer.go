// Package buffer has a buffer that several goroutines use at once.
package buffer

import (
	"bytes"
	"sync"
)

// Locked takes what is written to it, by several streams at once if need be, and can
// be read meanwhile. An empty one is ready to use.
type Locked struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

// Write appends. It never fails.
func (b *Locked) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

// String returns what was written so far.
func (b *Locked) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}
