package rows

import (
	"context"
	"slices"

	"github.com/jackc/pgx/v5"

	"stateful-postgres/verify/internal/ledger"
	"stateful-postgres/verify/internal/payload"
)

// maximumIndexSegments is how many segments are looked into row by row when heap and index
// disagree; each costs a pass over the heap, and one names the damage.
const maximumIndexSegments = 3

// indexAgrees says whether the primary key leads to as many rows as the heap holds.
func (c *comparison) indexAgrees(ctx context.Context, heap int64) (bool, error) {
	if _, err := c.tx.Exec(ctx, throughIndex); err != nil {
		return false, err
	}
	var index int64
	// The condition makes the index usable and leaves no row out.
	err := c.tx.QueryRow(ctx, `select count(*) from verify.rows where run is not null`).Scan(&index)
	c.audit.IndexCompared = err == nil
	return index == heap, err
}

// compareIndex counts the rows of every segment that the primary key leads to and looks for
// those that only one of heap and index yields.
func (c *comparison) compareIndex(ctx context.Context, heap map[segmentKey]payload.Digest) error {
	index, err := c.readSegments(ctx, throughIndex, "''")
	if err != nil {
		return err
	}
	var different []segmentKey
	for key, digest := range heap {
		if digest.Rows != index[key].Rows {
			different = append(different, key)
		}
	}
	for key := range index {
		if _, there := heap[key]; !there {
			different = append(different, key)
		}
	}
	slices.SortFunc(different, compareKeys)
	for _, key := range different[:min(len(different), maximumIndexSegments)] {
		if err := c.nameIndexDifferences(ctx, key); err != nil {
			return err
		}
	}
	return nil
}

// nameIndexDifferences reads the sequence numbers of a segment both ways.
func (c *comparison) nameIndexDifferences(ctx context.Context, key segmentKey) error {
	heap, err := c.readSequence(ctx, key, throughHeap)
	if err != nil {
		return err
	}
	index, err := c.readSequence(ctx, key, throughIndex)
	if err != nil {
		return err
	}
	for len(heap) > 0 || len(index) > 0 {
		switch {
		case len(index) == 0 || len(heap) > 0 && heap[0] < index[0]:
			c.addIndexFinding(Unindexed, key.run, heap[0])
			heap = heap[1:]
		case len(heap) == 0 || index[0] < heap[0]:
			c.addIndexFinding(Dangling, key.run, index[0])
			index = index[1:]
		default:
			heap, index = heap[1:], index[1:]
		}
	}
	return nil
}

func (c *comparison) addIndexFinding(kind Kind, run, seq int64) {
	var span ledger.Span
	if known := c.runs[run]; known != nil {
		span, _ = known.run.At(seq)
	}
	c.audit.add(Finding{Kind: kind, Run: run, Seq: seq, Status: span.Status, At: span.At})
}

func (c *comparison) readSequence(ctx context.Context, key segmentKey, through string) ([]int64, error) {
	if _, err := c.tx.Exec(ctx, through); err != nil {
		return nil, err
	}
	found, err := c.tx.Query(ctx, `select seq from verify.rows where run = $1 and seq between $2 and $3 order by seq`,
		key.run, key.first(), key.end()-1)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(found, pgx.RowTo[int64])
}
