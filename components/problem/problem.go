// Package problem says what is wrong with a setting, as data. How a problem is
// put into words depends on who reads it, and is decided where it is shown.
package problem

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Problem is one setting that cannot work, or one thing that was found and stands
// in the way of every setting.
type Problem struct {
	// Setting is the name of the setting, or the path of one entry of it, like
	// parameters.work_mem. It is the name of the thing where Found is true.
	Setting string
	// Found says that the problem is with something that was found, not with a
	// value that was set.
	Found bool
	// Got is what was set, in the form in which it is shown: quoted and
	// shortened; for a secret, only what is wrong with it.
	Got string
	// Expected says what would have been valid, and why.
	Expected string
	// Remedies are what to do: one of them is enough.
	Remedies []Remedy
	// Note is further advice, "" for none.
	Note string
}

// New is a problem with a value that may be shown.
func New(setting, value, expected string, remedies ...Remedy) *Problem {
	return &Problem{Setting: setting, Got: Quote(value), Expected: expected, Remedies: remedies}
}

// NewFound is a problem with something that was found: got says what it is like.
func NewFound(thing, got, expected string, remedies ...Remedy) *Problem {
	return &Problem{Setting: thing, Found: true, Got: got, Expected: expected, Remedies: remedies}
}

// maxShownLength keeps a line a line, however long the value is.
const maxShownLength = 80

// Quote is a value in the form in which it is shown.
func Quote(value string) string {
	shown := strconv.Quote(value)
	if len(shown) > maxShownLength {
		shown = fmt.Sprintf("%s… (%d bytes)", strings.ToValidUTF8(shown[:maxShownLength], ""), len(value))
	}
	return shown
}

// WithNote adds further advice.
func (p *Problem) WithNote(note string) *Problem {
	p.Note = note
	return p
}

// Line is the problem in one line for somebody who sets settings in a certain way.
func (p Problem) Line(reader Reader) string {
	remedies := make([]string, 0, len(p.Remedies))
	for i, remedy := range p.Remedies {
		text := remedy.Text(reader)
		if i > 0 && remedy.Do == "" {
			text = "or: " + text
		} else if i > 0 {
			text = "or " + text
		}
		remedies = append(remedies, text)
	}
	line := fmt.Sprintf("%s: got %s, expected %s; %s", p.Setting, p.Got, p.Expected, strings.Join(remedies, ", "))
	if p.Note != "" {
		line += "; " + p.Note
	}
	return line
}

// Reader is who reads a message, and with it how a setting is changed.
type Reader int

const (
	// Program is somebody whose program declares the component: a setting is an
	// input there, and `pulumi config set` would change nothing.
	Program Reader = iota
	// CommandLine is somebody who sets settings with `pulumi config set`.
	CommandLine
)

// Error is everything that is wrong, found before anything was changed.
type Error struct {
	Problems []Problem
	Reader   Reader
}

// Error is one line for each problem, after one that says how many there are.
func (e *Error) Error() string {
	lines := make([]string, 0, len(e.Problems)+1)
	lines = append(lines, e.title()+", nothing was changed:")
	for _, problem := range e.Problems {
		lines = append(lines, "  "+problem.Line(e.Reader))
	}
	return strings.Join(lines, "\n")
}

func (e *Error) title() string {
	count := len(e.Problems)
	switch found := slices.ContainsFunc(e.Problems, func(p Problem) bool { return p.Found }); {
	case found && count == 1:
		return "1 thing stands in the way"
	case found:
		return fmt.Sprintf("%d things stand in the way", count)
	case count == 1:
		return "1 setting is invalid"
	default:
		return fmt.Sprintf("%d settings are invalid", count)
	}
}

// AsError is nil when there is no problem, so that it can be returned as an
// error.
func AsError(problems []Problem, reader Reader) error {
	if len(problems) == 0 {
		return nil
	}
	return &Error{Problems: problems, Reader: reader}
}

// Sort puts problems in the order of their settings.
func Sort(problems []Problem) {
	slices.SortStableFunc(problems, func(a, b Problem) int { return strings.Compare(a.Setting, b.Setting) })
}

// OneOf lists choices: "a, b or c".
func OneOf(choices []string) string {
	if len(choices) == 1 {
		return choices[0]
	}
	return strings.Join(choices[:len(choices)-1], ", ") + " or " + choices[len(choices)-1]
}
