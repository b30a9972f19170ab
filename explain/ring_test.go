package explain

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/e0ff5a15/mollifier/gate"
	"github.com/e0ff5a15/mollifier/run"
)

func tripped(string) (gate.State, gate.Limits) {
	return gate.State{Tripped: true, Count: 101, Hold: 500 * time.Millisecond},
		gate.Limits{Window: 200 * time.Millisecond, Threshold: 100, Hold: 500 * time.Millisecond}
}

func snapshot(key string) *run.Snapshot {
	t := run.Trigger{Organisation: "o", Environment: "e", Task: "t", IdempotencyKey: key}
	k := t.Key()
	var hash run.Hash
	if key != "" {
		hash = k.Hash()
	}
	s := run.NewSnapshot(run.MintID(time.Now(), 0), k, hash, t)
	return &s
}

func cached(id run.ID) run.Result { return run.NewResult(run.Answer{ID: id, Cached: true}) }

func texts(list []Decision) string {
	var all []string
	for _, d := range list {
		all = append(all, d.Text)
	}
	return strings.Join(all, "\n")
}

// Each event is found by its run and by its key, in words.
func TestEvents(t *testing.T) {
	t.Parallel()
	r := NewRing(1000, tripped)
	s, keyless := snapshot("k"), snapshot("")
	r.Decided(s, gate.Decision{Outcome: gate.Mollify, Reason: gate.ReasonRate})
	r.Diverted(s, false)
	r.Answered(s, 1, run.NewResult(run.Answer{ID: s.ID}), nil) // made its run: nothing to tell
	again := snapshot("k")
	r.Answered(again, 3, cached(s.ID), nil)
	r.Answered(again, 2, cached(s.ID), nil)
	r.Answered(again, 1, run.Result{}, &run.RefusedError{Reason: run.ErrQuota, Part: "buffer"})
	r.Decided(keyless, gate.Decision{Outcome: gate.Pass, Reason: gate.ReasonForced})
	r.Decided(keyless, gate.Decision{Outcome: gate.Pass, Reason: gate.ReasonBelowRate})
	r.Answered(keyless, 1, run.Result{}, errors.New("nobody can ask for it"))

	key, since := r.Of(run.ID{}, s.Hash)
	if !since.IsZero() {
		t.Errorf("forgotten since %s", since)
	}
	want := []string{
		"mollified: 101 triggers of the environment in a window of 200ms, over the threshold of 100",
		"sent to Postgres: the buffer gave no answer, so the run may be in either",
		fmt.Sprintf("deduplicated: 5 callers were answered with %s, which was there before", s.ID),
		"refused, 1 times: the environment's share of the buffer was used up",
	}
	if got := texts(key); got != strings.Join(want, "\n") {
		t.Errorf("by key:\n%s", got)
	}
	own, _ := r.Of(s.ID, run.Hash{})
	if got := texts(own); got != strings.Join(want[:3], "\n") {
		t.Errorf("by run:\n%s", got)
	}
	if d := own[0]; d.Count != 101 || d.Threshold != 100 || d.Window != "200ms" || d.Hold != "500ms" || d.Reason != "rate" || d.Run != s.ID.String() {
		t.Errorf("%+v", d)
	}
	if list, _ := r.Of(keyless.ID, run.Hash{}); texts(list) != "passed: the gate was overridden for the environment" {
		t.Errorf("%+v", list)
	}
}

// The memory is bounded, says what it has forgotten, and may be none.
func TestForgetting(t *testing.T) {
	t.Parallel()
	r := NewRing(160, tripped)
	first := snapshot("first")
	r.Answered(first, 1, cached(first.ID), nil)
	for i := range 10_000 {
		s := snapshot(fmt.Sprint(i))
		r.Answered(s, 1, cached(s.ID), nil)
	}
	list, since := r.Of(first.ID, run.Hash{})
	if len(list) != 0 || since.IsZero() {
		t.Errorf("%v, all since %s", list, since)
	}
	held := 0
	for i := range r.stripes {
		held += len(r.stripes[i].events)
	}
	if held != 160 {
		t.Errorf("%d events", held)
	}
	for _, n := range []int{0, -1} {
		none := NewRing(n, tripped)
		none.Decided(first, gate.Decision{Outcome: gate.Mollify, Reason: gate.ReasonRate})
		none.Answered(first, 1, cached(first.ID), nil)
		if list, _ := none.Of(first.ID, first.Hash); len(list) != 0 {
			t.Errorf("%v", list)
		}
	}
}

// Every reason and refusal has words.
func TestEveryEventHasWords(t *testing.T) {
	t.Parallel()
	for d := gate.ReasonDebounce; d.String() != ""; d++ {
		e := event{what: Passed, reason: d, limits: gate.Limits{Threshold: 1}}
		switch d {
		case gate.ReasonOff, gate.ReasonNotEnrolled, gate.ReasonBelowRate:
			continue
		}
		if text := e.text(); strings.HasSuffix(text, ": ") {
			t.Errorf("%s: %q", d, text)
		}
	}
	for _, err := range []error{
		run.ErrQuota, run.ErrOverloaded, run.ErrClaimTimeout, run.ErrInFlight, run.ErrClosed, run.ErrInvalid, run.ErrUnavailable,
	} {
		if name := refusal(&run.RefusedError{Reason: err}); refusalTexts[name] == "" {
			t.Errorf("%v: %q has no words", err, name)
		}
	}
}

func TestNothingIsAllocated(t *testing.T) {
	r := NewRing(64, tripped)
	s := snapshot("k")
	for i := range 200 {
		r.Answered(snapshot(fmt.Sprint(i)), 1, cached(s.ID), nil)
	}
	c := cached(s.ID)
	if n := testing.AllocsPerRun(100, func() {
		r.Decided(s, gate.Decision{Outcome: gate.Mollify, Reason: gate.ReasonRate})
		r.Answered(s, 1, c, nil)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	r := NewRing(100, tripped)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for i := range 500 {
				s := snapshot(fmt.Sprint(i % 7))
				r.Decided(s, gate.Decision{Outcome: gate.Mollify, Reason: gate.ReasonRate})
				r.Answered(s, 1, cached(s.ID), nil)
				r.Of(s.ID, s.Hash)
			}
		})
	}
	all.Wait()
}
