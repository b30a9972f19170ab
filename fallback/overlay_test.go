package fallback_test

import (
	"slices"
	"testing"
	"time"

	"github.com/e0ff5a15/mollifier/fallback"
	"github.com/e0ff5a15/mollifier/run"
)

// Changes through an alias and through its run, while both still have their
// entries, add up: each reaches the run, by whichever name, and none is undone
// when the entries go.
func TestAliasAndItsRunWhileBothAreDrained(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	inc := doOperations(run.MetadataOperation{Type: run.OpIncrement, Key: "n", Value: []byte("1")})
	for _, holder := range []stage{settled, acked, gone} {
		for _, name := range []stage{leased, settled, acked, gone} {
			env := w.env()
			trigger := run.Trigger{IdempotencyKey: "k", Metadata: []byte(`{"n":0}`)}
			first := w.accept(env, trigger)
			first.to(holder)
			forget(w, env, trigger)
			alias := w.accept(env, trigger)
			alias.to(leased)
			// Before they are merged, a tag of the alias is its own.
			if _, _, err := w.reader.AddTags(t.Context(), env, alias.id, []string{"early"}); err != nil {
				t.Fatal(err)
			}
			if name > leased {
				alias.materialise(nil, 0)
				alias.stage = settled
				alias.to(name)
			}
			merged, n := name > leased, "0"
			for _, id := range []run.ID{first.id, alias.id, first.id} {
				if _, _, err := doTags("of "+id.String())(t.Context(), w, env, id); err != nil {
					t.Fatal(err)
				}
				if merged || id == first.id {
					if _, _, err := inc(t.Context(), w, env, id); err != nil {
						t.Fatal(err)
					}
				}
			}
			if n = "2"; merged {
				n = "3"
			}
			check := func(when string, id run.ID) {
				r := read(t, w, env, id)
				if string(r.Trigger.Metadata) != `{"n":`+n+`}` || r.Canonical != first.id || r.ID != id {
					t.Errorf("holder %v alias %v, %s: %s is %s of %s", holder, name, when, r.ID, r.Trigger.Metadata, r.Canonical)
				}
				tags := []string{"of " + first.id.String()}
				if when == "at last" || merged && id == alias.id {
					tags = append(tags, "early", "of "+alias.id.String())
				}
				for _, tag := range tags {
					if !slices.Contains(r.Trigger.Tags, tag) {
						t.Errorf("holder %v alias %v, %s: %v lacks %q", holder, name, when, r.Trigger.Tags, tag)
					}
				}
			}
			check("at once", first.id)
			if merged {
				check("at once", alias.id)
			}
			alias.to(gone)
			first.to(gone)
			check("at last", first.id)
			check("at last", alias.id)
		}
	}
}

// What a worker made of a run stands, whatever lies in its entry.
func TestPatchesDoNotUndoAWorker(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *fallback.Config) { c.Replica = lagging{c.Rows.(watchedRows).hooks} })
	env := w.env()
	m := w.accept(env, run.Trigger{})
	m.to(settled)
	if _, err := w.rows.Finish(t.Context(), env, m.id, run.Finish{Status: run.Executing}); err != nil {
		t.Fatal(err)
	}
	if r := read(t, w, env, m.id); r.Status != run.Executing {
		t.Errorf("a replica that lags hides the worker: %v", r.Status)
	}
	if _, err := w.reader.Cancel(t.Context(), env, m.id, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := w.rows.Finish(t.Context(), env, m.id, run.Finish{Status: run.Completed}); err != nil {
		t.Fatal(err)
	}
	for _, s := range []stage{settled, gone} {
		m.to(s)
		if r := read(t, w, env, m.id); r.Status != run.Completed || r.Error != nil {
			t.Errorf("%v: %v %v", s, r.Status, r.Error)
		}
	}

	env = w.env()
	soon := time.Now().Add(time.Hour).Truncate(time.Microsecond)
	d := w.accept(env, run.Trigger{DelayUntil: soon})
	d.to(settled)
	if _, err := w.reader.Reschedule(t.Context(), env, d.id, soon.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if _, err := w.rows.Finish(t.Context(), env, d.id, run.Finish{Status: run.Queued}); err != nil {
		t.Fatal(err)
	}
	for _, s := range []stage{settled, gone} {
		d.to(s)
		if r := read(t, w, env, d.id); r.Status != run.Queued || !r.Trigger.DelayUntil.Equal(soon) {
			t.Errorf("%v: %v %v", s, r.Status, r.Trigger.DelayUntil)
		}
	}
}

// Metadata that an alias was given before it was merged stay its own, also while
// its entry is still there; and a reader that meets the alias late, behind a
// replica, still sees what lies in the entry of its run.
func TestWhatAnAliasKeepsToItself(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *fallback.Config) { c.Replica = lagging{c.Rows.(watchedRows).hooks} })
	env := w.env()
	trigger := run.Trigger{IdempotencyKey: "k", Metadata: []byte(`{"of":"run"}`)}
	first := w.accept(env, trigger)
	first.to(settled)
	forget(w, env, trigger)
	alias := w.accept(env, trigger)
	alias.to(leased)
	if _, err := w.reader.SetMetadata(t.Context(), env, alias.id, set(`{"of":"alias"}`)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.reader.AddTags(t.Context(), env, first.id, []string{"patched"}); err != nil {
		t.Fatal(err)
	}
	for _, s := range []stage{settled, acked, gone} {
		alias.to(s)
		r := read(t, w, env, alias.id)
		if string(r.Trigger.Metadata) != `{"of":"run"}` || !slices.Equal(r.Trigger.Tags, []string{"patched"}) {
			t.Errorf("%v: %s %v", s, r.Trigger.Metadata, r.Trigger.Tags)
		}
	}
}
