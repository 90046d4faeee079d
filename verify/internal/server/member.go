package server

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// Member is what one of several servers shows about itself and about those that follow it.
type Member struct {
	// SystemIdentifier is empty when the role may not see it.
	SystemIdentifier string
	PostmasterStart  time.Time
	InRecovery       bool
	// Timeline is the one that a primary writes and a standby receives; 0 for a standby that
	// receives nothing.
	Timeline int64
	// Hidden says that the role may not see what a standby receives.
	Hidden bool
	// LSN is how far a primary's log is durable, and how far a standby has replayed it.
	LSN LSN
	// Streams are those that a primary sends.
	Streams []Stream
	// Slots are those of a primary, by name.
	Slots map[string]Slot
}

// Stream is what a primary sends to somebody who receives its log.
type Stream struct {
	// Name is what the receiver calls itself; Patroni's standbys by their pods.
	Name string
	// State is streaming once the receiver has caught up; it is empty where the role may not see it.
	State string
	// SyncState is sync for one that commits wait for.
	SyncState string
}

// Slot is a primary's note of how much log somebody still needs.
type Slot struct {
	Active bool
	// WALStatus is lost when the log is not there any more.
	WALStatus string
}

// ObserveMember reads what there is to know about a server as one of several.
func ObserveMember(ctx context.Context, conn *pgx.Conn) (*Member, error) {
	m := &Member{}
	err := Read(ctx, conn, func(tx pgx.Tx) error { return m.read(ctx, tx) })
	if err != nil {
		return nil, fmt.Errorf("read the server's place among the others: %w", err)
	}
	return m, nil
}

func (m *Member) read(ctx context.Context, tx pgx.Tx) error {
	var file, position string
	var mayIdentify bool
	// The control file tells the timeline of the last checkpoint, which may be before a failover. The
	// name of a file of the log begins with the timeline that is written.
	err := tx.QueryRow(ctx, `
		select pg_postmaster_start_time(), pg_is_in_recovery(),
			case when pg_is_in_recovery() then '' else pg_walfile_name(pg_current_wal_lsn()) end,
			coalesce(case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_flush_lsn() end, '0/0')::text,
			coalesce((select received_tli from pg_stat_wal_receiver where status = 'streaming'), 0),
			exists (select from pg_stat_wal_receiver where status is null),
			has_function_privilege('pg_control_system()', 'execute')`).
		Scan(&m.PostmasterStart, &m.InRecovery, &file, &position, &m.Timeline, &m.Hidden, &mayIdentify)
	if err != nil {
		return err
	}
	if m.LSN, err = ParseLSN(position); err != nil {
		return err
	}
	if mayIdentify {
		if err := tx.QueryRow(ctx, `select system_identifier::text from pg_control_system()`).Scan(&m.SystemIdentifier); err != nil {
			return err
		}
	}
	if m.InRecovery {
		return nil
	}
	if m.Timeline, err = timelineOf(file); err != nil {
		return err
	}
	return m.readFollowers(ctx, tx)
}

// timelineOf reads the timeline from the name of a file of the log, whose first 8 hexadecimal digits
// it is.
func timelineOf(file string) (int64, error) {
	if len(file) < 8 {
		return 0, fmt.Errorf("name of a log file %q: expected 24 hexadecimal digits", file)
	}
	return strconv.ParseInt(file[:8], 16, 64)
}

func (m *Member) readFollowers(ctx context.Context, tx pgx.Tx) error {
	found, err := tx.Query(ctx, `select coalesce(application_name, ''), coalesce(state, ''), coalesce(sync_state, '') from pg_stat_replication`)
	if err != nil {
		return err
	}
	if m.Streams, err = pgx.CollectRows(found, pgx.RowToStructByPos[Stream]); err != nil {
		return err
	}
	found, err = tx.Query(ctx, `select slot_name, active, coalesce(wal_status, '') from pg_replication_slots where slot_type = 'physical'`)
	if err != nil {
		return err
	}
	m.Slots = map[string]Slot{}
	var name string
	var slot Slot
	_, err = pgx.ForEachRow(found, []any{&name, &slot.Active, &slot.WALStatus}, func() error { m.Slots[name] = slot; return nil })
	return err
}

// Stream returns what a primary sends to a receiver of a name. One that streams counts before one
// that copies the files.
func (m *Member) Stream(name string) (Stream, bool) {
	var found Stream
	there := false
	for _, stream := range m.Streams {
		if stream.Name == name && (!there || stream.State == "streaming") {
			found, there = stream, true
		}
	}
	return found, there
}

// SlotName is the name that Patroni gives the slot of a member
// (patroni/dcs/__init__.py, slot_name_from_member_name).
func SlotName(member string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '-' || r == '.':
			return '_'
		case r >= 'A' && r <= 'Z':
			return r - 'A' + 'a'
		}
		return r
	}, member)
}

// Replayed is how far a standby has replayed the log, or a primary has written it.
func Replayed(ctx context.Context, conn *pgx.Conn) (LSN, error) {
	var position string
	err := Read(ctx, conn, func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, `select coalesce(case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_lsn() end, '0/0')::text`).Scan(&position)
	})
	if err != nil {
		return 0, fmt.Errorf("read the position in the write-ahead log: %w", err)
	}
	return ParseLSN(position)
}

// Branch is where a timeline branched off from the one before.
type Branch struct {
	// Parent is the timeline before, At how much of it belongs to the history.
	Parent int64
	At     LSN
}

// History is how a timeline came about: the branches that lead to it, the first one first.
type History []Branch

// Began is where the timeline of the history itself began; false for the first one.
func (h History) Began() (LSN, bool) {
	if len(h) == 0 {
		return 0, false
	}
	return h[len(h)-1].At, true
}

// Left is how much of an earlier timeline belongs to the history; false when it is none of it.
func (h History) Left(timeline int64) (LSN, bool) {
	for _, branch := range h {
		if branch.Parent == timeline {
			return branch.At, true
		}
	}
	return 0, false
}

// ReadHistory reads the history of a timeline from its file on the server. It returns false when the
// role may not read it, or when there is no such file.
func ReadHistory(ctx context.Context, conn *pgx.Conn, timeline int64) (History, bool, error) {
	if timeline == 1 {
		return nil, true, nil
	}
	var content *string
	err := Read(ctx, conn, func(tx pgx.Tx) error {
		var may bool
		err := tx.QueryRow(ctx, `select has_function_privilege('pg_read_file(text, bigint, bigint, boolean)', 'execute')`).Scan(&may)
		if err != nil || !may {
			return err
		}
		// 1 GB is the most that a text can hold: it means all of it.
		return tx.QueryRow(ctx, `select pg_read_file($1, 0, 1000000000, true)`, fmt.Sprintf("pg_wal/%08X.history", timeline)).Scan(&content)
	})
	if err != nil {
		return nil, false, fmt.Errorf("read the history of timeline %d: %w", timeline, err)
	}
	if content == nil {
		return nil, false, nil
	}
	history, err := parseHistory(*content)
	return history, err == nil, err
}

// parseHistory reads the format of timeline.c: a parent, a position and a reason in each line, and
// comments after #.
func parseHistory(content string) (History, error) {
	var history History
	for line := range strings.Lines(content) {
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		if len(fields) < 2 {
			return nil, fmt.Errorf("history of a timeline, line %q: expected a timeline and a position", line)
		}
		parent, err := strconv.ParseInt(fields[0], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("history of a timeline, line %q: %w", line, err)
		}
		at, err := ParseLSN(fields[1])
		if err != nil {
			return nil, fmt.Errorf("history of a timeline, line %q: %w", line, err)
		}
		history = append(history, Branch{Parent: parent, At: at})
	}
	return history, nil
}
