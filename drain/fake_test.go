package drain

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/e0ff5a15/mollifier/buffer"
	"github.com/e0ff5a15/mollifier/internal/devstack/stacktest"
	"github.com/e0ff5a15/mollifier/run"
)

func TestMain(m *testing.M) { stacktest.Main(m, stacktest.NoLeaks()) }

// errDown is how a store says that it does not serve.
var errDown = &run.RefusedError{Reason: run.ErrUnavailable, Part: "test"}

// fakeBuffer is a buffer in memory that can be made to fail: fault is asked
// before (lost false) and after (lost true: the reply is lost) each call.
type fakeBuffer struct {
	mu      sync.Mutex
	queues  map[place][]run.ID
	entries map[run.ID]*fakeEntry
	fault   func(op string, lost bool) error
	turns   []*oneTurn
	taken   map[int][]run.ID // of each partition, in the order of its leases; turns overlap
	most    int              // leased at the same time, at most
	dropped []run.ID
	marked  map[run.ID]int // how often an ack has changed something
	calls   map[string]int
	states  map[string]int                  // entries in each state
	stored  map[place]map[run.ID]*fakeEntry // those that are not materialised
}

type place struct {
	partition int
	env       string
}

type fakeEntry struct {
	buffer.Ref
	organisation string
	e            buffer.Entry
	partition    int
	token        buffer.Token
	state        string // queued, leased, waiting, materialised, aside
	due          time.Time
	unreadable   bool
}

// oneTurn is what was leased under one token.
type oneTurn struct {
	token buffer.Token
	env   string
	ids   []run.ID
	at    map[place][]run.ID // by queue
}

func newFakeBuffer() *fakeBuffer {
	return &fakeBuffer{
		taken: make(map[int][]run.ID), queues: make(map[place][]run.ID), entries: make(map[run.ID]*fakeEntry),
		marked: make(map[run.ID]int), calls: make(map[string]int),
		states: make(map[string]int), stored: make(map[place]map[run.ID]*fakeEntry),
	}
}

// to moves an entry to another state.
func (f *fakeBuffer) to(e *fakeEntry, state string) {
	at := place{e.partition, e.Environment}
	f.states[e.state]--
	f.states[state]++
	e.state = state
	switch {
	case state == "materialised" || state == "gone":
		delete(f.stored[at], e.ID)
		if len(f.stored[at]) == 0 {
			delete(f.stored, at)
		}
	case f.stored[at] == nil:
		f.stored[at] = map[run.ID]*fakeEntry{e.ID: e}
	default:
		f.stored[at][e.ID] = e
	}
}

func (f *fakeBuffer) ask(op string, lost bool) error {
	f.mu.Lock()
	if !lost {
		f.calls[op]++
	}
	fault := f.fault
	f.mu.Unlock()
	if fault != nil {
		return fault(op, lost)
	}
	return nil
}

func (f *fakeBuffer) setFault(fault func(op string, lost bool) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault = fault
}

// put queues n entries of an environment over the partitions, and returns them.
func (f *fakeBuffer) put(org, env string, n, partitions int) (ids []run.ID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range n {
		p := i % partitions
		at := time.Now().Add(time.Duration(i) * time.Millisecond)
		id := run.MintID(at, p)
		s := run.NewSnapshot(id, run.Key{}, run.Hash{}, run.Trigger{Organisation: org, Environment: env, Task: "t", Payload: []byte("{}")})
		s.Accept(run.InstantOf(at))
		f.entries[id] = &fakeEntry{
			Ref: buffer.Ref{Environment: env, ID: id}, organisation: org, partition: p,
			e: buffer.Entry{Snapshot: s, Status: buffer.Queued},
		}
		f.to(f.entries[id], "queued")
		f.queues[place{p, env}] = append(f.queues[place{p, env}], id)
		ids = append(ids, id)
	}
	return ids
}

func (f *fakeBuffer) patch(id run.ID, p run.Patch) {
	f.mu.Lock()
	defer f.mu.Unlock()
	e := &f.entries[id].e
	e.Ver++
	p.Ver = e.Ver
	e.Patches = append(slices.Clip(e.Patches), p)
}

func (f *fakeBuffer) Heads(_ context.Context, partitions []int) ([]buffer.Partition, error) {
	if err := f.ask("heads", false); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	at := make(map[int]int)
	out := make([]buffer.Partition, len(partitions))
	for i, p := range partitions {
		at[p], out[i] = i, buffer.Partition{Partition: p, Now: run.InstantOf(time.Now())}
	}
	for p, entries := range f.stored {
		i, asked := at[p.partition]
		if !asked {
			continue
		}
		h := buffer.Head{Environment: p.env, Usage: buffer.Usage{Entries: int64(len(entries)), Bytes: 3 * int64(len(entries))}}
		if ids := f.queues[p]; len(ids) > 0 {
			h.Depth, h.Oldest, h.AcceptedAt = len(ids), ids[0], f.entries[ids[0]].e.Snapshot.AcceptedAt
		}
		for _, e := range entries {
			h.Organisation = e.organisation
			break
		}
		if f.states["aside"] > 0 {
			for _, e := range entries {
				if e.state == "aside" {
					out[i].Dead++
				}
			}
		}
		out[i].Usage.Entries += h.Usage.Entries
		out[i].Heads = append(out[i].Heads, h)
	}
	return out, nil
}

func (f *fakeBuffer) Sweep(_ context.Context, partition int, age time.Duration, limit int) (out []buffer.StaleRun, err error) {
	if err := f.ask("sweep", false); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, id := range f.sorted(partition, func(*fakeEntry) bool { return true }) {
		e := f.entries[id]
		dwell := time.Since(e.e.Snapshot.AcceptedAt.Time())
		if dwell >= age && len(out) < limit {
			out = append(out, buffer.StaleRun{
				Ref: e.Ref, Organisation: e.organisation, AcceptedAt: e.e.Snapshot.AcceptedAt, Dwell: dwell, Status: e.e.Status,
			})
		}
	}
	return out, nil
}

func (f *fakeBuffer) sorted(partition int, which func(*fakeEntry) bool) (ids []run.ID) {
	for p, entries := range f.stored {
		for id, e := range entries {
			if p.partition == partition && which(e) {
				ids = append(ids, id)
			}
		}
	}
	slices.SortFunc(ids, byID)
	return ids
}

func byID(a, b run.ID) int { return cmp.Compare(a.String(), b.String()) }

func (f *fakeBuffer) Lease(_ context.Context, partition int, env string, n int, token buffer.Token, ttl time.Duration) (out []buffer.Lease, err error) {
	if err := f.ask("lease", false); err != nil {
		return nil, err
	}
	f.mu.Lock()
	at := place{partition, env}
	if i := slices.IndexFunc(f.turns, func(t *oneTurn) bool { return t.token == token }); i >= 0 && len(f.turns[i].at[at]) > 0 {
		var back []run.ID
		for _, id := range f.turns[i].at[at] {
			switch e := f.entries[id]; {
			case e == nil || e.state != "leased" || e.token != token:
			case len(out) == n:
				f.to(e, "queued")
				e.token = buffer.Token{}
				back = append(back, id)
			default:
				out = append(out, buffer.Lease{Ref: e.Ref, Token: token, Entry: e.e})
			}
		}
		f.queues[at] = append(back, f.queues[at]...)
		f.mu.Unlock()
		if err := f.ask("lease", true); err != nil {
			return nil, err
		}
		return out, nil
	}
	n = min(n, len(f.queues[at]))
	var ids []run.ID
	for _, id := range f.queues[at][:n] {
		e := f.entries[id]
		if e.unreadable {
			f.to(e, "aside")
			out = append(out, buffer.Lease{Ref: e.Ref, Token: token, Err: run.ErrUnknownVersion})
			continue
		}
		f.to(e, "leased")
		e.token, e.due = token, time.Now().Add(ttl)
		out = append(out, buffer.Lease{Ref: e.Ref, Token: token, Entry: e.e})
		ids = append(ids, id)
	}
	f.queues[at] = f.queues[at][n:]
	if len(ids) > 0 {
		i := slices.IndexFunc(f.turns, func(t *oneTurn) bool { return t.token == token })
		if i < 0 {
			i = len(f.turns)
			f.turns = append(f.turns, &oneTurn{token: token, env: env, at: map[place][]run.ID{}})
		}
		f.turns[i].ids = append(f.turns[i].ids, ids...)
		f.turns[i].at[at] = ids
		f.taken[partition] = append(f.taken[partition], ids...)
	}
	f.most = max(f.most, f.states["leased"])
	f.mu.Unlock()
	if err := f.ask("lease", true); err != nil {
		return nil, err
	}
	return out, nil
}

// holds calls do for an entry that is lent to the token.
func (f *fakeBuffer) holds(op string, h buffer.Holding, do func(*fakeEntry)) buffer.HeldReply {
	if err := f.ask(op, false); err != nil {
		return buffer.HeldReply{Err: err}
	}
	f.mu.Lock()
	reply := buffer.HeldReply{Held: buffer.HeldDone}
	switch e := f.entries[h.ID]; {
	case e == nil:
		reply.Held = buffer.HeldGone
	case e.state != "leased" || e.token != h.Token:
		reply.Held = buffer.HeldLost
	default:
		do(e)
	}
	f.mu.Unlock()
	if err := f.ask(op, true); err != nil {
		return buffer.HeldReply{Err: err}
	}
	return reply
}

func (f *fakeBuffer) Extend(_ context.Context, list []buffer.Holding, ttl time.Duration) []buffer.HeldReply {
	out := make([]buffer.HeldReply, len(list))
	for i, h := range list {
		out[i] = f.holds("extend", h, func(e *fakeEntry) { e.due = time.Now().Add(ttl) })
	}
	return out
}

func (f *fakeBuffer) Reap(_ context.Context, partition, limit int) (r buffer.Reaped, err error) {
	if err := f.ask("reap", false); err != nil {
		return r, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.states["leased"]+f.states["waiting"] == 0 {
		return r, nil
	}
	due := f.sorted(partition, func(e *fakeEntry) bool {
		return (e.state == "leased" || e.state == "waiting") && !time.Now().Before(e.due)
	})
	due = due[:min(limit, len(due))]
	for _, id := range slices.Backward(due) {
		if f.entries[id].state == "leased" {
			r.Lapsed++
		}
		f.front(f.entries[id])
	}
	r.Returned, r.Met = len(due), len(due)
	return r, nil
}

func (f *fakeBuffer) front(e *fakeEntry) {
	f.to(e, "queued")
	e.token = buffer.Token{}
	at := place{e.partition, e.Environment}
	f.queues[at] = append([]run.ID{e.ID}, f.queues[at]...)
}

func (f *fakeBuffer) Revive(_ context.Context, partition, limit int) (n int, err error) {
	if err := f.ask("revive", false); err != nil {
		return 0, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, id := range f.sorted(partition, func(e *fakeEntry) bool { return e.state == "aside" }) {
		f.front(f.entries[id])
		n++
	}
	return n, nil
}

func (f *fakeBuffer) Ack(_ context.Context, acks []buffer.Ack) []buffer.Acked {
	out := make([]buffer.Acked, len(acks))
	for i, a := range acks {
		if out[i].Err = f.ask("ack", false); out[i].Err != nil {
			continue
		}
		f.mu.Lock()
		out[i].Ver = a.Ver
		switch e := f.entries[a.ID]; {
		case e == nil || e.state == "materialised":
		case e.e.Ver > a.Ver:
			out[i] = buffer.Acked{Later: slices.Clone(e.e.Patches[a.Ver:]), Ver: e.e.Ver}
		default:
			if e.state == "queued" { // returned meanwhile
				at := place{e.partition, e.Environment}
				f.queues[at] = slices.DeleteFunc(f.queues[at], func(id run.ID) bool { return id == a.ID })
			}
			f.to(e, "materialised")
			e.token = buffer.Token{}
			f.marked[a.ID]++
		}
		f.mu.Unlock()
		if err := f.ask("ack", true); err != nil {
			out[i] = buffer.Acked{Err: err}
		}
	}
	return out
}

func (f *fakeBuffer) Requeue(_ context.Context, back []buffer.Requeue) []buffer.HeldReply {
	out := make([]buffer.HeldReply, len(back))
	for i, r := range slices.Backward(back) {
		out[i] = f.holds("requeue", buffer.Holding{Ref: r.Ref, Token: r.Token}, func(e *fakeEntry) {
			if r.Count {
				e.e.Attempts++
			}
			if r.Delay > 0 {
				f.to(e, "waiting")
				e.token, e.due = buffer.Token{}, time.Now().Add(r.Delay)
			} else {
				f.front(e)
			}
		})
	}
	return out
}

func (f *fakeBuffer) Fail(_ context.Context, list []buffer.Holding) []buffer.HeldReply {
	out := make([]buffer.HeldReply, len(list))
	for i, h := range list {
		out[i] = f.holds("fail", h, func(e *fakeEntry) {
			f.to(e, "gone")
			delete(f.entries, h.ID)
			f.dropped = append(f.dropped, h.ID)
		})
	}
	return out
}

// left counts what is not materialised.
func (f *fakeBuffer) left() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.states["queued"] + f.states["leased"] + f.states["waiting"] + f.states["aside"]
}

func (f *fakeBuffer) state(id run.ID) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if e := f.entries[id]; e != nil {
		return e.state
	}
	return "gone"
}

func (f *fakeBuffer) attempts() (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range f.entries {
		n += e.e.Attempts
	}
	return n
}

var errAny = errors.New("any")

func newDrainer(t *testing.T, b Buffer, r Runs, change ...func(*Config)) *Drainer {
	t.Helper()
	cfg := Config{Partitions: 4}
	for _, c := range change {
		c(&cfg)
	}
	d, err := New(cfg, b, r)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// stop ends a drainer within the time, which is the test's.
func stop(t *testing.T, d *Drainer) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := d.Stop(ctx); err != nil {
		t.Error(err)
	}
}
