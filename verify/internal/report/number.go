package report

import (
	"strconv"
	"strings"
	"time"

	"stateful-postgres/internal/progress"
)

// Number writes a count with its thousands apart.
func Number(n int64) string {
	digits := strconv.FormatInt(n, 10)
	sign := ""
	if strings.HasPrefix(digits, "-") {
		sign, digits = "-", digits[1:]
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return sign + digits
}

// Plural writes a count of things.
func Plural(n int64, singular string) string {
	if n == 1 {
		return "1 " + singular
	}
	return Number(n) + " " + singular + "s"
}

// Duration writes a duration as a person would say it.
func Duration(d time.Duration) string { return progress.Duration(d) }

// Time writes a moment in the reader's time zone.
func Time(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05") }
