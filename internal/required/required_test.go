package required_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"stateful-postgres/internal/required"
)

// seen notes what becomes of a test.
type seen struct {
	testing.TB
	said    string
	skipped bool
}

func (s *seen) Fatalf(format string, arguments ...any) { s.said = fmt.Sprintf(format, arguments...) }

func (s *seen) Skip(arguments ...any) {
	if s.said == "" {
		s.said, s.skipped = fmt.Sprint(arguments...), true
	}
}

func TestMissing(t *testing.T) {
	const variable = "STATEFUL_POSTGRES_REQUIRE_NOTHING"
	for name, test := range map[string]struct {
		value, said string
		skipped     bool
	}{
		"left out": {"", "there is none", true},
		"fails":    {"1", "there is none (" + variable + "=1)", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(variable, test.value)
			seen := &seen{TB: t}
			required.Missing(seen, variable, "there is none")
			require.Equal(t, test.said, seen.said)
			require.Equal(t, test.skipped, seen.skipped)
		})
	}
}
