package bench

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/e0ff5a15/mollifier"
	"github.com/e0ff5a15/mollifier/bench/internal/load"
)

// Drain is a storm of entries in a buffer and a node that drains them. One operation is
// all of it, from the start of the draining node until the last row is there; the
// storm before is not counted.
func Drain(ctx context.Context, s *load.Stores, entries int, payload []byte) (*load.Contestant, error) {
	c, err := Config(ctx, s, Mollified)
	if err != nil {
		return nil, err
	}
	filler, err := mollifier.New(ctx, c)
	if err != nil {
		return nil, err
	}
	filled := 0
	fill := func(ctx context.Context) error {
		storm := Contestant(filler, "storm", Distinct(payload))
		before := filler.Stats().Mollified
		if _, err := load.Run(ctx, storm, 256, load.Limit{Operations: entries}, nil); err != nil {
			return err
		}
		filled = int(filler.Stats().Mollified - before)
		return nil
	}
	if err := fill(ctx); err != nil {
		return nil, err
	}
	drainer := c
	drainer.NoDrain = false
	return &load.Contestant{
		Name: "drain of " + strconv.Itoa(entries), Each: entries,
		Do: func(ctx context.Context, _ int) error {
			e, err := mollifier.New(ctx, drainer)
			if err != nil {
				return err
			}
			defer func() { _ = e.Close(ctx) }()
			tick := time.NewTicker(5 * time.Millisecond)
			defer tick.Stop()
			for {
				if stats, _ := e.DrainStats(); int(stats.Materialised) >= filled {
					return nil
				}
				select {
				case <-tick.C:
				case <-ctx.Done():
					return fmt.Errorf("drain: %w", context.Cause(ctx))
				}
			}
		},
		Settled: fill,
		Close:   func() { _ = filler.Close(context.Background()) },
	}, nil
}
