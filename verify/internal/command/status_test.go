package command_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"stateful-postgres/verify/internal/report"
)

func TestStatusReadsTheLedgerAlone(t *testing.T) {
	t.Parallel()
	args := onDatabase(t, "check", "--rows", "25")
	path := args[4]
	exitCode, _, _ := run(args...)
	require.Zero(t, exitCode)
	before, err := os.ReadFile(path)
	require.NoError(t, err)

	exitCode, stdout, _ := run("status", "--ledger", path, "-o", "json")
	require.Zero(t, exitCode)
	var status struct {
		Ledger     string `json:"ledger"`
		Exists     bool   `json:"exists"`
		Required   int64  `json:"required"`
		SizeBytes  int64  `json:"size_bytes"`
		Runs       []struct{ Acknowledged int64 }
		LastResult struct{ Verdict string } `json:"last_result"`
		LastSeen   struct {
			SystemIdentifier string `json:"system_identifier"`
		} `json:"last_seen"`
	}
	require.NoError(t, json.Unmarshal([]byte(stdout), &status))
	require.Equal(t, path, status.Ledger)
	require.True(t, status.Exists)
	require.EqualValues(t, 25, status.Required)
	require.EqualValues(t, len(before), status.SizeBytes)
	require.EqualValues(t, 25, status.Runs[0].Acknowledged)
	require.Equal(t, "proven", status.LastResult.Verdict)
	require.NotEmpty(t, status.LastSeen.SystemIdentifier)

	exitCode, stdout, _ = run("status", "--ledger", path)
	require.Zero(t, exitCode)
	require.Contains(t, stdout, "25 must be in the database")
	require.Contains(t, stdout, "check, proven:")
	after, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, before, after)
}

func TestStatusOfNoLedgerAndOfADamagedOne(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ledger")
	exitCode, stdout, _ := run("status", "--ledger", path)
	require.Zero(t, exitCode)
	require.Contains(t, stdout, "does not exist yet")
	require.NoError(t, os.WriteFile(path, []byte("something else"), 0o600))
	exitCode, _, stderr := run("status", "--ledger", path)
	require.Equal(t, report.ExitUnknown, exitCode)
	require.Contains(t, stderr, "damaged at offset 0")
	exitCode, _, stderr = run("status", "--ledger", path, "-o", "junit")
	require.Equal(t, report.ExitUsage, exitCode)
	require.Contains(t, stderr, "status makes no checks")
}
