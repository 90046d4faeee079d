package rows

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"stateful-postgres/verify/internal/payload"
)

// Surveyed is what there is of a run that a ledger does not know.
type Surveyed struct {
	// Intact are the ranges of rows with the content that the run gives them.
	Intact []SeenRows
	// Altered is the number of rows with another content.
	Altered int64
}

// Survey reads all rows of a run.
func Survey(ctx context.Context, conn *pgx.Conn, run, seed int64) (*Surveyed, error) {
	found, err := conn.Query(ctx, fmt.Sprintf(`select seq, coalesce(left(payload, %d), '') from verify.rows
		where run = $1 and seq >= 0 order by seq`, 2*payload.Size), run)
	if err != nil {
		return nil, fmt.Errorf("read run %d: %w", run, err)
	}
	defer found.Close()
	source, surveyed := payload.NewSource(seed, run), &Surveyed{}
	for found.Next() {
		var seq int64
		var text string
		if err := found.Scan(&seq, &text); err != nil {
			return nil, fmt.Errorf("read run %d: %w", run, err)
		}
		if text != source.Text(seq) {
			surveyed.Altered++
			continue
		}
		if last := len(surveyed.Intact) - 1; last >= 0 && surveyed.Intact[last].First+surveyed.Intact[last].Rows == seq {
			surveyed.Intact[last].Rows++
			continue
		}
		surveyed.Intact = append(surveyed.Intact, SeenRows{Run: run, First: seq, Rows: 1})
	}
	if err := found.Err(); err != nil {
		return nil, fmt.Errorf("read run %d: %w", run, err)
	}
	return surveyed, nil
}
