// Package payload says what a row must contain. The text of a row is a function of
// (seed, run, sequence), so it is never stored outside the database, and the digest that an
// intact server reports can be computed here without asking it.
package payload

import (
	"encoding/binary"
	"math/bits"
)

// Size is the length of every payload in bytes: 128 bits as lower-case hexadecimal digits.
const Size = 32

// golden is the increment of SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom
// number generators", OOPSLA 2014): odd, so that every sequence number gets a state of its own.
const golden = 0x9e3779b97f4a7c15

// Source yields the payloads of one run.
type Source struct {
	state uint64
	run   int64
}

// NewSource returns the source of a run's payloads.
func NewSource(seed, run int64) Source {
	return Source{state: mix(uint64(seed)) + mix(uint64(run)^golden), run: run}
}

// Append appends the payload of row seq to dst.
func (s Source) Append(dst []byte, seq int64) []byte {
	first, second, third, fourth := s.words(seq)
	dst = binary.LittleEndian.AppendUint64(dst, first)
	dst = binary.LittleEndian.AppendUint64(dst, second)
	dst = binary.LittleEndian.AppendUint64(dst, third)
	return binary.LittleEndian.AppendUint64(dst, fourth)
}

// words are the characters of the payload of row seq, eight to a word, the first one lowest.
// Four results stay in registers, which an array of four does not.
func (s Source) words(seq int64) (first, second, third, fourth uint64) {
	high := mix(s.state + uint64(seq)*golden)
	low := mix(high ^ bits.RotateLeft64(s.state, 32) ^ uint64(seq))
	return hexDigits(uint32(high >> 32)), hexDigits(uint32(high)), hexDigits(uint32(low >> 32)), hexDigits(uint32(low))
}

// Text returns the payload of row seq.
func (s Source) Text(seq int64) string {
	return string(s.Append(make([]byte, 0, Size), seq))
}

// Digest returns what an intact table reports for rows first to first+rows-1.
func (s Source) Digest(first, rows int64) Digest {
	var digest Digest
	for seq := first; seq < first+rows; seq++ {
		first, second, third, fourth := s.words(seq)
		digest.Add(hashWords(first, second, third, fourth, s.run^seq))
	}
	return digest
}

// mix is the finalizer of SplitMix64: a bijection in which every input bit reaches every
// output bit.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// hexDigits returns the 8 hexadecimal digits of x as characters, the first one in the lowest
// byte. All of them are made at once, which is what makes a digest of millions of rows cheap.
func hexDigits(x uint32) uint64 {
	const each = 0x0101010101010101
	nibbles := uint64(x)
	nibbles = (nibbles<<16 | nibbles) & 0x0000ffff0000ffff
	nibbles = (nibbles<<8 | nibbles) & 0x00ff00ff00ff00ff
	nibbles = (nibbles<<4 | nibbles) & (15 * each)
	letters := (nibbles + 6*each) >> 4 & each
	return bits.ReverseBytes64(nibbles + '0'*each + letters*('a'-'9'-1))
}
