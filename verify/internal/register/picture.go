package register

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"
)

const (
	// pictured is how many operations are drawn at most; pictureTime is how long an order of them is
	// looked for.
	pictured    = 150
	pictureTime = 5 * time.Second
)

// Visualize draws the operations of the key that was violated, or of the first one, as a page that needs
// nothing else. Of a violated key it is what happened until it was, or when that is too much, the
// shortest history that shows it; of another one it is the beginning. A page is smaller than 2 MB.
func Visualize(w io.Writer, result *Result, operations []Operation) error {
	drawn := draw(result, operations)
	ctx, cancel := context.WithTimeout(context.Background(), pictureTime)
	defer cancel()
	searching := newSearch(ctx, len(drawn))
	moves, start := plain(drawn)
	history := asHistory(moves)
	var last int64
	for i := range drawn {
		last = max(last, drawn[i].op.CallUS, drawn[i].op.ReturnUS)
	}
	// Each client has a line of its own.
	lines := map[int32]int{}
	for i := range history {
		client := drawn[i].op.Client
		if _, known := lines[client]; !known {
			lines[client] = len(lines)
		}
		history[i].ClientId = lines[client]
		// What may still happen reaches to the edge.
		history[i].Return = min(history[i].Return, last+1)
	}
	_, found := porcupine.CheckOperationsVerbose(searching.model(start), history, 0)
	var page bytes.Buffer
	if err := porcupine.Visualize(register, found, &page); err != nil {
		return fmt.Errorf("draw the operations: %w", err)
	}
	if _, err := page.WriteTo(w); err != nil {
		return fmt.Errorf("write the picture of the operations: %w", err)
	}
	return nil
}

// draw chooses what to draw.
func draw(result *Result, operations []Operation) []step {
	histories := byKey(operations)
	if len(histories) == 0 {
		return nil
	}
	violation := result.Shortest()
	if violation == nil {
		all := steps(histories[0])
		ends := answers(all)
		for len(all) > pictured && len(ends) > 0 {
			ends = ends[:len(ends)-1-len(ends)/10]
			if len(ends) > 0 {
				all = until(steps(histories[0]), ends[len(ends)-1])
			}
		}
		return all[:min(len(all), pictured)]
	}
	at := slices.IndexFunc(histories, func(history []Operation) bool { return history[0].Key == violation.Key })
	if at >= 0 {
		if all := until(steps(histories[at]), violation.UntilUS); len(all) <= pictured {
			return all
		}
	}
	return steps(violation.Operations)
}
