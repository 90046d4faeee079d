package build

import (
	"fmt"
	"regexp"
	"strings"
)

// progress turns what the go command prints into a count.
type progress struct {
	update func(string)
	// total is how many packages there are; those in Go's cache are not
	// mentioned, so the count need not reach it.
	total    int
	compiled int
	modules  int
}

// packagePath is a line of `go build -v`: an import path and nothing else.
var packagePath = regexp.MustCompile(`^[a-zA-Z0-9][\w.~+-]*(/[\w.~+-]+)*$`)

func (p *progress) line(line string) {
	switch module, isDownload := strings.CutPrefix(line, "go: downloading "); {
	case isDownload:
		p.modules++
		p.update(fmt.Sprintf("downloading module %d: %s", p.modules, module))
	case packagePath.MatchString(line):
		p.compiled++
		p.update(fmt.Sprintf("compiled %d of up to %d packages, now %s", p.compiled, p.total, line))
	}
}
