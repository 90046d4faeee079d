package command_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"stateful-postgres/verify/internal/report"
)

func TestThroughThatCannotBeMeantIsAUsageError(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		args     []string
		expected string
	}{
		"with --times":     {[]string{"--through", "1,0", "--times", "2"}, "--through and --times or --to exclude each other"},
		"negative":         {[]string{"--through", "1,-1"}, "--through -1: expected 0 or more"},
		"twice the same":   {[]string{"--through", "1,1"}, "--through 1,1: expected another number after it"},
		"no number":        {[]string{"--through", "1,x"}, "--through"},
		"without a Pulumi": {[]string{"--through", "1,0", "--dsn", "postgres://u@127.0.0.1/d"}, "cycle needs a Pulumi stack"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			exitCode, stdout, stderr := run(append([]string{"cycle"}, test.args...)...)
			require.Equal(t, report.ExitUsage, exitCode, stderr)
			require.Empty(t, stdout)
			require.Contains(t, stderr, test.expected)
		})
	}
}
