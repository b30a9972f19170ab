package drain

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/e0ff5a15/mollifier/internal/devstack/stacktest"
	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/runstore"
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
	leases  []leaseCall
	oldest  int // leased at the same time, at most
	failed  []run.ID
	marked  map[run.ID]int // how often an ack has changed something
	calls   map[string]int
}

type place struct {
	partition int
	env       string
}

type fakeEntry struct {
	Entry
	state string // queued, leased, waiting, materialised
	due   time.Time
}

// leaseCall is one turn.
type leaseCall struct {
	env string
	ids []run.ID
}

func newFakeBuffer() *fakeBuffer {
	return &fakeBuffer{
		queues: make(map[place][]run.ID), entries: make(map[run.ID]*fakeEntry),
		marked: make(map[run.ID]int), calls: make(map[string]int),
	}
}

func (f *fakeBuffer) enter(op string) error {
	f.mu.Lock()
	f.calls[op]++
	fault := f.fault
	f.mu.Unlock()
	if fault != nil {
		return fault(op, false)
	}
	return nil
}

func (f *fakeBuffer) leave(op string) error {
	f.mu.Lock()
	fault := f.fault
	f.mu.Unlock()
	if fault != nil {
		return fault(op, true)
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
		f.entries[id] = &fakeEntry{Entry: Entry{Ref: Ref{p, org, env, id}, Snapshot: s}, state: "queued"}
		f.queues[place{p, env}] = append(f.queues[place{p, env}], id)
		ids = append(ids, id)
	}
	return ids
}

func (f *fakeBuffer) patch(id run.ID, p run.Patch) {
	f.mu.Lock()
	defer f.mu.Unlock()
	e := f.entries[id]
	e.Ver++
	p.Ver = e.Ver
	e.Patches = append(slices.Clip(e.Patches), p)
}

func (f *fakeBuffer) Heads(ctx context.Context, partitions []int) ([]Head, error) {
	if err := f.enter("heads"); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []Head
	for at, ids := range f.queues {
		if len(ids) > 0 && slices.Contains(partitions, at.partition) {
			out = append(out, Head{at.partition, f.entries[ids[0]].Organisation, at.env, len(ids), ids[0]})
		}
	}
	return out, nil
}

func (f *fakeBuffer) Stored(ctx context.Context, partitions []int) ([]Stored, error) {
	if err := f.enter("stored"); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	found := make(map[place]Stored)
	for id, e := range f.entries {
		at := place{e.Partition, e.Environment}
		if e.state == "materialised" || !slices.Contains(partitions, e.Partition) {
			continue
		}
		s := found[at]
		s.Partition, s.Organisation, s.Environment = e.Partition, e.Organisation, e.Environment
		s.Entries++
		s.Bytes += int64(e.Snapshot.Trigger.Size())
		if s.Oldest.IsZero() || id.String() < s.Oldest.String() {
			s.Oldest = id
		}
		found[at] = s
	}
	var out []Stored
	for _, s := range found {
		out = append(out, s)
	}
	return out, nil
}

func (f *fakeBuffer) List(ctx context.Context, env string, limit int) ([]run.ID, error) {
	if err := f.enter("list"); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []run.ID
	for id, e := range f.entries {
		if e.Environment == env && e.state != "materialised" {
			out = append(out, id)
		}
	}
	slices.SortFunc(out, func(a, b run.ID) int { return cmp.Compare(a.String(), b.String()) })
	return out[:min(limit, len(out))], nil
}

func (f *fakeBuffer) Lease(ctx context.Context, asks []Ask, token Token, ttl time.Duration) ([]Entry, error) {
	if err := f.enter("lease"); err != nil {
		return nil, err
	}
	f.mu.Lock()
	call := leaseCall{env: asks[0].Environment}
	var out []Entry
	for _, a := range asks {
		at := place{a.Partition, a.Environment}
		n := min(a.N, len(f.queues[at]))
		for _, id := range f.queues[at][:n] {
			e := f.entries[id]
			e.state, e.Token, e.due = "leased", token, time.Now().Add(ttl)
			out = append(out, e.Entry)
			call.ids = append(call.ids, id)
		}
		f.queues[at] = f.queues[at][n:]
	}
	if len(call.ids) > 0 {
		f.leases = append(f.leases, call)
	}
	n := 0
	for _, e := range f.entries {
		if e.state == "leased" {
			n++
		}
	}
	f.oldest = max(f.oldest, n)
	f.mu.Unlock()
	if err := f.leave("lease"); err != nil {
		return nil, err
	}
	return out, nil
}

func (f *fakeBuffer) Extend(ctx context.Context, refs []Ref, token Token, ttl time.Duration) (lost []run.ID, err error) {
	if err := f.enter("extend"); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range refs {
		if e := f.entries[r.ID]; e != nil && e.state == "leased" && e.Token == token {
			e.due = time.Now().Add(ttl)
		} else {
			lost = append(lost, r.ID)
		}
	}
	return lost, nil
}

func (f *fakeBuffer) Reap(ctx context.Context, partition, limit int) (int, error) {
	if err := f.enter("reap"); err != nil {
		return 0, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var due []run.ID
	for id, e := range f.entries {
		if e.Partition == partition && (e.state == "leased" || e.state == "waiting") && !time.Now().Before(e.due) {
			due = append(due, id)
		}
	}
	slices.SortFunc(due, func(a, b run.ID) int { return cmp.Compare(a.String(), b.String()) })
	due = due[:min(limit, len(due))]
	for _, id := range slices.Backward(due) {
		f.front(f.entries[id])
	}
	return len(due), nil
}

func (f *fakeBuffer) front(e *fakeEntry) {
	e.state, e.Token = "queued", Token{}
	at := place{e.Partition, e.Environment}
	f.queues[at] = append([]run.ID{e.ID}, f.queues[at]...)
}

func (f *fakeBuffer) Ack(ctx context.Context, done []Done) []Acked {
	out := make([]Acked, len(done))
	for i, d := range done {
		if out[i].Err = f.enter("ack"); out[i].Err != nil {
			continue
		}
		f.mu.Lock()
		switch e := f.entries[d.ID]; {
		case e == nil || e.state == "materialised":
		case e.Ver > d.Ver:
			out[i] = Acked{Dirty: true, Patches: slices.Clone(e.Patches), Ver: e.Ver}
		default:
			if e.state == "queued" { // returned meanwhile: its reference is skipped
				at := place{e.Partition, e.Environment}
				f.queues[at] = slices.DeleteFunc(f.queues[at], func(id run.ID) bool { return id == d.ID })
			}
			e.state, e.Token = "materialised", Token{}
			f.marked[d.ID]++
		}
		f.mu.Unlock()
		if err := f.leave("ack"); err != nil {
			out[i] = Acked{Err: err}
		}
	}
	return out
}

func (f *fakeBuffer) Requeue(ctx context.Context, back []Return) []error {
	out := make([]error, len(back))
	for i, r := range slices.Backward(back) {
		if out[i] = f.enter("requeue"); out[i] != nil {
			continue
		}
		f.mu.Lock()
		if e := f.entries[r.ID]; e != nil && e.state == "leased" && e.Token == r.Token {
			if r.Spent {
				e.Attempts++
			}
			if r.Delay > 0 {
				e.state, e.Token, e.due = "waiting", Token{}, time.Now().Add(r.Delay)
			} else {
				f.front(e)
			}
		}
		f.mu.Unlock()
	}
	return out
}

func (f *fakeBuffer) Fail(ctx context.Context, dead []Return) []error {
	out := make([]error, len(dead))
	for i, r := range dead {
		if out[i] = f.enter("fail"); out[i] != nil {
			continue
		}
		f.mu.Lock()
		if e := f.entries[r.ID]; e != nil && e.state == "leased" && e.Token == r.Token {
			delete(f.entries, r.ID)
			f.failed = append(f.failed, r.ID)
		}
		f.mu.Unlock()
	}
	return out
}

// left counts what is not materialised.
func (f *fakeBuffer) left() (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range f.entries {
		if e.state != "materialised" {
			n++
		}
	}
	return n
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
		n += e.Attempts
	}
	return n
}

// fakeRuns is Postgres in memory: rows by id, with the version they have.
type fakeRuns struct {
	mu     sync.Mutex
	rows   map[run.ID]*fakeRow
	calls  int
	before func(ctx context.Context, items []runstore.Materialisation) error // of the whole
	after  func() error
	poison func(id run.ID, failed bool) error
	down   bool // what Available says
}

type fakeRow struct {
	status  run.Status
	ver     int64
	created int // always 1
	applied []int64
}

func newFakeRuns() *fakeRuns { return &fakeRuns{rows: make(map[run.ID]*fakeRow)} }

func (f *fakeRuns) Available() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !f.down
}

func (f *fakeRuns) Materialise(ctx context.Context, items []runstore.Materialisation) []runstore.Materialised {
	f.mu.Lock()
	f.calls++
	before, after := f.before, f.after
	f.mu.Unlock()
	out := make([]runstore.Materialised, len(items))
	all := func(err error) []runstore.Materialised {
		for i := range out {
			out[i] = runstore.Materialised{Err: err}
		}
		return out
	}
	if before != nil {
		if err := before(ctx, items); err != nil {
			return all(err)
		}
	}
	f.mu.Lock()
	for i, m := range items {
		id := m.Snapshot.ID
		if f.poison != nil {
			if err := f.poison(id, m.Failed != nil); err != nil {
				out[i].Err = err
				continue
			}
		}
		p := m.Snapshot.Apply(m.Patches...)
		row := f.rows[id]
		out[i].Outcome = runstore.Replayed
		if row == nil {
			row = &fakeRow{status: p.Status(run.InstantOf(time.Now())), created: 1}
			if m.Failed != nil {
				row.status = run.SystemFailure
			}
			f.rows[id] = row
			out[i].Outcome = runstore.Created
		}
		for _, patch := range run.InOrder(m.Patches) {
			if patch.Ver > row.ver {
				row.applied = append(row.applied, patch.Ver)
				if patch.Cancel != nil && !row.status.Final() {
					row.status = run.Canceled
				}
			}
		}
		row.ver = max(row.ver, m.Ver)
		out[i].Holder = runstore.Holder{ID: id, Canonical: id, Status: row.status}
	}
	f.mu.Unlock()
	if after != nil {
		if err := after(); err != nil {
			return all(err)
		}
	}
	return out
}

func (f *fakeRuns) row(id run.ID) (fakeRow, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r := f.rows[id]; r != nil {
		return *r, true
	}
	return fakeRow{}, false
}

func (f *fakeRuns) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// rejected is how Postgres refuses one row.
func rejected() error { return fmt.Errorf("test: %w", runstore.ErrRejected) }

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
