package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"stateful-postgres/local/internal/layout"
)

// lockInterval is how often a lock that another set-up holds is tried again.
const lockInterval = 200 * time.Millisecond

// lock makes sure that one set-up at a time works in this checkout, and
// removes what an unfinished one left. The kernel lets go of the lock when the
// process ends, however it ends.
func lock(ctx context.Context, l layout.Layout, stderr io.Writer) (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Dir(l.SetupLock()), 0o755); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(l.SetupLock(), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for told := false; ; told = true {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			break
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			file.Close()
			return nil, fmt.Errorf("locking %s: %w", l.SetupLock(), err)
		}
		if !told {
			fmt.Fprintln(stderr, "Another set-up of this checkout is running; waiting for it to end.")
		}
		select {
		case <-ctx.Done():
			file.Close()
			return nil, ctx.Err()
		case <-time.After(lockInterval):
		}
	}
	// A program that a killed set-up had started may still write there; what is
	// left then is removed the next time.
	_ = os.RemoveAll(l.Temp())
	return func() { file.Close() }, nil
}
