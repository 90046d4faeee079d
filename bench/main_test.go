package main

import (
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPartsAreChosenByExpression(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		pattern string
		chosen  []string
	}{
		{"", partNames()},
		{"scale", []string{"scale"}},
		{"^(trace|start)$", []string{"start", "trace"}},
	} {
		found, err := chooseParts(c.pattern)
		require.NoError(t, err)
		var names []string
		for _, p := range found {
			names = append(names, p.name)
		}
		require.Equal(t, c.chosen, names, c.pattern)
	}
	_, err := chooseParts("nobody")
	require.ErrorContains(t, err, `-run "nobody": expected to match one or more of first, scale, `)
	_, err = chooseParts("(")
	require.ErrorContains(t, err, `-run "(": error parsing regexp`)
}

func TestReportOfSomePartsReplacesOnlyWholeSections(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		arguments []string
		output    string
	}{
		{nil, filepath.Join("docs", "benchmarks.md")},
		{[]string{"-run", "."}, filepath.Join("docs", "benchmarks.md")},
		{[]string{"-run", "scale"}, ""},
		{[]string{"-run", "trace|faults"}, filepath.Join("docs", "benchmarks.md")},
		{[]string{"-run", "scale", "-output", "some.md"}, "some.md"},
	} {
		o, err := readOptions(c.arguments)
		require.NoError(t, err)
		require.Equal(t, c.output, o.output, "%v", c.arguments)
	}
}

func TestPartsOfOneSectionAreTogether(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	last := ""
	for _, p := range parts {
		require.False(t, p.section != last && seen[p.section], "%s, of section %q, is apart from the section's others", p.name, p.section)
		seen[p.section], last = true, p.section
	}
}

func TestSectionsAreWholeWithAllTheirParts(t *testing.T) {
	t.Parallel()
	some := slices.DeleteFunc(slices.Clone(parts), func(p part) bool { return p.name == "memory" })
	require.Equal(t, sectionTitles()[1:], wholeSections(some))
	require.Equal(t, sectionTitles(), wholeSections(parts))
	require.Empty(t, wholeSections(nil))
}

func TestImpossibleOptionsAreRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		arguments []string
		problem   string
	}{
		{[]string{"-runs", "0"}, "-runs 0: expected 1 or more"},
		{[]string{"-rows", "9999"}, "-rows 9999: expected 10000 or more"},
		{[]string{"scale"}, `"scale": expected nothing after the flags`},
	} {
		_, err := readOptions(c.arguments)
		require.EqualError(t, err, c.problem)
	}
}

func TestReportNamesACommandThatAShellTakes(t *testing.T) {
	t.Parallel()
	o, err := readOptions([]string{"-run", "rates|long"})
	require.NoError(t, err)
	require.Equal(t, "go run ./bench -run 'rates|long'", o.command(nil))
}

func TestReportNamesNoPathOfTheMachine(t *testing.T) {
	t.Parallel()
	o, err := readOptions([]string{"-baseline", "/some/where", "-runs", "3"})
	require.NoError(t, err)
	require.Equal(t, "go run ./bench -baseline CHECKOUT-OF-abc1234 -runs 3", o.command(&earlier{commit: "abc1234"}))
	o, err = readOptions(nil)
	require.NoError(t, err)
	require.Equal(t, "go run ./bench", o.command(nil))
}
