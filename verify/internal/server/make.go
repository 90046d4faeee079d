package server

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"
)

// Make runs the statements that make a table and what it needs, each with "if not exists".
func Make(ctx context.Context, table string, statements []string, exec func(ctx context.Context, sql string, args ...any) error) error {
	for _, statement := range statements {
		if err := exec(ctx, statement); err != nil && !madeMeanwhile(err) {
			return fmt.Errorf("create table %s: %w", table, err)
		}
	}
	return nil
}

// madeMeanwhile recognises the race of "if not exists" with another session: a unique violation
// in the catalog, the object itself, or the type that a table has.
func madeMeanwhile(err error) bool {
	var serverError *pgconn.PgError
	if !errors.As(err, &serverError) {
		return false
	}
	switch serverError.Code {
	case "23505", "42710", "42P06", "42P07":
		return true
	}
	return false
}
