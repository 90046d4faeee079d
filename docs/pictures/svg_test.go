package main

import (
	"encoding/xml"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTerminalOutputIsReadAsSpans(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		output string
		want   [][]span
	}{
		"plain lines, as a terminal ends them": {
			"one\r\n\r\n  two\n",
			[][]span{{{text: "one"}}, nil, {{text: "  two"}}},
		},
		"colours, and where they end": {
			"a \x1b[31;1m✗\x1b[0m b\x1b[30;42m PASS \x1b[m",
			[][]span{{
				{text: "a "},
				{look{foreground: "red", weight: "bold"}, 2, "✗"},
				{column: 3, text: " b"},
				{look{foreground: "black", background: "green"}, 5, " PASS "},
			}},
		},
		"a line that is too long, as a terminal wraps it": {
			strings.Repeat("x", 25) + "\x1b[2my\x1b[0m",
			[][]span{{{text: strings.Repeat("x", 20)}}, {{text: "xxxxx"}, {look{weight: "faint"}, 5, "y"}}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := parse(test.output, 20)
			require.NoError(t, err)
			require.Equal(t, test.want, got)
		})
	}
}

func TestWhatCannotBeDrawnIsRefused(t *testing.T) {
	t.Parallel()
	for output, says := range map[string]string{
		"fine\nspinner\r\x1b[K":     "line 2 goes back to its start",
		"\x1b[2Acursor":             `line 1: cannot draw the control sequence "\x1b[2A"`,
		"\x1b]0;title\x07":          "cannot draw the control sequence",
		"\x1b[38;5;2mmany colours":  "line 1: cannot draw the attribute 38",
		"\x1b[3mcursive":            "line 1: cannot draw the attribute 3",
		"half a sequence \x1b[":     "cannot draw the control sequence",
		"a\tb":                      "cannot draw the control sequence",
		"\x1b[1mfine\x1b[0m\x1b[7m": "cannot draw the attribute 7",
	} {
		_, err := draw("title", output, 20)
		require.ErrorContains(t, err, says, "%q", output)
	}
}

func TestPictureHoldsTheTextTwice(t *testing.T) {
	t.Parallel()
	svg, err := draw("a & b", "\x1b[1mHead\x1b[0m\r\n  \x1b[32m✓\x1b[0m <rows>     1\r\n", 20)
	require.NoError(t, err)
	var picture struct {
		Title  string `xml:"title"`
		Desc   string `xml:"desc"`
		Width  string `xml:"width,attr"`
		Height string `xml:"height,attr"`
		Texts  []struct {
			Class string `xml:"class,attr"`
			X     string `xml:"x,attr"`
			Width string `xml:"textLength,attr"`
			Text  string `xml:",chardata"`
		} `xml:"text"`
	}
	require.NoError(t, xml.Unmarshal([]byte(svg), &picture))
	require.Equal(t, "a & b", picture.Title)
	require.Equal(t, "Head\n  ✓ <rows>     1", picture.Desc, "for whoever does not see it")
	require.Equal(t, "208", picture.Width)
	require.Equal(t, "80", picture.Height)
	require.Len(t, picture.Texts, 3)
	require.Equal(t, "bold", picture.Texts[0].Class)
	require.Equal(t, "green", picture.Texts[1].Class)
	require.Equal(t, "<rows>     1", picture.Texts[2].Text)
	require.Equal(t, "53.6", picture.Texts[2].X, "the fifth column")
	require.Equal(t, "100.8", picture.Texts[2].Width, "as wide in every font")
	require.Contains(t, svg, "prefers-color-scheme: dark")
}

// What is in docs is what `make pictures` makes, and README.md shows it.
func TestReadmeShowsThePictures(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	drawn := map[string]bool{}
	for _, scene := range scenes {
		if scene.file == "" {
			continue
		}
		drawn["../"+scene.file] = true
		svg, err := os.ReadFile("../" + scene.file)
		require.NoError(t, err)
		require.NoError(t, xml.Unmarshal(svg, new(struct{})))
		require.Contains(t, string(svg), "<title id=\"title\">"+scene.title+"</title>", "make pictures")
		require.NotRegexp(t, `/(home|root|tmp|Users)/`, string(svg))
		shown := regexp.MustCompile(`<img [^>]*src="docs/` + regexp.QuoteMeta(scene.file) + `" alt="[^"]{40,}"`)
		require.True(t, shown.Match(readme), "README.md shows %s, with a text alternative", scene.file)
	}
	files, err := filepath.Glob("../*.svg")
	require.NoError(t, err)
	for _, file := range files {
		require.Contains(t, drawn, file)
	}
}
