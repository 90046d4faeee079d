package server

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Evidence is what a server shows about itself.
type Evidence struct {
	Version         string
	PostmasterStart time.Time
	InRecovery      bool
	// SystemIdentifier is given to a database by initdb; empty when it could not be seen.
	SystemIdentifier string
	Timeline         int64
	// FlushedLSN is how far the write-ahead log is durable; empty on a standby.
	FlushedLSN string
	// Checksums says whether pages carry checksums, ChecksumFailures how many were wrong.
	Checksums        bool
	ChecksumFailures int64
	// Commits and StatisticsReset belong to the database that is connected to.
	Commits         int64
	StatisticsReset time.Time
	// Collations are those whose version is not the recorded one any more.
	Collations []Collation
	// Database is the one that is connected to.
	Database Database
	// Defaults are settings that change what an acknowledged commit is worth to those who set
	// nothing themselves.
	Defaults []Default
	// Unseen are the things that the role may not see, and why.
	Unseen []string
}

// Database is a database of a server.
type Database struct {
	// OID stays the same however the database is renamed, and no other one of the server has it
	// while it exists.
	OID  uint32
	Name string
}

// Default is a setting as a session finds it that sets nothing itself.
type Default struct{ Name, Value string }

// Observe reads the evidence. What the role may not see is noted and left out.
func Observe(ctx context.Context, conn *pgx.Conn) (*Evidence, error) {
	e := &Evidence{}
	return e, Read(ctx, conn, func(tx pgx.Tx) error {
		may, err := e.readState(ctx, tx)
		if err != nil {
			return err
		}
		// All of these in one round trip.
		batch := &pgx.Batch{}
		e.queueDefaults(batch)
		e.queueLook(batch, may.identity, "identity", "system_identifier::text", "pg_control_system()", &e.SystemIdentifier)
		if e.InRecovery {
			// Of the last checkpoint, which may be one of before a failover.
			e.queueLook(batch, may.timeline, "timeline", "timeline_id", "pg_control_checkpoint()", &e.Timeline)
		}
		if may.version >= 120000 {
			queueRow(batch, "checksum failures", `select coalesce(sum(checksum_failures), 0)::bigint from pg_stat_database`, &e.ChecksumFailures)
		}
		queueCollations(batch, may.version, &e.Collations)
		return tx.SendBatch(ctx, batch).Close()
	})
}

// ObserveState reads what changes from one moment to the next: the rest of the evidence is left out.
func ObserveState(ctx context.Context, conn *pgx.Conn) (*Evidence, error) {
	e := &Evidence{}
	return e, Read(ctx, conn, func(tx pgx.Tx) error {
		_, err := e.readState(ctx, tx)
		return err
	})
}

// rights are what the role may see, and of what version.
type rights struct {
	version            int
	identity, timeline bool
}

// readState reads what every role may see, and what this one may see beside.
func (e *Evidence) readState(ctx context.Context, tx pgx.Tx) (rights, error) {
	var may rights
	var checksums, file string
	err := tx.QueryRow(ctx, `
		select current_setting('server_version'), current_setting('server_version_num')::int,
			pg_postmaster_start_time(), pg_is_in_recovery(), current_setting('data_checksums'),
			case when pg_is_in_recovery() then '' else pg_current_wal_flush_lsn()::text end,
			coalesce(s.xact_commit, 0), coalesce(s.stats_reset, 'epoch'), d.oid, d.datname,
			has_function_privilege('pg_control_system()', 'execute'), has_function_privilege('pg_control_checkpoint()', 'execute'),
			case when pg_is_in_recovery() then '' else pg_walfile_name(pg_current_wal_lsn()) end
		from pg_database d join pg_stat_database s on s.datid = d.oid where d.datname = current_database()`).
		Scan(&e.Version, &may.version, &e.PostmasterStart, &e.InRecovery, &checksums, &e.FlushedLSN, &e.Commits, &e.StatisticsReset,
			&e.Database.OID, &e.Database.Name, &may.identity, &may.timeline, &file)
	if err != nil {
		return may, fmt.Errorf("read the server's state: %w", err)
	}
	e.Checksums = checksums == "on"
	if file != "" {
		if e.Timeline, err = timelineOf(file); err != nil {
			return may, err
		}
	}
	if e.StatisticsReset.Unix() == 0 {
		e.StatisticsReset = time.Time{}
	}
	return may, nil
}

// queueDefaults queues what a session gets that sets nothing: a transaction that reads changes none
// of these settings.
func (e *Evidence) queueDefaults(batch *pgx.Batch) {
	batch.Queue(`select name, value from (values
			('default_transaction_read_only', current_setting('default_transaction_read_only'), 'on'),
			('fsync', current_setting('fsync'), 'off'),
			('synchronous_commit', current_setting('synchronous_commit'), 'off')) as settings (name, value, worse)
		where value = worse order by name`).Query(func(rows pgx.Rows) (err error) {
		if e.Defaults, err = pgx.CollectRows(rows, pgx.RowToStructByPos[Default]); err != nil {
			return fmt.Errorf("read the settings of sessions: %w", err)
		}
		return nil
	})
}

// queueLook queues a column of a function's one row, or notes it as unseen.
func (e *Evidence) queueLook(batch *pgx.Batch, allowed bool, what, column, function string, target any) {
	if !allowed {
		e.Unseen = append(e.Unseen, fmt.Sprintf("%s (no right to execute %s)", what, function))
		return
	}
	queueRow(batch, what, fmt.Sprintf(`select %s from %s`, column, function), target)
}

// queueRow queues a query of one row with one column.
func queueRow(batch *pgx.Batch, what, query string, target any) {
	batch.Queue(query).QueryRow(func(row pgx.Row) error {
		if err := row.Scan(target); err != nil {
			return fmt.Errorf("read %s: %w", what, err)
		}
		return nil
	})
}

// FindDatabase returns the name of the database with an OID; empty when there is none.
func FindDatabase(ctx context.Context, conn *pgx.Conn, oid uint32) (string, error) {
	var name string
	err := Read(ctx, conn, func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, `select coalesce((select datname from pg_database where oid = $1), '')`, oid).Scan(&name)
	})
	if err != nil {
		return "", fmt.Errorf("look for the database with the OID %d: %w", oid, err)
	}
	return name, nil
}

// Databases are the names of all databases that take connections.
func Databases(ctx context.Context, conn *pgx.Conn) ([]string, error) {
	var names []string
	err := Read(ctx, conn, func(tx pgx.Tx) error {
		found, err := tx.Query(ctx, `select datname from pg_database where datallowconn order by datname`)
		if err != nil {
			return err
		}
		names, err = pgx.CollectRows(found, pgx.RowTo[string])
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list the databases: %w", err)
	}
	return names, nil
}
