package watch

import (
	"context"

	"github.com/e0ff5a15/mollifier/run"
)

// The bounds of one answer. A set that has more to tell tells it in several.
const (
	// maxBytes of payloads, outputs and metadata are about enough; a run alone, or
	// a class of runs, may have more.
	maxBytes = 1 << 20
	// whole is how many runs are read whole at once.
	whole = 50
)

// News is the answer to a poll.
type News struct {
	// Runs are those whose state the client lacks.
	Runs []run.Run
	// Known is what the client has seen once it has these.
	Known Known
	// More says that there are others: ask again, at once.
	More bool
}

// Now reads the subject and answers what the client lacks of it, without
// waiting. The error is run.ErrNotFound for a single run that does not exist, or
// that of a store that gave no answer.
func (h *Hub) Now(ctx context.Context, s Subject, k Known) (News, error) {
	members := []Member{{ID: s.Run}}
	if !s.one() {
		var err error
		if members, err = h.find(ctx, &s); err != nil {
			return News{}, err
		}
	}
	news, seen, err := h.lacking(ctx, &s, k, members)
	if err == nil && s.one() && seen == 0 {
		err = run.ErrNotFound
	}
	return news, err
}

// Next is as [Hub.Now], but waits until there is something that the client
// lacks. When ctx ends first there is none, and no error. The error is
// ErrEnvironment or ErrNode, or that of a store.
func (h *Hub) Next(ctx context.Context, s Subject, k Known) (News, error) {
	t, err := h.join(&s)
	if err != nil {
		return News{}, err
	}
	defer h.leave(t)
	for {
		members, looked, changed := h.state(t)
		if looked {
			news, _, err := h.lacking(ctx, &s, k, members)
			if err != nil && ctx.Err() == nil {
				return News{}, err
			}
			if err == nil && len(news.Runs) > 0 {
				return news, nil
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return News{Known: k}, nil
		case <-h.ctx.Done():
			return News{Known: k}, nil
		}
	}
}

// lacking reads the members that the client lacks, and says how many runs it
// saw of them. What it reads may be newer than what the look saw, and what the
// client has already.
func (h *Hub) lacking(ctx context.Context, s *Subject, k Known, members []Member) (n News, seen int, err error) {
	candidates, known := k.news(members)
	bytes := 0
	for len(candidates) > 0 {
		if bytes >= maxBytes {
			n.More = true
			break
		}
		some := part(candidates, len(members) > MaxExact)
		candidates = candidates[len(some):]
		ids := make([]run.ID, len(some))
		for i, m := range some {
			ids[i] = m.ID
		}
		runs, err := h.cfg.Source.Runs(ctx, s.Environment, ids)
		if err != nil {
			return News{}, seen, err
		}
		read := make([]Member, 0, len(some))
		for _, id := range ids {
			if r, ok := runs[id]; ok {
				read = append(read, Member{id, MarkOf(&r)})
			}
		}
		seen += len(read)
		lacks, has := k.news(read)
		for _, m := range lacks {
			r := runs[m.ID]
			n.Runs = append(n.Runs, r)
			bytes += len(r.Trigger.Payload) + len(r.Output) + len(r.Trigger.Metadata) + 1000
		}
		known = append(append(known, lacks...), has...)
	}
	n.Known = KnownOf(known)
	return n, seen, nil
}

// part is how many of the members are read at once: a few, but never a part of
// a class where knowledge is kept by class.
func part(members []Member, byClass bool) []Member {
	n := min(whole, len(members))
	for byClass && n < len(members) && members[n].class() == members[n-1].class() {
		n++
	}
	return members[:n]
}
