package watch

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/runstore"
)

const (
	// chunk is how many single runs are read at once.
	chunk = 500
	// page is how many runs of a set are.
	page = 250
	// maxPages bounds how far one look at a set goes on past runs that do not
	// belong to it.
	maxPages = 16
	// skew is how far the clock of a node, which ids are minted by, may be behind
	// the stores'.
	skew = time.Hour
)

// How long the looks pause, as a multiple of what the last one took.
const (
	restRuns = 9
	restSets = 3
)

// lookAtRuns goes round all single runs, and looks at new ones in between.
func (h *Hub) lookAtRuns() {
	round := time.NewTimer(h.cfg.Every)
	defer round.Stop()
	for {
		all := false
		select {
		case <-h.ctx.Done():
			return
		case <-h.fresh:
		case <-round.C:
			all = true
		}
		began := time.Now()
		found := h.runs(all)
		if !all {
			continue // the round goes on as it was
		}
		if found == 0 {
			// Nobody watches: sleep until someone does.
			select {
			case <-h.ctx.Done():
				return
			case <-h.fresh:
				h.runs(false)
			}
			began = time.Now()
		}
		round.Reset(max(h.cfg.Every, restRuns*time.Since(began)))
	}
}

// runs looks at all single runs, or at the new ones, and says at how many.
func (h *Hub) runs(all bool) int {
	byEnv := map[string][]*topic{}
	found := 0
	h.mu.Lock()
	if all {
		h.sweep(true, linger*h.cfg.Every)
	}
	for _, t := range h.topics {
		if t.subject.one() && (all || !t.looked) {
			byEnv[t.subject.Environment] = append(byEnv[t.subject.Environment], t)
			found++
		}
	}
	h.mu.Unlock()
	for env, topics := range byEnv {
		for some := range slices.Chunk(topics, chunk) {
			h.lookAt(env, some)
		}
	}
	return found
}

func (h *Hub) lookAt(env string, topics []*topic) {
	ids := make([]run.ID, len(topics))
	for i, t := range topics {
		ids[i] = t.subject.Run
	}
	ctx, cancel := context.WithTimeout(h.ctx, h.cfg.Deadline)
	defer cancel()
	// What a failure leaves out stays as it was seen last.
	found, _ := h.cfg.Source.Outlines(ctx, env, ids)
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, t := range topics {
		if r, ok := found[t.subject.Run]; ok {
			t.see([]Member{{t.subject.Run, MarkOf(&r)}})
		}
	}
}

// lookAtSets looks at the sets that are due, one after the other.
func (h *Hub) lookAtSets() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		t, wait := h.dueSet()
		if t == nil {
			timer.Reset(wait)
			select {
			case <-h.ctx.Done():
				return
			case <-h.freshS:
			case <-timer.C:
			}
			continue
		}
		began := time.Now()
		ctx, cancel := context.WithTimeout(h.ctx, h.cfg.Deadline)
		members, err := h.find(ctx, &t.subject)
		cancel()
		took := time.Since(began)
		h.mu.Lock()
		if err == nil {
			t.see(members)
		}
		t.due = began.Add(h.cfg.EverySet)
		h.mu.Unlock()
		timer.Reset(restSets * took)
		select {
		case <-h.ctx.Done():
			return
		case <-timer.C:
		}
	}
}

// dueSet is the set whose turn it is, or how long there is none.
func (h *Hub) dueSet() (next *topic, wait time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sweep(false, linger*h.cfg.EverySet)
	for _, t := range h.topics {
		if !t.subject.one() && (next == nil || t.due.Before(next.due)) {
			next = t
		}
	}
	if next == nil {
		return nil, time.Hour // until someone comes
	}
	if wait = time.Until(next.due); wait > 0 {
		return nil, wait
	}
	return next, 0
}

// find reads the members of a set, by id.
func (h *Hub) find(ctx context.Context, s *Subject) ([]Member, error) {
	f := runstore.Filter{Batch: s.Batch, From: s.Since}
	if len(s.Tags) > 0 {
		f.Tags = s.Tags[:1] // a list answers those that have any of its tags
	}
	members := []Member{}
	p := runstore.Page{Limit: page}
	if !s.Since.IsZero() {
		p.Oldest = run.FirstID(s.Since.Add(-skew))
	}
	for range maxPages {
		runs, next, err := h.cfg.Source.List(ctx, s.Environment, f, p)
		if err != nil {
			return nil, err
		}
		for i := range runs {
			if s.has(&runs[i]) && len(members) < MaxMembers {
				members = append(members, Member{runs[i].ID, MarkOf(&runs[i])})
			}
		}
		if p.After = next; next.IsZero() || len(members) == MaxMembers {
			break
		}
	}
	slices.SortFunc(members, func(a, b Member) int { return strings.Compare(a.ID.String(), b.ID.String()) })
	return members, nil
}
