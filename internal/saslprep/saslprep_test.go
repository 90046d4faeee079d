package saslprep_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"stateful-postgres/internal/saslprep"
)

// That a real server and psql do the same is a test of verify's package server.
func TestMap(t *testing.T) {
	t.Parallel()
	for password, expected := range map[string]string{
		"":                          "",
		"Abc 123!":                  "Abc 123!",
		"caf\u00e9":                 "caf\u00e9",
		"cafe\u0301":                "caf\u00e9",
		"a\u00a0\u1680\u200b\u3000": "a    ",
		"a\u00ad\u200d\ufe0fb":      "ab",
		"\u00aa\u2168\ufb01\uff21":  "aIXfiA",
		"\u043f\u5bc6\U0001f600":    "\u043f\u5bc6\U0001f600",
		"a\u0340b":                  "\u00e0b",
	} {
		require.Equal(t, expected, saslprep.Map(password), "%+q", password)
	}
}
