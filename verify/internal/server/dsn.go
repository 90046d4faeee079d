package server

import (
	"github.com/jackc/pgx/v5/pgconn"
)

// harmless are the words of a connection string that are neither a password nor a setting of the
// server: https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS, as far as
// pgx knows them.
var harmless = []string{
	"host", "port", "database", "user", "passfile", "connect_timeout", "sslmode", "ssl", "sslkey", "sslcert", "sslcertmode", "sslrootcert",
	"sslnegotiation", "sslsni", "krbspn", "krbsrvname", "target_session_attrs", "service", "servicefile", "min_protocol_version",
	"max_protocol_version", "channel_binding", "require_auth",
}

// HoldsPassword says whether a connection string sets a password itself, in any way that it can be
// written. What comes from the environment or a file is not the connection string's.
func HoldsPassword(dsn string) (bool, error) {
	config, err := pgconn.ParseConfig(dsn)
	if err != nil {
		return false, err
	}
	allowed := harmless
	for name := range config.RuntimeParams {
		allowed = append(allowed[:len(allowed):len(allowed)], name)
	}
	// It fails for a word that is not allowed, and only those of passwords are left.
	_, err = pgconn.ParseConfigWithOptions(dsn, pgconn.ParseConfigOptions{ConnStringAllowedKeys: allowed})
	return err != nil, nil
}
