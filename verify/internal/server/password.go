package server

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"stateful-postgres/internal/saslprep"
)

const wrongPassword = "28P01"

// Connect opens a connection. It sends the password as pgx does and, where that is not taken, as
// libpq does: for SCRAM, pgx prepares it by a newer rule (RFC 8265) than PostgreSQL, so that psql
// logs in with passwords that pgx does not. For MD5 neither changes it.
func Connect(ctx context.Context, config *pgx.ConnConfig) (*pgx.Conn, error) {
	conn, err := pgx.ConnectConfig(ctx, config)
	var refused *pgconn.PgError
	if err == nil || !errors.As(err, &refused) || refused.Code != wrongPassword {
		return conn, err
	}
	prepared := saslprep.Map(config.Password)
	if prepared == config.Password {
		return nil, err
	}
	config = config.Copy()
	config.Password = prepared
	conn, again := pgx.ConnectConfig(ctx, config)
	if again != nil {
		return nil, err
	}
	return conn, nil
}
