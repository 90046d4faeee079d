package server_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stateful-postgres/verify/internal/pgtest"
	"stateful-postgres/verify/internal/server"
)

// A server and libpq prepare a password as RFC 4013 (SASLprep) says, and take one as it is that may
// not be prepared. What psql logs in with, verify does.
func TestPasswordOfAnyFormLogsInAsWithPsql(t *testing.T) {
	t.Parallel()
	own := pgtest.Start(t)
	passwords := map[string]string{
		"ASCII":                             "p w'\\\"",
		"composed letter":                   "caf\u00e9",
		"decomposed letter":                 "cafe\u0301",
		"no-break space, made a space":      "a\u00a0b",
		"other spaces, made spaces":         "a\u2003\u3000\u1680b",
		"ordinal indicator, made a letter":  "a\u00aab",
		"Roman numeral, made letters":       "a\u2168b",
		"ligature, made letters":            "a\ufb01b",
		"fullwidth letter":                  "a\uff21b",
		"superscript digit":                 "a\u00b2b",
		"fraction":                          "a\u00bdb",
		"letter of another plane":           "a\U0001d400b",
		"compatibility jamo":                "\u3131",
		"soft hyphen, left out":             "a\u00adb",
		"zero width space, made a space":    "a\u200bb",
		"joiners, left out":                 "a\u200d\u2060b",
		"variation selector, left out":      "a\ufe0fb",
		"nothing but what is left out":      "\u00ad",
		"control character, as it is":       "a\u0007b",
		"private use, as it is":             "a\ue000b",
		"both directions, as they are":      "1\u0627a",
		"unassigned in 2002, as it is":      "a\U0001f600b",
		"unassigned, so nothing is changed": "\U0001f600\u00aa",
		"Cyrillic":                          "\u043f\u0430\u0440\u043e\u043b\u044c",
	}
	var roles []string
	for name := range passwords {
		roles = append(roles, name)
	}
	var statements []string
	for i, name := range roles {
		quoted := strings.ReplaceAll(passwords[name], "'", "''")
		statements = append(statements,
			"set password_encryption = 'scram-sha-256'", fmt.Sprintf("create role scram_%d login password '%s'", i, quoted),
			"set password_encryption = 'md5'", fmt.Sprintf("create role md5_%d login password '%s'", i, quoted))
	}
	own.Exec(t, own.DSN("postgres"), statements...)
	own.RequirePasswords(t)

	for i, name := range roles {
		for _, stored := range []string{"scram", "md5"} {
			role := fmt.Sprintf("%s_%d", stored, i)
			t.Run(name+", stored as "+stored, func(t *testing.T) {
				t.Parallel()
				password := passwords[name]
				psql := own.Program(t.Context(), "psql", "--no-psqlrc", "--no-password", "--host", "127.0.0.1", "--port", fmt.Sprint(own.Port),
					"--username", role, "--dbname", "postgres", "--command", "select 1")
				psql.Env = append(os.Environ(), "PGPASSWORD="+password)
				out, err := psql.CombinedOutput()
				require.NoError(t, err, string(out))
				require.NoError(t, login(t, own, role, password))
				require.ErrorContains(t, login(t, own, role, password+"x"), "28P01")
			})
		}
	}
}

func login(t *testing.T, own *pgtest.Server, role, password string) error {
	t.Helper()
	config, err := server.Config([]string{fmt.Sprintf("127.0.0.1:%d", own.Port)}, "postgres", role, password, nil)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	conn, err := server.Connect(ctx, config)
	if err == nil {
		require.NoError(t, conn.Close(ctx))
	}
	return err
}
