// Package saslprep says what becomes of a password on its way into SCRAM. The
// server and libpq prepare it by RFC 4013 (SASLprep), other clients by newer
// rules or by none, so that one which is changed by it lets some clients in and
// others not.
package saslprep

import (
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// Map changes a password as PostgreSQL does before it is hashed: other spaces
// become a space, some characters are left out, the rest is brought to the
// normal form KC. PostgreSQL takes a password as it is that holds what the RFC
// prohibits, so a changed one is not always what it uses. An unchanged one is,
// and every client sends it so.
func Map(password string) string {
	return norm.NFKC.String(strings.Map(func(r rune) rune {
		switch {
		case r == '\u200b', unicode.Is(unicode.Zs, r):
			return ' '
		case unicode.Is(leftOut, r):
			return -1
		}
		return r
	}, password))
}

// leftOut is table B.1 of RFC 3454, but for the space of no width, which
// PostgreSQL makes a space of.
var leftOut = &unicode.RangeTable{LatinOffset: 1, R16: []unicode.Range16{
	{Lo: 0x00ad, Hi: 0x00ad, Stride: 1},
	{Lo: 0x034f, Hi: 0x034f, Stride: 1},
	{Lo: 0x1806, Hi: 0x1806, Stride: 1},
	{Lo: 0x180b, Hi: 0x180d, Stride: 1},
	{Lo: 0x200c, Hi: 0x200d, Stride: 1},
	{Lo: 0x2060, Hi: 0x2060, Stride: 1},
	{Lo: 0xfe00, Hi: 0xfe0f, Stride: 1},
	{Lo: 0xfeff, Hi: 0xfeff, Stride: 1},
}}
