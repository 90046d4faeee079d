// Package required is for tests that need what a machine may not have.
package required

import (
	"os"
	"testing"
)

// Missing leaves a test out, visibly, because something that it needs is not there: why
// says what. Where the environment variable is set, as make test does it for what was
// installed, the test fails instead.
func Missing(t testing.TB, variable, why string) {
	t.Helper()
	if required := os.Getenv(variable); required != "" {
		t.Fatalf("%s (%s=%s)", why, variable, required)
	}
	t.Skip(why)
}
