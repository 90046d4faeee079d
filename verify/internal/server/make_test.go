package server

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"
)

// What another session makes at the same moment is there; everything else is an error.
func TestWhatIsMadeMeanwhileIsThere(t *testing.T) {
	t.Parallel()
	for code, problem := range map[string]bool{"23505": false, "42710": false, "42P06": false, "42P07": false, "42501": true} {
		err := Make(t.Context(), "verify.rows", []string{"create"}, func(context.Context, string, ...any) error {
			return &pgconn.PgError{Code: code}
		})
		require.Equal(t, problem, err != nil, code)
	}
}
