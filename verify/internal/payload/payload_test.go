package payload_test

import (
	"context"
	"math"
	"math/big"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"stateful-postgres/verify/internal/payload"
	"stateful-postgres/verify/internal/pgtest"
)

func TestPayloadIsAStableFunctionOfSeedRunAndSequence(t *testing.T) {
	t.Parallel()
	// Written down once: a change of the function would make every existing ledger report
	// every row as altered.
	require.Equal(t, "3d001b87b3e7ba297dea061e78db196f", payload.NewSource(1, 2).Text(3))
}

func TestPayloadDependsOnEveryInput(t *testing.T) {
	t.Parallel()
	seen := map[string][3]int64{}
	for _, seed := range []int64{0, 1, -1, math.MaxInt64} {
		for _, run := range []int64{0, 1, 2, math.MaxInt64} {
			for _, seq := range []int64{0, 1, 2, 65535, 65536, math.MaxInt64} {
				text := payload.NewSource(seed, run).Text(seq)
				require.Len(t, text, payload.Size)
				require.NotContains(t, seen, text)
				seen[text] = [3]int64{seed, run, seq}
			}
		}
	}
}

func TestHashAndDigestAreTheServersOwn(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	server := pgtest.Start(t)
	conn, err := pgx.Connect(ctx, server.DSN("postgres"))
	require.NoError(t, err)
	defer conn.Close(ctx)

	text := "the quick brown fox jumps over the lazy dog, twice: äöü €"
	for length := range len(text) {
		if key := text[:length]; isWholeText(key) {
			for _, seed := range []int64{0, 1, -1, 65536, math.MinInt64, math.MaxInt64} {
				var hash int64
				require.NoError(t, conn.QueryRow(ctx,
					`select hashtextextended($1::text collate "C", $2::bigint)`, key, seed).Scan(&hash))
				require.Equal(t, hash, payload.Hash([]byte(key), seed), "%q with seed %d", key, seed)
			}
		}
	}

	source := payload.NewSource(42, 7)
	texts := make([]string, 1000)
	for i := range texts {
		texts[i] = source.Text(int64(i) + 100)
	}
	var rows int64
	var sum string
	require.NoError(t, conn.QueryRow(ctx,
		`select count(*), sum(hashtextextended(payload collate "C", 7::bigint # (ordinality + 99)))::text
		 from unnest($1::text[]) with ordinality as rows(payload, ordinality)`, texts).Scan(&rows, &sum))
	digest, err := payload.ParseDigest(rows, sum)
	require.NoError(t, err)
	require.Equal(t, digest, source.Digest(100, 1000))
}

// isWholeText says whether cutting left no half of a multi-byte character.
func isWholeText(s string) bool {
	for _, r := range s {
		if r == '\uFFFD' {
			return false
		}
	}
	return true
}

func TestDigestSurvivesTheServersNotation(t *testing.T) {
	t.Parallel()
	for name, hashes := range map[string][]int64{
		"none":     {},
		"zero":     {0},
		"negative": {-1, -2, math.MinInt64, math.MinInt64},
		"positive": {math.MaxInt64, math.MaxInt64, math.MaxInt64},
		"mixed":    {math.MaxInt64, -1, math.MinInt64, 5},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var digest payload.Digest
			for _, hash := range hashes {
				digest.Add(hash)
			}
			sum := new(big.Int)
			for _, hash := range hashes {
				sum.Add(sum, big.NewInt(hash))
			}
			parsed, err := payload.ParseDigest(digest.Rows, sum.String())
			require.NoError(t, err)
			require.Equal(t, digest, parsed)
		})
	}
	_, err := payload.ParseDigest(1, "1.5")
	require.ErrorContains(t, err, "1.5")
}

func TestDigestsOfNeighbouringRangesAddUp(t *testing.T) {
	t.Parallel()
	source := payload.NewSource(3, 4)
	merged := source.Digest(0, 500)
	merged.Merge(source.Digest(500, 1500))
	require.Equal(t, source.Digest(0, 2000), merged)
	require.NotEqual(t, source.Digest(0, 2000), payload.NewSource(3, 5).Digest(0, 2000))
}

func BenchmarkDigest(b *testing.B) {
	source := payload.NewSource(1, 2)
	for b.Loop() {
		source.Digest(0, 1000)
	}
}
