// Command updatelog reads what `pulumi up --json` prints and writes a log of it: one line for each
// thing that was done, every message once, and meanwhile what is waited for. Pulumi itself writes a
// line for every event into a file, the same one up to five times, and cuts off what it waits for in
// a terminal of 80 columns.
//
//	PULUMI_ENABLE_STREAMING_JSON_PREVIEW=true pulumi up --yes --json | updatelog
//
// What is no event is passed on as it is.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"

	"github.com/pulumi/pulumi/sdk/v3/go/common/apitype"
	"github.com/pulumi/pulumi/sdk/v3/go/common/diag/colors"

	"stateful-postgres/internal/progress"
)

func main() {
	// Ctrl-C is for pulumi, which has more to say until it ends.
	signal.Ignore(os.Interrupt)
	width, terminal := progress.Terminal(os.Stdout)
	color := colors.Never
	if terminal && os.Getenv("NO_COLOR") == "" {
		color = colors.Always
	}
	line := progress.New(os.Stdout, terminal, width)
	err := follow(os.Stdin, newLog(os.Stdout, color, line))
	line.Stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "updatelog:", err)
		os.Exit(1)
	}
}

// follow writes what is read to the log, to the end. An event is a line of any length: it holds
// whole objects.
func follow(in io.Reader, log *updateLog) error {
	log.line.Say("%s", log.waiting())
	reader := bufio.NewReader(in)
	for {
		line, err := reader.ReadBytes('\n')
		if len(line) > 0 {
			log.read(line)
		}
		switch {
		case errors.Is(err, io.EOF):
			return log.err
		case err != nil:
			return err
		}
	}
}

// read takes a line of pulumi's output.
func (l *updateLog) read(line []byte) {
	var event apitype.EngineEvent
	if err := json.Unmarshal(line, &event); err != nil {
		l.print(heading, "%s", line)
		return
	}
	l.event(event)
}
