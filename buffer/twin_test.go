package buffer

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/e0ff5a15/mollifier/internal/devstack/stacktest"
	"github.com/e0ff5a15/mollifier/run"
)

// twin is a naive model of one environment of one partition. It has no clock:
// what is over is said so by the test, which makes it so in Redis.
type twin struct {
	entries map[run.ID]*twinEntry
	queue   []run.ID
	held    []run.ID            // leases and delays, as the reaper meets them
	records map[string]*twinKey // by key
	taken   map[Token][]run.ID  // what a lease took
}

type twinEntry struct {
	snap     *run.Snapshot
	acc      run.Instant
	status   Status
	token    Token
	ver      int64
	attempts int
	lapsed   int
}

// twinKey is the record of a key: b bound, r resolved, f floor.
type twinKey struct {
	state byte
	run   run.ID
	acc   run.Instant // f: the floor itself
}

func (k *twinKey) least() run.Instant {
	switch {
	case k == nil:
		return 0
	case k.state == 'f':
		return k.acc
	}
	return k.acc + 1
}

func (w *twin) accept(s *run.Snapshot, fresh bool) (State, run.ID) {
	if w.entries[s.ID] != nil {
		return AlreadyThere, s.ID
	}
	if key := s.Trigger.IdempotencyKey; key != "" {
		r := w.records[key]
		switch {
		case r != nil && r.state == 'r':
			return Resolved, r.run
		case r != nil && r.state == 'b' && w.entries[r.run] != nil:
			return BoundTo, r.run
		case !fresh:
			return Stale, run.ID{}
		}
	}
	return AcceptedNew, s.ID
}

func (w *twin) accepted(s *run.Snapshot, acc run.Instant) {
	w.entries[s.ID] = &twinEntry{snap: s, acc: acc, status: Queued}
	w.queue = append(w.queue, s.ID)
	if key := s.Trigger.IdempotencyKey; key != "" {
		w.records[key] = &twinKey{'b', s.ID, acc}
	}
}

func (w *twin) lease(n int, token Token) (taken []run.ID) {
	if before := w.taken[token]; len(before) > 0 {
		var back []run.ID
		for _, id := range before {
			if w.holding(id, token) != HeldDone {
				continue
			}
			if len(taken) < n {
				taken = append(taken, id)
				continue
			}
			w.entries[id].status, w.entries[id].token = Returned, Token{}
			w.release(id)
			back = append(back, id)
		}
		w.taken[token] = slices.DeleteFunc(before, func(id run.ID) bool { return slices.Contains(back, id) })
		w.queue = append(back, w.queue...)
		return taken
	}
	defer func() { w.taken[token] = slices.Clone(taken) }()
	for len(w.queue) > 0 && len(taken) < n {
		id := w.queue[0]
		w.queue = w.queue[1:]
		if e := w.entries[id]; e != nil && (e.status == Queued || e.status == Returned) {
			e.status, e.token = Leased, token
			w.held = append(w.held, id)
			taken = append(taken, id)
		}
	}
	return taken
}

func (w *twin) release(id run.ID) {
	w.held = slices.DeleteFunc(w.held, func(h run.ID) bool { return h == id })
}

// holding tells what an operation with a token meets.
func (w *twin) holding(id run.ID, token Token) Held {
	e := w.entries[id]
	switch {
	case e == nil:
		return HeldGone
	case e.status != Leased || e.token != token:
		return HeldLost
	}
	return HeldDone
}

func (w *twin) requeue(id run.ID, token Token, delay, count bool) Held {
	held := w.holding(id, token)
	if held != HeldDone {
		return held
	}
	e := w.entries[id]
	if e.token = (Token{}); count {
		e.attempts++
	}
	if !delay {
		e.status = Returned
		w.release(id)
		w.queue = append([]run.ID{id}, w.queue...)
	}
	return held
}

func (w *twin) reap() (r Reaped) {
	slices.SortFunc(w.held, func(a, b run.ID) int { return strings.Compare(a.String(), b.String()) })
	r.Met = len(w.held)
	for _, id := range slices.Backward(w.held) {
		e := w.entries[id]
		if e == nil {
			continue
		}
		if e.token != (Token{}) {
			e.lapsed++
			r.Lapsed++
		}
		e.status, e.token = Returned, Token{}
		w.queue = append([]run.ID{id}, w.queue...)
		r.Returned++
	}
	w.held = nil
	return r
}

func (w *twin) ack(id run.ID, ver int64, canonical run.ID) (later int64) {
	e := w.entries[id]
	if e == nil || e.status == Materialised {
		return 0
	}
	if e.ver > ver {
		return e.ver - ver
	}
	e.status, e.token = Materialised, Token{}
	w.release(id)
	w.queue = slices.DeleteFunc(w.queue, func(q run.ID) bool { return q == id })
	if r := w.records[e.snap.Trigger.IdempotencyKey]; r != nil && r.state == 'b' && r.run == id {
		r.state, r.run = 'r', canonical
	}
	return 0
}

func (w *twin) fail(id run.ID, token Token) Held {
	held := w.holding(id, token)
	if held != HeldDone {
		return held
	}
	key := w.entries[id].snap.Trigger.IdempotencyKey
	if r := w.records[key]; r != nil && r.state == 'b' && r.run == id {
		w.records[key] = &twinKey{state: 'f', acc: r.acc + 1}
	}
	delete(w.entries, id)
	w.release(id)
	return held
}

func (w *twin) reset(key string, cut run.Instant) {
	r := w.records[key]
	if r == nil || r.state == 'f' && r.acc < cut || r.state != 'f' && r.acc < cut {
		w.records[key] = &twinKey{state: 'f', acc: cut}
	}
}

func (w *twin) matches(b *bench, all []*run.Snapshot) error {
	for _, s := range all {
		got, found := b.get(ref(s))
		e := w.entries[s.ID]
		if found != (e != nil) {
			return fmt.Errorf("%s: there: %t", s.ID, found)
		}
		if e == nil {
			continue
		}
		if got.Status != e.status || got.Ver != e.ver || got.Attempts != e.attempts || got.Lapsed != e.lapsed || got.Snapshot.AcceptedAt != e.acc {
			return fmt.Errorf("%s: %+v, want %+v", s.ID, got, e)
		}
		if token := b.fields(b.entryName(s))["t"]; token != tokenText(e.token) {
			return fmt.Errorf("%s: token %q", s.ID, token)
		}
	}
	var want []string
	for _, id := range w.queue {
		want = append(want, id.String())
	}
	if queue := b.raw.LRange(b.t.Context(), b.names.Queue(1, env), 0, -1).Val(); !slices.Equal(queue, want) {
		return fmt.Errorf("queue %v, want %v", queue, want)
	}
	for _, s := range all {
		key := s.Trigger.IdempotencyKey
		if key == "" {
			continue
		}
		want := ""
		if r := w.records[key]; r != nil && r.state == 'f' {
			want = fmt.Sprintf("1|f|%d", r.acc)
		} else if r != nil {
			want = fmt.Sprintf("1|%c|%s|%d|", r.state, r.run, r.acc)
		}
		if got := b.record(s); !strings.HasPrefix(got, want) || want == "" && got != "" {
			return fmt.Errorf("record of %s %q, want %q", key, got, want)
		}
	}
	return b.sound()
}

// Random histories against the model, each call now and then twice, with
// drainers that vanish, entries and records that vanish, and late comers.
func TestTwin(t *testing.T) {
	t.Parallel()
	b := onShared(t)
	rapid.Check(t, func(rt *rapid.T) {
		for _, name := range stacktest.Keys(b.t, b.raw, b.prefix+":{*") {
			b.raw.Del(t.Context(), name)
		}
		w := &twin{entries: map[run.ID]*twinEntry{}, records: map[string]*twinKey{}, taken: map[Token][]run.ID{}}
		var all []*run.Snapshot
		key := rapid.SampledFrom([]string{"", "a", "b"})
		token := rapid.SampledFrom([]Token{NewToken(), NewToken(), NewToken(), NewToken(), NewToken(), NewToken()})
		some := func() *run.Snapshot { return rapid.SampledFrom(all).Draw(rt, "run") }
		ctx := t.Context()
		for range rapid.IntRange(3, 25).Draw(rt, "steps") {
			step := rapid.IntRange(0, 13).Draw(rt, "step")
			if len(all) == 0 {
				step = 0
			}
			twice := 1 + rapid.IntRange(0, 3).Draw(rt, "twice")/3
			switch step {
			default: // accept
				s := snap(1, key.Draw(rt, "key"))
				if len(all) > 0 && rapid.IntRange(0, 4).Draw(rt, "again") == 0 {
					s = some()
				} else {
					all = append(all, s)
				}
				fresh := rapid.IntRange(0, 3).Draw(rt, "fresh") > 0
				a := b.fresh(s)
				if !fresh {
					a.Since -= 2 * second
				}
				for range twice {
					least := w.records[s.Trigger.IdempotencyKey].least()
					state, id := w.accept(s, fresh)
					got := b.accept(a)
					if got.State != state || got.Run != id {
						rt.Fatalf("accept: %+v, want %s %s", got, state, id)
					}
					switch state {
					case AcceptedNew:
						if got.AcceptedAt < max(least, a.Since) || got.AcceptedAt > max(least, b.now()) {
							rt.Fatalf("accepted at %d, least %d", got.AcceptedAt, least)
						}
						w.accepted(s, got.AcceptedAt)
					case AlreadyThere:
						if got.AcceptedAt != w.entries[id].acc {
							rt.Fatalf("accepted at %d", got.AcceptedAt)
						}
					}
				}
			case 3, 4:
				n, tok := rapid.IntRange(1, 3).Draw(rt, "n"), token.Draw(rt, "token")
				for range twice {
					want := w.lease(n, tok)
					if got := ids(b.lease(1, n, tok)); !slices.Equal(got, want) {
						rt.Fatalf("leased %v, want %v", got, want)
					}
				}
			case 5:
				s, tok := some(), token.Draw(rt, "token")
				delay, count := rapid.Bool().Draw(rt, "delay"), rapid.Bool().Draw(rt, "count")
				r := Requeue{Ref: ref(s), Token: tok, Count: count}
				if delay {
					r.Delay = time.Hour
				}
				for range twice {
					want := w.requeue(s.ID, tok, delay, count)
					if got := b.Requeue(ctx, []Requeue{r})[0]; got.Held != want {
						rt.Fatalf("requeue: %+v, want %d", got, want)
					}
				}
			case 6:
				b.lapse(1)
				for range twice {
					want := w.reap()
					if got := b.reap(1); got != want {
						rt.Fatalf("reaped %+v, want %+v", got, want)
					}
				}
			case 7:
				s := some()
				a := Ack{Ref: ref(s), Ver: int64(rapid.IntRange(0, 3).Draw(rt, "ver"))}
				canonical := s.ID
				if rapid.Bool().Draw(rt, "alias") {
					canonical = newID(4)
					a.Canonical = canonical
				}
				for range twice {
					want := w.ack(s.ID, a.Ver, canonical)
					if got := b.ack(a); int64(len(got.Later)) != want {
						rt.Fatalf("ack: %+v, want %d", got, want)
					}
				}
			case 8:
				s, tok := some(), token.Draw(rt, "token")
				for range twice {
					want := w.fail(s.ID, tok)
					if got := b.Fail(ctx, []Holding{{ref(s), tok}})[0]; got.Held != want {
						rt.Fatalf("fail: %+v, want %d", got, want)
					}
				}
			case 9:
				s, tok := some(), token.Draw(rt, "token")
				for range twice {
					want := w.holding(s.ID, tok)
					if got := b.Extend(ctx, []Holding{{ref(s), tok}}, time.Hour)[0]; got.Held != want {
						rt.Fatalf("extend: %+v, want %d", got, want)
					}
				}
			case 10:
				s := some()
				_, got, err := b.Patch(ctx, ref(s), func(*Entry) (run.Patch, error) { return run.Patch{Delay: 5}, nil })
				want := Applied
				if e := w.entries[s.ID]; e == nil {
					want = NotFound
				} else if e.status == Materialised {
					want = InPostgres
				} else {
					e.ver++
				}
				if err != nil || got != want {
					rt.Fatalf("patch: %d %v, want %d", got, err, want)
				}
			case 11: // graces end, and minutes
				s := some()
				if e := w.entries[s.ID]; e != nil && e.status == Materialised {
					delete(w.entries, s.ID)
					b.raw.Del(ctx, b.entryName(s))
				}
				key := s.Trigger.IdempotencyKey
				if r := w.records[key]; r != nil && r.state != 'b' {
					delete(w.records, key)
					b.raw.Del(ctx, b.recordName(s))
				}
			case 13: // the build before wrote it
				b.age(b.entryName(some()))
			case 12:
				s := some()
				key := s.Trigger.IdempotencyKey
				if key == "" {
					continue
				}
				cut := w.records[key].least() + run.Instant(rapid.IntRange(-1, 1).Draw(rt, "cut"))
				if cut <= 0 {
					cut = 5
				}
				if _, err := b.claims.Reset(ctx, 1, s.Hash, cut); err != nil {
					rt.Fatal(err)
				}
				w.reset(key, cut)
			}
			if err := w.matches(b, all); err != nil {
				rt.Fatalf("after step %d: %v", step, err)
			}
		}
	})
}
