package page

import (
	"cmp"
	"slices"
	"strconv"

	"stateful-postgres/verify/internal/history"
)

// label names a fault in the picture.
type label struct {
	Number int
	Kind   string
	At     string
	// Y is that of the letters, LineY where the line to the fault begins.
	Y, LineY int
	Class    string
	// row is counted from the picture up.
	row int
}

// So many pixels the letters of labels take up, those of a wide script twice as many, and the digits of
// numbers, which are bold. Of common fonts these are the widest.
const letter, digit, labelGap = 6.3, 7.7, 7

const (
	// mostRows are for labels when each fault has its name, crowdedRows when some have a number alone.
	mostRows, crowdedRows, rowHeight = 6, 4, 15
)

// box is what a label takes up in a row.
type box struct {
	row      int
	from, to float64
}

// placeLabels names as many faults as there is room for, those with the longest pauses first, and
// numbers the others as far as possible.
func placeLabels(all []history.Fault, span, width float64) []label {
	for rows := 1; rows <= mostRows; rows++ {
		p := placing{all: all, span: span, width: width, named: map[int]bool{}}
		p.names(p.fromTheEdges(), 0, rows)
		if len(p.labels) == len(all) {
			return p.sorted()
		}
	}
	p := placing{all: all, span: span, width: width, named: map[int]bool{}}
	p.names(p.byPause(), 1, crowdedRows)
	p.numbers()
	return p.sorted()
}

// stand gives labels their heights below each other, and says how high they are together.
func stand(screens []widthView) int {
	rows := 0
	for _, screen := range screens {
		for _, l := range screen.Labels {
			rows = max(rows, l.row+1)
		}
	}
	for _, screen := range screens {
		for i := range screen.Labels {
			l := &screen.Labels[i]
			l.Y = (rows-l.row)*rowHeight - 4
			l.LineY = l.Y + 4
			if l.Kind != "" {
				// The line is beside the name.
				l.LineY = l.Y - 9
			}
		}
	}
	if rows == 0 {
		return 0
	}
	return rows*rowHeight + 8
}

// placing is where labels are put.
type placing struct {
	all         []history.Fault
	span, width float64
	taken       []box
	labels      []label
	named       map[int]bool
}

func (p *placing) sorted() []label {
	slices.SortFunc(p.labels, func(a, b label) int { return a.Number - b.Number })
	return p.labels
}

// x is where a fault began, in pixels.
func (p *placing) x(fault int) float64 {
	return p.width * min(float64(p.all[fault].BeganMS)/p.span, 1)
}

// put puts a label in a row, if nothing is in its way.
func (p *placing) put(fault, row int, l label, boxes ...box) bool {
	for _, b := range boxes {
		if slices.ContainsFunc(p.taken, func(t box) bool { return t.row == b.row && t.from < b.to && b.from < t.to }) {
			return false
		}
	}
	p.taken = append(p.taken, boxes...)
	l.Number, l.At = fault+1, share(float64(p.all[fault].BeganMS), p.span)
	l.row = row
	p.labels = append(p.labels, l)
	p.named[fault] = true
	return true
}

// fromTheEdges is an order in which names are like stairs down to the middle: each leaves room for the
// lines of those after it.
func (p *placing) fromTheEdges() []int {
	var left, right []int
	for i := range p.all {
		if p.x(i) <= p.width/2 {
			left = append(left, i)
		} else {
			right = append([]int{i}, right...)
		}
	}
	return append(left, right...)
}

// byPause is the order of the pauses, the longest first.
func (p *placing) byPause() []int {
	order := make([]int, len(p.all))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(p.all[b].PauseMS, p.all[a].PauseMS) })
	return order
}

// names puts names in rows, of which row 0 is the one above the picture, the highest that is free. There
// a name is in no other one's way: only its line goes through the rows below.
func (p *placing) names(order []int, from, to int) {
	for _, i := range order {
		x, kind := p.x(i), p.all[i].Kind
		long := letter*float64(letters(kind)) + digit*float64(len(strconv.Itoa(i+1))) + labelGap + 4
		text, class := box{from: x - 2, to: x + long}, "start"
		if x > p.width/2 {
			text, class = box{from: x - long, to: x + 2}, "end"
		}
		if kind == "" || text.from < -4 || text.to > p.width+4 {
			continue
		}
		for row := to - 1; row >= from; row-- {
			text.row = row
			boxes := []box{text}
			for lower := range row {
				boxes = append(boxes, box{lower, x - 3, x + 3})
			}
			if p.put(i, row, label{Kind: kind, Class: class}, boxes...) {
				break
			}
		}
	}
}

// numbers puts those of the others above the picture.
func (p *placing) numbers() {
	for i := range p.all {
		x := p.x(i)
		half := (digit*float64(len(strconv.Itoa(i+1))) + 3) / 2
		if !p.named[i] {
			p.put(i, 0, label{Class: "middle"}, box{0, x - half, x + half})
		}
	}
}

// letters counts letters, those of a wide script twice.
func letters(text string) int {
	n := 0
	for _, r := range text {
		n++
		if r >= 0x1100 {
			n++
		}
	}
	return n
}
