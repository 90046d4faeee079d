package payload

import (
	"encoding/binary"
	"math/bits"
)

// Hash is PostgreSQL's hashtextextended(text, bigint) on a little-endian server for a text in
// a deterministic collation: hash_bytes_extended of src/common/hashfn.c, which is Bob
// Jenkins' lookup3 with a 64-bit seed and result.
func Hash(key []byte, seed int64) int64 {
	a, b, c := begin(len(key), seed)
	for len(key) >= 12 {
		a, b, c = scramble(a+binary.LittleEndian.Uint32(key), b+binary.LittleEndian.Uint32(key[4:]), c+binary.LittleEndian.Uint32(key[8:]))
		key = key[12:]
	}
	// The lowest byte of c is reserved for the length.
	for i, octet := range key {
		switch {
		case i < 4:
			a += uint32(octet) << (8 * i)
		case i < 8:
			b += uint32(octet) << (8 * (i - 4))
		default:
			c += uint32(octet) << (8 * (i - 7))
		}
	}
	return settle(a, b, c)
}

// hashWords is Hash of a payload that is still in words.
func hashWords(first, second, third, fourth uint64, seed int64) int64 {
	a, b, c := begin(Size, seed)
	a, b, c = scramble(a+uint32(first), b+uint32(first>>32), c+uint32(second))
	a, b, c = scramble(a+uint32(second>>32), b+uint32(third), c+uint32(third>>32))
	return settle(a+uint32(fourth), b+uint32(fourth>>32), c)
}

func begin(length int, seed int64) (a, b, c uint32) {
	a = uint32(0x9e3779b9) + uint32(length) + 3923095
	b, c = a, a
	if seed != 0 {
		a, b, c = scramble(a+uint32(uint64(seed)>>32), b+uint32(uint64(seed)), c)
	}
	return a, b, c
}

func scramble(a, b, c uint32) (uint32, uint32, uint32) {
	a -= c
	a ^= bits.RotateLeft32(c, 4)
	c += b
	b -= a
	b ^= bits.RotateLeft32(a, 6)
	a += c
	c -= b
	c ^= bits.RotateLeft32(b, 8)
	b += a
	a -= c
	a ^= bits.RotateLeft32(c, 16)
	c += b
	b -= a
	b ^= bits.RotateLeft32(a, 19)
	a += c
	c -= b
	c ^= bits.RotateLeft32(b, 4)
	b += a
	return a, b, c
}

func settle(a, b, c uint32) int64 {
	c ^= b
	c -= bits.RotateLeft32(b, 14)
	a ^= c
	a -= bits.RotateLeft32(c, 11)
	b ^= a
	b -= bits.RotateLeft32(a, 25)
	c ^= b
	c -= bits.RotateLeft32(b, 16)
	a ^= c
	a -= bits.RotateLeft32(c, 4)
	b ^= a
	b -= bits.RotateLeft32(a, 14)
	c ^= b
	c -= bits.RotateLeft32(b, 24)
	return int64(uint64(b)<<32 | uint64(c))
}
