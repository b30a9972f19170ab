package drain

import (
	"context"
	"log/slog"
)

// reap returns entries whose lease or pause is over, whoever held them. A pass
// is bounded; the next one begins where it ended. It begins with what was put
// aside because no build so far could read it: perhaps this one can.
func (d *Drainer) reap(ctx context.Context) {
	aside := make([]int, d.cfg.Partitions)
	for p := range aside {
		aside[p] = p
	}
	for cursor := 0; ; {
		aside = d.revive(ctx, aside)
		d.sleep(ctx, jitter(d.cfg.ReapEvery), nil)
		if ctx.Err() != nil {
			return
		}
		left := d.cfg.ReapLimit
		for range d.cfg.Partitions {
			r, err := d.buffer.Reap(ctx, cursor, left)
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				d.sleep(ctx, d.redisFailed("look for expired leases", err), nil)
			}
			d.count.reaped.Add(int64(r.Lapsed))
			if left -= r.Met; left <= 0 {
				break // there may be more in this partition
			}
			cursor = (cursor + 1) % d.cfg.Partitions
		}
		if left < d.cfg.ReapLimit {
			d.Notify()
		}
	}
}

// revive is bounded: what is beyond that stays aside until the next start. It returns
// the partitions that could not be asked.
func (d *Drainer) revive(ctx context.Context, partitions []int) (left []int) {
	for _, p := range partitions {
		n, err := d.buffer.Revive(ctx, p, d.cfg.ReapLimit)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			left = append(left, p)
			d.sleep(ctx, d.redisFailed("look for what was put aside", err), nil)
			continue
		}
		if d.count.revived.Add(int64(n)); n > 0 {
			d.log.Info("entries that had been put aside are tried again", slog.Int("partition", p), slog.Int("entries", n))
		}
	}
	return left
}
