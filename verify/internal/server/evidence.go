package server

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
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
	// Unseen are the things that the role may not see, with the server's reason.
	Unseen []string
}

// Observe reads the evidence. What the role may not see is noted and left out.
func Observe(ctx context.Context, conn *pgx.Conn) (*Evidence, error) {
	var e Evidence
	var number int
	var checksums string
	err := conn.QueryRow(ctx, `
		select current_setting('server_version'), current_setting('server_version_num')::int,
			pg_postmaster_start_time(), pg_is_in_recovery(), current_setting('data_checksums'),
			case when pg_is_in_recovery() then '' else pg_current_wal_flush_lsn()::text end,
			coalesce(d.xact_commit, 0), coalesce(d.stats_reset, 'epoch')
		from pg_stat_database d where d.datname = current_database()`).
		Scan(&e.Version, &number, &e.PostmasterStart, &e.InRecovery, &checksums, &e.FlushedLSN, &e.Commits, &e.StatisticsReset)
	if err != nil {
		return nil, fmt.Errorf("read the server's state: %w", err)
	}
	e.Checksums = checksums == "on"
	if e.StatisticsReset.Unix() == 0 {
		e.StatisticsReset = time.Time{}
	}
	err = e.look("identity and timeline", conn.QueryRow(ctx, `
		select (select system_identifier::text from pg_control_system()), (select timeline_id from pg_control_checkpoint())`),
		&e.SystemIdentifier, &e.Timeline)
	if err != nil {
		return nil, err
	}
	if number >= 120000 {
		err := e.look("checksum failures", conn.QueryRow(ctx,
			`select coalesce(sum(checksum_failures), 0)::bigint from pg_stat_database`), &e.ChecksumFailures)
		if err != nil {
			return nil, err
		}
	}
	if e.Collations, err = collations(ctx, conn, number); err != nil {
		return nil, err
	}
	return &e, nil
}

// look reads one row, and notes it as unseen when the role may not.
func (e *Evidence) look(what string, row pgx.Row, targets ...any) error {
	err := row.Scan(targets...)
	var serverError *pgconn.PgError
	if errors.As(err, &serverError) && serverError.Code == "42501" {
		e.Unseen = append(e.Unseen, fmt.Sprintf("%s (%s)", what, serverError.Message))
		return nil
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", what, err)
	}
	return nil
}
