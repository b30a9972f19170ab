package drain

import (
	"context"
	"crypto/rand"
	"log/slog"
	"sync"
	"time"

	"github.com/e0ff5a15/mollifier/run"
)

// held is what this node has leased.
type held struct {
	mu     sync.Mutex
	tokens map[Token]map[run.ID]Ref
}

func newToken() (t Token) {
	_, _ = rand.Read(t[:]) // never fails: the program is aborted instead
	return t
}

func (h *held) add(token Token, entries []Entry) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.tokens == nil {
		h.tokens = make(map[Token]map[run.ID]Ref)
	}
	refs := make(map[run.ID]Ref, len(entries))
	for i := range entries {
		refs[entries[i].ID] = entries[i].Ref
	}
	h.tokens[token] = refs
}

func (h *held) drop(token Token, id run.ID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.tokens[token], id)
}

func (h *held) end(token Token) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.tokens, token)
}

// lists copies what is held.
func (h *held) lists() map[Token][]Ref {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := make(map[Token][]Ref, len(h.tokens))
	for token, refs := range h.tokens {
		for _, r := range refs {
			out[token] = append(out[token], r)
		}
	}
	return out
}

// renew extends the leases of what is worked on, at a third of their length.
// When that fails it is tried more often: an entry whose lease ends is only
// worked on twice.
func (d *Drainer) renew(ctx context.Context) {
	every := d.cfg.Lease / 3
	pause := every
	for {
		d.sleep(ctx, pause, nil)
		if ctx.Err() != nil {
			return
		}
		pause = every
		for token, refs := range d.held.lists() {
			lost, err := d.buffer.Extend(ctx, refs, token, d.cfg.Lease)
			if err != nil {
				d.redisFailed("renew leases", err)
				pause = min(every, max(every/10, 10*time.Millisecond))
			}
			for _, id := range lost {
				d.count.leasesLost.Add(1)
				d.held.drop(token, id)
				d.log.Debug("lease lost", slog.String("run", id.String()))
			}
		}
	}
}
