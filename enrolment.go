package mollifier

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/e0ff5a15/mollifier/buffer"
)

// enrolment says whose keys are claimed. An organisation that is mollified has
// its keys claimed, of course. One that has left (it was un-enrolled, or the
// mollifier was switched off) may still have runs in the buffer that hold keys
// which Postgres knows nothing of: without a claim a trigger would not meet them,
// and make a second run. So its keys go on being claimed, although nothing more of
// it is buffered, until it is gone:
//
//	mollified ──left──▶ leaving ──its buffer was empty in all looks of a grace──▶ gone
//	    ▲                 │ ▲                                                       │
//	    └────enrolled─────┘ └─── any look finds a run of it, or fails: begin anew   │
//	    └───────────────────────────────────────────────────────────────────────────┘
//
// Each node looks for itself and begins anew with each start, for it can not know
// what was before. The grace is for other nodes: they may hear of the change later
// by as long as it takes them to hear of one, which has to be less, and for who
// had looked into the buffer before the last run left it.
//
// Only organisations that trigger are watched, and only until they are gone: then
// their triggers cost a look into memory, and no call.
type enrolment struct {
	mollified func(organisation string) bool
	// holding says, of all organisations, whether they have anything in the buffer.
	holding func(ctx context.Context) (map[string]bool, error)
	every   time.Duration // between looks
	grace   time.Duration

	leaving sync.Map // of *departure, by organisation
	news    chan struct{}
}

// departure is an organisation that is not mollified.
type departure struct {
	empty time.Time // since when every look found nothing; watch's own
	gone  atomic.Bool
}

func newEnrolment(mollified func(string) bool, b *buffer.Store) *enrolment {
	return &enrolment{
		mollified: mollified, holding: b.Organisations,
		every: buffer.Grace / 10, grace: buffer.Grace, news: make(chan struct{}, 1),
	}
}

// claims reports whether the keys of an organisation are claimed, from memory.
func (e *enrolment) claims(organisation string) bool {
	if e.mollified(organisation) {
		return true
	}
	known, ok := e.leaving.Load(organisation)
	if !ok {
		known, _ = e.leaving.LoadOrStore(organisation, &departure{})
		select {
		case e.news <- struct{}{}:
		default:
		}
	}
	return !known.(*departure).gone.Load()
}

// watch looks into the buffer while an organisation is leaving, until ctx ends.
func (e *enrolment) watch(ctx context.Context) {
	again := time.NewTicker(e.every)
	defer again.Stop()
	for {
		select {
		case <-e.news:
		case <-ctx.Done():
			return
		}
		for e.look(ctx) {
			select {
			case <-again.C:
			case <-ctx.Done():
				return
			}
		}
	}
}

// look takes one look, and reports whether anybody is still leaving.
func (e *enrolment) look(ctx context.Context) (leaving bool) {
	held, err := e.holding(ctx)
	now := time.Now()
	e.leaving.Range(func(name, value any) bool {
		d := value.(*departure)
		switch {
		case e.mollified(name.(string)):
			e.leaving.Delete(name) // should it leave again, it begins anew
			return true
		case d.gone.Load():
			return true
		case err != nil || held[name.(string)]:
			d.empty = time.Time{}
		case d.empty.IsZero():
			d.empty = now
		case now.Sub(d.empty) >= e.grace:
			d.gone.Store(true)
			return true
		}
		leaving = true
		return true
	})
	return leaving
}
