package page

import (
	"fmt"
	"strconv"
	"time"

	"stateful-postgres/verify/internal/report"
)

// space is between a number and its unit: no line breaks there.
const space = "\u00a0"

func number(n int64) string { return report.Number(n) }

func plural(n int64, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// milliseconds writes a duration.
func milliseconds(ms int64) string {
	switch d := time.Duration(ms) * time.Millisecond; {
	case d < time.Second:
		return fmt.Sprintf("%d%sms", ms, space)
	// What rounds to a minute is one.
	case ms < 59_950:
		return fmt.Sprintf("%.1f%ss", d.Seconds(), space)
	case d.Round(time.Second) < time.Hour:
		d = d.Round(time.Second)
		return fmt.Sprintf("%d%smin%s%02d%ss", int(d.Minutes()), space, space, int(d.Seconds())%60, space)
	default:
		d = d.Round(time.Minute)
		return fmt.Sprintf("%d%sh%s%02d%smin", int(d.Hours()), space, space, int(d.Minutes())%60, space)
	}
}

// microseconds writes a latency, to three digits.
func microseconds(us int64) string {
	switch {
	case us < 1000:
		return fmt.Sprintf("%d%sµs", us, space)
	case us < 999_500:
		return digits(float64(us)/1e3) + space + "ms"
	default:
		return digits(float64(us)/1e6) + space + "s"
	}
}

// digits writes a number from 1 on to three digits, and all of those before the point.
func digits(x float64) string {
	switch {
	case x < 9.995:
		return strconv.FormatFloat(x, 'f', 2, 64)
	case x < 99.95:
		return strconv.FormatFloat(x, 'f', 1, 64)
	}
	return number(int64(x + 0.5))
}

// share writes where a part is within a whole.
func share(part, whole float64) string {
	if whole <= 0 {
		return "0%"
	}
	return compact(100*min(max(part/whole, 0), 1)) + "%"
}

// compact writes a number to a thousandth, without what says nothing.
func compact(x float64) string {
	return strconv.FormatFloat(float64(int64(x*1000+0.5))/1000, 'f', -1, 64)
}

// shorten takes characters from the middle of a name that is too long.
func shorten(name string, most int) string {
	runes := []rune(name)
	if len(runes) <= most {
		return name
	}
	head := (most - 1) / 2
	return string(runes[:head]) + "…" + string(runes[len(runes)-(most-1-head):])
}
