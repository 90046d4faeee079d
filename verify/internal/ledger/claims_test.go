package ledger

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestClaimsOfAllOrdinalsAreKept(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ledger")
	entries, err := Open(t.Context(), path, func(string) {})
	require.NoError(t, err)
	seen := Sighting{At: time.Now().UTC()}
	for _, ordinal := range []int{2, 0, 1} {
		seen.SetClaim(Claim{Ordinal: ordinal, UID: "uid", Volume: "pv"})
	}
	before := seen
	seen.SetClaim(Claim{Ordinal: 1, UID: "another"})
	seen.ForgetClaim(2)
	require.Equal(t, "uid", before.Claim(1).UID, "a copy keeps what it had")
	require.Equal(t, "uid", before.Claim(2).UID)
	require.NoError(t, entries.Saw(before))
	require.NoError(t, entries.Saw(seen))
	require.NoError(t, entries.Close())

	state, err := Read(path)
	require.NoError(t, err)
	require.Equal(t, []Claim{{Ordinal: 1, UID: "another"}}, state.Sighting.Claims)
	require.Equal(t, Claim{UID: "uid", Volume: "pv"}, state.Sighting.Claim(0))
	require.Equal(t, Claim{Ordinal: 7}, state.Sighting.Claim(7), "one that was never seen has no UID")
}

// A record as versions before several servers wrote it.
func TestSightingsOfEarlierVersionsAreRead(t *testing.T) {
	t.Parallel()
	entry, err := decode([]byte(`{"kind":"sighting","sighting":{"at":"2025-01-02T03:04:05Z","system_identifier":"1","timeline":1,
		"flushed_lsn":"0/1","claim_uid":"uid","volume":"pv","volume_uid":"v","stateful_set":"postgres"}}`))
	require.NoError(t, err)
	state := State{ID: "x"}
	require.NoError(t, state.apply(entry))
	require.Equal(t, Claim{UID: "uid", Volume: "pv", VolumeUID: "v"}, state.Sighting.Claim(0))
	require.Empty(t, state.Sighting.Claims)
	require.Empty(t, state.Sighting.Pod)
}
