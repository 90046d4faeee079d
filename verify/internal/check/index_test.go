package check

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stateful-postgres/verify/internal/ledger"
	"stateful-postgres/verify/internal/rows"
)

func TestManyRowsAreComparedWithTheirIndexOnceForEachStart(t *testing.T) {
	t.Parallel()
	started := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for name, test := range map[string]struct {
		rows       int64
		comparedAt time.Time
		deep       bool
		primaryKey string
		expected   bool
	}{
		"few rows":                      {1000, started, false, "k", true},
		"many, never compared":          {alwaysCompared + 1, time.Time{}, false, "k", true},
		"many, compared before a start": {alwaysCompared + 1, started.Add(-time.Hour), false, "k", true},
		"many, compared since":          {alwaysCompared + 1, started, false, "k", false},
		"many, asked for":               {alwaysCompared + 1, started, true, "k", true},
		"no primary key":                {1000, time.Time{}, true, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			entries, err := ledger.Open(t.Context(), filepath.Join(t.TempDir(), "ledger"), func(string) {})
			require.NoError(t, err)
			defer entries.Close()
			require.NoError(t, entries.StartRun(1, 2, false))
			require.NoError(t, entries.Resolve(1, 0, test.rows, ledger.Acknowledged))
			require.NoError(t, entries.Saw(ledger.Sighting{At: started, IndexComparedFor: test.comparedAt}))
			checker := &Checker{Ledger: entries, Deep: test.deep, sighting: ledger.Sighting{PostmasterStart: started}}
			require.Equal(t, test.expected, checker.comparesIndex(rows.Condition{PrimaryKey: test.primaryKey}))
		})
	}
}
