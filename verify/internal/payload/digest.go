package payload

import (
	"fmt"
	"math/big"
	"math/bits"
)

// Digest is what one pass over rows yields: how many there are, and the exact sum of their
// hashes. Each hash is seeded with its row's run and sequence number, so rows that traded their
// contents or places do not cancel out. It is the same value as SQL's
// count(*), sum(hashtextextended(payload, run # seq)).
type Digest struct {
	Rows int64
	// The sum as a signed 128-bit number: 2^63 rows of 64-bit hashes cannot overflow it.
	high int64
	low  uint64
}

// Add counts one row with the given hash.
func (d *Digest) Add(hash int64) {
	var carry uint64
	d.low, carry = bits.Add64(d.low, uint64(hash), 0)
	d.high += hash>>63 + int64(carry)
	d.Rows++
}

// Merge adds the rows of other.
func (d *Digest) Merge(other Digest) {
	var carry uint64
	d.low, carry = bits.Add64(d.low, other.low, 0)
	d.high += other.high + int64(carry)
	d.Rows += other.Rows
}

// Sum is the sum of the hashes in decimal, as PostgreSQL writes a numeric.
func (d Digest) Sum() string {
	sum := new(big.Int).Lsh(big.NewInt(d.high), 64)
	return sum.Add(sum, new(big.Int).SetUint64(d.low)).String()
}

// ParseDigest reads a digest from the server's count and sum. The sum of no rows is empty.
func ParseDigest(rows int64, sum string) (Digest, error) {
	if sum == "" {
		return Digest{Rows: rows}, nil
	}
	value, ok := new(big.Int).SetString(sum, 10)
	if !ok {
		return Digest{}, fmt.Errorf("digest %q: expected a whole number", sum)
	}
	low := new(big.Int).And(value, new(big.Int).SetUint64(^uint64(0)))
	high := new(big.Int).Rsh(value, 64)
	if !high.IsInt64() {
		return Digest{}, fmt.Errorf("digest %q: expected at most 128 bits", sum)
	}
	return Digest{Rows: rows, high: high.Int64(), low: low.Uint64()}, nil
}
