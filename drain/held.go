package drain

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/e0ff5a15/mollifier/buffer"
	"github.com/e0ff5a15/mollifier/internal/mutant"
	"github.com/e0ff5a15/mollifier/run"
)

// held is what this node has leased.
type held struct {
	mu    sync.Mutex
	leash map[run.ID]buffer.Holding
}

func (h *held) add(entries []entry) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.leash == nil {
		h.leash = make(map[run.ID]buffer.Holding)
	}
	for i := range entries {
		h.leash[entries[i].ID] = entries[i].Holding
	}
}

// drop forgets a lease. One under another token is a later one, and stays.
func (h *held) drop(l buffer.Holding) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.leash[l.ID].Token == l.Token {
		delete(h.leash, l.ID)
	}
}

func (h *held) list() []buffer.Holding {
	h.mu.Lock()
	defer h.mu.Unlock()
	list := make([]buffer.Holding, 0, len(h.leash))
	for _, l := range h.leash {
		list = append(list, l)
	}
	return list
}

// renew extends the leases of what is worked on, at a third of their length.
// When that fails it is tried more often: an entry whose lease ends is only
// worked on twice.
func (d *Drainer) renew(ctx context.Context) {
	every := d.cfg.Lease / 3
	for pause := every; ; {
		d.sleep(ctx, pause, nil)
		if ctx.Err() != nil {
			return
		}
		pause = every
		list := d.held.list()
		if mutant.On("leases-are-not-renewed") {
			list = nil
		}
		var trouble error
		for i, r := range d.buffer.Extend(ctx, list, d.cfg.Lease) {
			switch {
			case r.Err != nil:
				trouble = r.Err
			case r.Held != buffer.HeldDone:
				d.count.leasesLost.Add(1)
				d.held.drop(list[i])
				d.log.Debug("lease lost", slog.String("run", list[i].ID.String()))
			}
		}
		if trouble != nil && ctx.Err() == nil {
			d.redisFailed("renew leases", trouble)
			pause = min(every, max(every/10, 10*time.Millisecond))
		}
	}
}
