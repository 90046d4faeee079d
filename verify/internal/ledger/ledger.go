// Package ledger keeps a witness's record of what it wrote into a database, outside of the
// database: an append-only file that survives being killed at any byte.
//
// Rows are entered as undecided before they are sent, and that entry is on disk before the
// first byte goes out. Their outcome is entered once it is known. The content of rows is not
// kept: it is a function of seed, run and sequence number.
package ledger

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/gofrs/flock"
)

const (
	lockPoll = 50 * time.Millisecond
	// A ledger is rewritten when it is closed larger than this and at least half of it can go.
	compactionSize = 64 << 10
)

// Ledger is an open ledger. It is not safe for concurrent use; the lock it holds keeps other
// processes out.
type Ledger struct {
	path  string
	lock  *flock.Flock
	file  *os.File
	state State
	chain uint32
	now   func() time.Time
	// failed is why nothing is entered any more: the file may not hold what was written to it.
	failed error
}

// Open opens the ledger at path, or starts one when there is no file. It holds a lock until it
// is closed; while another process holds it, waiting is called with what is known about that
// process, once, and Open waits until ctx ends.
func Open(ctx context.Context, path string, waiting func(holder string)) (*Ledger, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("ledger %s: %w", path, err)
	}
	lock, err := acquire(ctx, path, waiting)
	if err != nil {
		return nil, err
	}
	ledger := &Ledger{path: path, lock: lock, now: time.Now}
	if err := ledger.load(); err != nil {
		return nil, errors.Join(err, ledger.Close())
	}
	return ledger, nil
}

// Read returns what the ledger at path knows, without a lock and without changing anything.
// The error is os.ErrNotExist when there is none.
func Read(path string) (*State, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	state, _, err := replay(path, data)
	return state, err
}

// SetAside renames the ledger at path, so that the next Open starts a new one, and returns its
// new name; it is empty when there was none. The content is not looked at: this is the way out
// of a damaged ledger too.
func SetAside(ctx context.Context, path string, waiting func(holder string)) (string, error) {
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	lock, err := acquire(ctx, path, waiting)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	aside := path + "." + time.Now().UTC().Format("20060102T150405.000000000Z")
	if err := os.Rename(path, aside); err != nil {
		return "", fmt.Errorf("ledger %s: %w", path, err)
	}
	return aside, syncDirectory(path)
}

func acquire(ctx context.Context, path string, waiting func(holder string)) (*flock.Flock, error) {
	lock := flock.New(path+".lock", flock.SetPermissions(0o644))
	for told := false; ; told = true {
		held, err := lock.TryLock()
		if err != nil {
			return nil, fmt.Errorf("ledger %s: lock: %w", path, err)
		}
		if held {
			break
		}
		holder := "another verify"
		if pid, err := os.ReadFile(lock.Path()); err == nil && len(pid) > 0 {
			holder += " (process " + strings.TrimSpace(string(pid)) + ")"
		}
		if !told {
			waiting(holder)
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("ledger %s is in use by %s: %w", path, holder, context.Cause(ctx)), lock.Close())
		case <-time.After(lockPoll):
		}
	}
	// For the message of whoever waits; the lock itself is the kernel's. Windows lets nobody write
	// to a locked file, and the message does without.
	_ = os.WriteFile(lock.Path(), []byte(strconv.Itoa(os.Getpid())+"\n"), 0o644)
	return lock, nil
}

func (l *Ledger) load() error {
	data, err := os.ReadFile(l.path)
	if errors.Is(err, os.ErrNotExist) {
		return l.create()
	}
	if err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	state, chain, err := replay(l.path, data)
	if err != nil {
		return err
	}
	l.state, l.chain = *state, chain
	if err := l.openFile(); err != nil {
		return err
	}
	if l.state.TornBytes > 0 {
		if err := l.file.Truncate(l.state.Size); err != nil {
			return fmt.Errorf("ledger %s: drop the torn last record: %w", l.path, err)
		}
	}
	return nil
}

func (l *Ledger) openFile() (err error) {
	if l.file, err = os.OpenFile(l.path, os.O_WRONLY|os.O_APPEND, 0); err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	return nil
}

func replay(path string, data []byte) (*State, uint32, error) {
	if !bytes.HasPrefix(data, []byte(magic)) {
		return nil, 0, &DamagedError{Path: path, Offset: 0, Reason: "it does not begin as a ledger does"}
	}
	state := &State{}
	offset, chain := len(magic), uint32(0)
	for offset < len(data) {
		content, size, next, reason := nextFrame(data[offset:], chain)
		if reason == "" && size == 0 {
			break
		}
		if reason == "" {
			entry, err := decode(content)
			if err == nil {
				err = state.apply(entry)
			}
			if err != nil {
				reason = err.Error()
			}
		}
		if reason != "" {
			return nil, 0, &DamagedError{Path: path, Offset: int64(offset), Reason: reason}
		}
		offset, chain = offset+size, next
	}
	if state.ID == "" {
		// A ledger comes into being with its first record in place, so this is no torn write.
		return nil, 0, &DamagedError{Path: path, Offset: int64(offset), Reason: "it ends before its first record"}
	}
	state.Size, state.TornBytes = int64(offset), int64(len(data)-offset)
	return state, chain, nil
}

func (l *Ledger) create() error {
	var id [8]byte
	if _, err := rand.Read(id[:]); err != nil {
		return fmt.Errorf("ledger %s: %w", l.path, err)
	}
	return l.rewrite([]record{{Kind: kindCreated, At: l.now().UTC(), ID: hex.EncodeToString(id[:])}})
}

// rewrite puts a file of the given records in the ledger's place in one step, so that a kill at
// any point leaves the old one or the new one.
func (l *Ledger) rewrite(records []record) error {
	content := []byte(magic)
	chain, state := uint32(0), State{}
	for _, entry := range records {
		encoded, err := entry.encode()
		if err != nil {
			return fmt.Errorf("ledger %s: %w", l.path, err)
		}
		if err := state.apply(entry); err != nil {
			return fmt.Errorf("ledger %s: %w", l.path, err)
		}
		content, chain = appendFrame(content, encoded, chain)
	}
	state.Size = int64(len(content))
	temporary := l.path + ".new"
	file, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	defer os.Remove(temporary) // There is none any more when all went well.
	_, err = file.Write(content)
	if err == nil {
		err = file.Sync()
	}
	// Windows renames no file that is open, and replaces none.
	err = errors.Join(err, file.Close())
	if err == nil && l.file != nil {
		err = l.file.Close()
		l.file = nil
	}
	if err == nil {
		err = os.Rename(temporary, l.path)
	}
	if err == nil {
		err = syncDirectory(l.path)
	}
	if err != nil {
		return fmt.Errorf("ledger %s: %w", l.path, err)
	}
	l.state, l.chain = state, chain
	return l.openFile()
}

// syncDirectory puts the names of a file's directory on disk.
func syncDirectory(path string) error {
	if runtime.GOOS == "windows" {
		// It has no such thing: the file system keeps a journal of names.
		return nil
	}
	directory, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(directory.Sync(), directory.Close())
}

func (l *Ledger) append(entry record) error {
	if l.failed != nil {
		return l.failed
	}
	content, err := entry.encode()
	if err != nil {
		return fmt.Errorf("ledger %s: %w", l.path, err)
	}
	frame, chain := appendFrame(nil, content, l.chain)
	// One write: a process killed in it leaves a prefix, and so does a full disk.
	if _, err := l.file.Write(frame); err != nil {
		return l.cutOff(fmt.Errorf("ledger %s: %w", l.path, err))
	}
	l.chain = chain
	l.state.Size += int64(len(frame))
	if err := l.state.apply(entry); err != nil {
		return fmt.Errorf("ledger %s: %w", l.path, err)
	}
	return nil
}

// cutOff removes what was written of a record that failed: what is entered behind it could never
// be read. It returns the failure.
func (l *Ledger) cutOff(failure error) error {
	if err := l.file.Truncate(l.state.Size); err != nil {
		l.failed = fmt.Errorf("%w; what was written of the record could not be cut off: %w", failure, err)
		return l.failed
	}
	return failure
}

// State is what the ledger knows. It changes with every entry; the caller does not change it.
func (l *Ledger) State() *State { return &l.state }

// Path is where the ledger lies.
func (l *Ledger) Path() string { return l.path }

// StartRun enters a run. The rows of an adopted one were written by somebody else.
func (l *Ledger) StartRun(id, seed int64, adopted bool) error {
	return l.append(record{Kind: kindRun, At: l.now().UTC(), Run: id, Seed: seed, Adopted: adopted})
}

// Intend enters rows that are about to be sent in transactions of unit rows each. The entry is
// on disk when Intend returns.
func (l *Ledger) Intend(run, first, rows, unit int64) error {
	err := l.append(record{Kind: kindRows, At: l.now().UTC(), Run: run, First: first, Rows: rows, Unit: unit, Status: Undecided})
	if err != nil {
		return err
	}
	return l.Sync()
}

// Resolve enters the status of rows. An outcome that is lost because the machine (not just the
// process) dies before the next Sync leaves the rows undecided, which claims less, never more.
func (l *Ledger) Resolve(run, first, rows int64, status Status) error {
	return l.append(record{Kind: kindRows, At: l.now().UTC(), Run: run, First: first, Rows: rows, Status: status})
}

// Aim enters that rows are to be written to a run, from its next row on.
func (l *Ledger) Aim(run, rows int64) error {
	entry := record{Kind: kindGoal, Run: run, Rows: rows}
	if known := l.state.Run(run); known != nil {
		entry.First = known.Next()
	}
	return l.append(entry)
}

// Saw enters what was seen of the database and its volume.
func (l *Ledger) Saw(sighting Sighting) error {
	return l.append(record{Kind: kindSighting, Sighting: &sighting})
}

// Finish enters the result of a command.
func (l *Ledger) Finish(result Result) error {
	return l.append(record{Kind: kindResult, Result: &result, Results: l.state.Results + 1})
}

// Sync puts every entry on disk. After it failed once nothing is entered any more: the kernel may
// have dropped what it could not write, and a later call would not say so.
func (l *Ledger) Sync() error {
	if l.failed == nil {
		if err := l.file.Sync(); err != nil {
			l.failed = fmt.Errorf("ledger %s: %w", l.path, err)
		}
	}
	return l.failed
}

// Close puts every entry on disk, rewrites the file if it has grown, and lets others in.
func (l *Ledger) Close() error {
	var err error
	if l.file != nil {
		err = l.Sync()
		if err == nil && l.state.Size > compactionSize {
			err = l.compact()
		}
	}
	if l.file != nil {
		err = errors.Join(err, l.file.Close())
	}
	return errors.Join(err, l.lock.Close())
}

func (l *Ledger) compact() error {
	records := l.state.snapshot()
	size := len(magic)
	for _, entry := range records {
		content, err := entry.encode()
		if err != nil {
			return fmt.Errorf("ledger %s: %w", l.path, err)
		}
		size += headerSize + len(content) + chainSize
	}
	if int64(size) > l.state.Size/2 {
		return nil
	}
	return l.rewrite(records)
}
