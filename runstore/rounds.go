package runstore

import (
	"context"

	"github.com/jackc/pgx/v5/pgxpool"
)

// rounds answers items as far as it gets, and returns those that have no answer yet.
type rounds func(ctx context.Context, conn *pgxpool.Conn, items []item) ([]item, error)

// answer has every item answered: by round, with retries, or by refuse when that
// did not succeed. When some row is at fault it halves the items until the row
// is alone, so that one bad row fails nobody but itself.
func (s *Store) answer(ctx context.Context, items []item, round rounds, refuse func(item, error)) {
	s.split(ctx, items, round, refuse, new(int))
}

// split is answer's recursion; alone counts the items in a row that the hook has
// refused one by one. Where it refuses all of them, halving finds nothing.
func (s *Store) split(ctx context.Context, items []item, round rounds, refuse func(item, error), alone *int) {
	if len(items) == 0 {
		return
	}
	c := s.retry(ctx, s.hot, untilDone, func(ctx context.Context, conn *pgxpool.Conn) (err error) {
		items, err = round(ctx, conn, items)
		return err
	})
	switch {
	case c == nil:
		*alone = 0
	case len(items) > 1 && (c.verdict == poison || c.hook && *alone < maxAlone):
		half := len(items) / 2
		s.split(ctx, items[:half], round, refuse, alone)
		s.split(ctx, items[half:], round, refuse, alone)
	default:
		if c.hook {
			*alone++
		}
		for _, it := range items {
			refuse(it, outward(c))
		}
	}
}
