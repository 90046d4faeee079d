package main

import (
	"encoding/xml"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/charmbracelet/x/ansi"
)

// Sizes in pixels. The characters of monospace fonts differ in width, so every text is told how
// wide it is.
const (
	cellWidth  = 8.4
	lineHeight = 20.0
	// margin is between the text and the border, gap around that: pictures may stand side by side.
	margin = 16.0
	gap    = 4.0
)

// look is how text is drawn: the classes of stylesheet, without those of what is the default.
type look struct{ foreground, background, weight string }

// classes is the value of an attribute.
func (l look) classes() string {
	return strings.Join(slices.DeleteFunc([]string{l.weight, l.foreground}, func(class string) bool { return class == "" }), " ")
}

// span is text of one look in one line.
type span struct {
	look look
	// column is where it begins.
	column int
	text   string
}

// width is the number of columns.
func (s span) width() int { return ansi.StringWidth(s.text) }

// parse reads what a program wrote on a terminal of a width: text, line ends, and the colours that
// verify uses. Anything else would be drawn wrongly, and is an error.
func parse(output string, columns int) ([][]span, error) {
	var lines [][]span
	var line []span
	var now look
	column := 0
	parser := ansi.NewParser()
	state := byte(ansi.NormalState)
	for rest := output; rest != ""; {
		sequence, width, size, next := ansi.DecodeSequence(rest, state, parser)
		rest, state = rest[size:], next
		switch {
		case sequence == "\n":
			lines, line, column = append(lines, line), nil, 0
		case sequence == "\r":
			// A terminal's line ends are \r\n.
			if !strings.HasPrefix(rest, "\n") {
				return nil, fmt.Errorf("line %d goes back to its start: only lines that stay can be drawn", len(lines)+1)
			}
		case width > 0:
			// A terminal goes on in the next line.
			if column+width > columns {
				lines, line, column = append(lines, line), nil, 0
			}
			if last := len(line) - 1; last < 0 || line[last].look != now {
				line = append(line, span{look: now, column: column})
			}
			line[len(line)-1].text += sequence
			column += width
		case ansi.Cmd(parser.Command()) == 'm':
			if err := now.change(parser.Params()); err != nil {
				return nil, fmt.Errorf("line %d: %w", len(lines)+1, err)
			}
		default:
			return nil, fmt.Errorf("line %d: cannot draw the control sequence %q", len(lines)+1, sequence)
		}
	}
	if line != nil {
		lines = append(lines, line)
	}
	return lines, nil
}

// change applies a "select graphic rendition" sequence (ECMA-48, 8.3.117).
func (l *look) change(parameters ansi.Params) error {
	if len(parameters) == 0 {
		*l = look{}
	}
	for _, parameter := range parameters {
		switch code := parameter.Param(0); {
		case code == 0:
			*l = look{}
		case code == 1:
			l.weight = "bold"
		case code == 2:
			l.weight = "faint"
		case code >= 30 && code <= 37:
			l.foreground = colors[code-30]
		case code >= 40 && code <= 47:
			l.background = colors[code-40]
		default:
			return fmt.Errorf("cannot draw the attribute %d", code)
		}
	}
	return nil
}

// colors are those of a terminal, in its order.
var colors = [...]string{"black", "red", "green", "yellow", "blue", "magenta", "cyan", "white"}

// stylesheet follows the light or dark scheme of whoever looks. What has a background keeps its
// colours in both.
const stylesheet = `
text { font: 14px ui-monospace, SFMono-Regular, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", "Liberation Mono", monospace; fill: #1f2328; white-space: pre }
.screen { fill: #f6f8fa; stroke: #d1d9e0 }
.bold { font-weight: bold } .faint { fill: #59636e }
.red { fill: #b91c1c } .green { fill: #116329 } .yellow { fill: #7d4e00 } .blue { fill: #0550ae } .magenta { fill: #8250df } .cyan { fill: #1b6b72 }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 }
.screen { fill: #161b22; stroke: #3d444d }
.faint { fill: #9198a1 }
.red { fill: #ff7b72 } .green { fill: #56d364 } .yellow { fill: #e3b341 } .blue { fill: #79c0ff } .magenta { fill: #d2a8ff } .cyan { fill: #56d4dd }
}
.black { fill: #0d1117 } .white { fill: #ffffff }
rect.red { fill: #b91c1c } rect.green { fill: #3fb950 } rect.yellow { fill: #d29922 }
`

// draw makes an SVG image of what a program wrote on a terminal that is so many columns wide. One
// line of text is one line of the file, so that a difference between two runs can be read.
func draw(title, output string, columns int) (string, error) {
	lines, err := parse(output, columns)
	if err != nil {
		return "", err
	}
	width := float64(columns)*cellWidth + 2*(margin+gap)
	height := float64(len(lines))*lineHeight + 2*(margin+gap)
	var svg strings.Builder
	fmt.Fprintf(&svg, `<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-labelledby="title text" width="%.0f" height="%.0f" viewBox="0 0 %.0f %.0f">`+"\n",
		width, height, width, height)
	fmt.Fprintf(&svg, "<title id=\"title\">%s</title>\n", escape(title))
	fmt.Fprintf(&svg, "<desc id=\"text\">%s</desc>\n", escape(strings.TrimSpace(ansi.Strip(strings.ReplaceAll(output, "\r", "")))))
	fmt.Fprintf(&svg, "<style>%s</style>\n", stylesheet)
	fmt.Fprintf(&svg, `<rect class="screen" x="%.1f" y="%.1f" width="%.1f" height="%.1f" rx="6"/>`+"\n", gap, gap, width-2*gap, height-2*gap)
	for number, line := range lines {
		top := gap + margin + float64(number)*lineHeight
		drawn := false
		for _, s := range line {
			drawn = s.draw(&svg, top) || drawn
		}
		if drawn {
			svg.WriteString("\n")
		}
	}
	svg.WriteString("</svg>\n")
	return svg.String(), nil
}

// draw says whether there was something to see.
func (s span) draw(svg *strings.Builder, top float64) bool {
	x := func(column int) float64 { return gap + margin + float64(column)*cellWidth }
	if s.look.background != "" {
		fmt.Fprintf(svg, `<rect class="%s" x="%.1f" y="%.1f" width="%.1f" height="%.1f" rx="3"/>`,
			s.look.background, x(s.column), top, float64(s.width())*cellWidth, lineHeight)
	}
	// A text that begins or ends with a space is not as wide as it is told.
	text := strings.TrimLeft(s.text, " ")
	column := s.column + utf8.RuneCountInString(s.text) - utf8.RuneCountInString(text)
	text = strings.TrimRight(text, " ")
	if text == "" {
		return s.look.background != ""
	}
	class := s.look.classes()
	if class != "" {
		class = fmt.Sprintf(` class="%s"`, class)
	}
	fmt.Fprintf(svg, `<text%s x="%.1f" y="%.1f" textLength="%.1f" lengthAdjust="spacingAndGlyphs">%s</text>`,
		class, x(column), top+0.72*lineHeight, float64(ansi.StringWidth(text))*cellWidth, escape(text))
	return true
}

func escape(text string) string {
	var escaped strings.Builder
	// It fails only when the builder does, which never happens.
	_ = xml.EscapeText(&escaped, []byte(text))
	return strings.ReplaceAll(escaped.String(), "&#xA;", "\n")
}
