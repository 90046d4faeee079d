package server

import (
	"fmt"
	"strconv"
	"strings"
)

// LSN is a position in the write-ahead log.
type LSN uint64

// ParseLSN reads the notation of PostgreSQL, two hexadecimal numbers with a slash between.
func ParseLSN(text string) (LSN, error) {
	high, low, ok := strings.Cut(text, "/")
	upper, upperErr := strconv.ParseUint(high, 16, 32)
	lower, lowerErr := strconv.ParseUint(low, 16, 32)
	if !ok || upperErr != nil || lowerErr != nil {
		return 0, fmt.Errorf("log position %q: expected two hexadecimal numbers such as 0/1A2B3C", text)
	}
	return LSN(upper<<32 | lower), nil
}

// String writes a position as PostgreSQL does.
func (l LSN) String() string { return fmt.Sprintf("%X/%X", uint64(l)>>32, uint32(l)) }

// Sub is how many bytes of log lie between an earlier position and this one; negative for a later one.
func (l LSN) Sub(earlier LSN) int64 { return int64(l - earlier) }
