package drain

import "context"

// reap returns entries whose lease has run out, whoever held it. A pass is
// bounded; the next one begins where it ended.
func (d *Drainer) reap(ctx context.Context) {
	for cursor := 0; ; {
		d.sleep(ctx, jitter(d.cfg.ReapEvery), nil)
		if ctx.Err() != nil {
			return
		}
		left := d.cfg.ReapLimit
		for range d.cfg.Partitions {
			n, err := d.buffer.Reap(ctx, cursor, left)
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				d.sleep(ctx, d.redisFailed("look for expired leases", err), nil)
			}
			d.count.reaped.Add(int64(n))
			if left -= n; left <= 0 {
				break // there may be more in this partition
			}
			cursor = (cursor + 1) % d.cfg.Partitions
		}
		if left < d.cfg.ReapLimit {
			d.Notify()
		}
	}
}
