package rows

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"stateful-postgres/verify/internal/payload"
	"stateful-postgres/verify/internal/server"
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
	surveyed := &Surveyed{}
	err := server.Read(ctx, conn, func(tx pgx.Tx) error {
		found, err := tx.Query(ctx, fmt.Sprintf(`select seq, coalesce(left(payload, %d), '') from verify.rows
			where run = $1 and seq >= 0 order by seq`, 2*payload.Size), run)
		if err != nil {
			return err
		}
		source := payload.NewSource(seed, run)
		var seq int64
		var text string
		_, err = pgx.ForEachRow(found, []any{&seq, &text}, func() error {
			surveyed.add(run, seq, text == source.Text(seq))
			return nil
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read run %d: %w", run, err)
	}
	return surveyed, nil
}

// add takes the next row.
func (s *Surveyed) add(run, seq int64, intact bool) {
	last := len(s.Intact) - 1
	switch {
	case !intact:
		s.Altered++
	case last >= 0 && s.Intact[last].First+s.Intact[last].Rows == seq:
		s.Intact[last].Rows++
	default:
		s.Intact = append(s.Intact, SeenRows{Run: run, First: seq, Rows: 1})
	}
}
