package drain

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/runstore"
)

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

func (f *fakeRuns) Bury(context.Context, *run.Snapshot, string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.down {
		return &run.RefusedError{Reason: run.ErrUnavailable, Part: "postgres"}
	}
	return nil
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
func rejected() error { return fmt.Errorf("test: %w", run.ErrRejected) }
