package buffer

import (
	"slices"
	"sync"
	"testing"

	"github.com/e0ff5a15/mollifier/internal/devstack/stacktest"
	"github.com/e0ff5a15/mollifier/run"
)

// shelf keeps the last of each run.
type shelf struct {
	mu   sync.Mutex
	kept map[run.ID]Kept
}

func (s *shelf) Keep(k Kept) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kept == nil {
		s.kept = map[run.ID]Kept{}
	}
	s.kept[k.ID] = k
}

func (b *bench) stands(k Kept, want Stand) {
	b.t.Helper()
	if got := b.Standing(b.t.Context(), []Kept{k})[0]; got.Err != nil || got.Stand != want {
		b.t.Fatalf("stands %+v, want %d", got, want)
	}
}

func (b *bench) restore(k Kept, want Restored) {
	b.t.Helper()
	if got := b.Restore(b.t.Context(), []Kept{k})[0]; got != want {
		b.t.Fatalf("%+v, want %+v", got, want)
	}
}

// dump is all that Redis holds of the bench, and goBack makes it so again.
func (b *bench) dump() map[string]string {
	all := map[string]string{}
	for _, name := range stacktest.Keys(b.t, b.raw, b.prefix+":{*") {
		all[name] = b.raw.Dump(b.t.Context(), name).Val()
	}
	return all
}

func (b *bench) goBack(all map[string]string) {
	b.t.Helper()
	for _, name := range stacktest.Keys(b.t, b.raw, b.prefix+":{*") {
		b.raw.Del(b.t.Context(), name)
	}
	for name, value := range all {
		if err := b.raw.Restore(b.t.Context(), name, 0, value).Err(); err != nil {
			b.t.Fatal(err)
		}
	}
}

// What is kept stands as it does in each state, and comes back from each loss;
// whatever is not lost, restoring changes nothing, and nothing twice.
func TestRestore(t *testing.T) {
	t.Parallel()
	for _, key := range []string{"", "key"} {
		keeper := &shelf{}
		b := onSharedWith(t, Config{Keeper: keeper})
		s := snap(1, key)
		b.buffered(s)
		plain, atNone := keeper.kept[s.ID], b.dump()
		patch(t, b, ref(s), run.Patch{AddTags: []string{"a"}})
		atFirst := b.dump()
		patch(t, b, ref(s), run.Patch{Delay: 5})
		kept := keeper.kept[s.ID]
		if plain.Ver() != 0 || kept.Ver() != 2 || kept.AcceptedAt == 0 || (kept.Until != 0) != (key != "") || kept.Size() <= plain.Size() {
			t.Fatalf("%+v, then %+v", plain, kept)
		}
		before, _ := b.get(ref(s))
		token := NewToken()
		for _, step := range []func(){
			func() {},
			func() { b.lease(1, 1, token) },
			func() { b.lapse(1); b.reap(1) },
		} {
			step()
			state := b.state()
			for _, k := range []Kept{plain, kept} {
				b.stands(k, Waiting)
				b.restore(k, Restored{})
			}
			if b.state() != state {
				t.Fatal("restoring what is there has changed it")
			}
		}
		b.ack(Ack{Ref: ref(s), Ver: 2})
		state := b.state()
		b.stands(kept, Landed)
		b.restore(kept, Restored{})
		if b.state() != state {
			t.Fatal("restoring what is materialised has changed it")
		}
		// Materialised without the last patch: it waits again.
		b.goBack(atFirst)
		b.lease(1, 1, token)
		b.ack(Ack{Ref: ref(s), Ver: 1})
		b.stands(plain, Landed)
		b.stands(kept, Lacking)
		b.restore(kept, Restored{Patches: 1})
		b.stands(kept, Waiting)
		if err := b.sound(); err != nil {
			t.Fatal(err)
		}
		// Waiting without patches.
		b.goBack(atNone)
		b.stands(kept, Lacking)
		b.restore(kept, Restored{Patches: 2})
		if err := b.sound(); err != nil {
			t.Fatal(err)
		}
		// Gone, with everything.
		b.goBack(nil)
		b.stands(kept, Gone)
		b.restore(kept, Restored{Run: true, Patches: 2})
		b.restore(kept, Restored{})
		after, _ := b.get(ref(s))
		if after.Status != Returned || after.Size != before.Size || after.Snapshot.AcceptedAt != before.Snapshot.AcceptedAt || b.record(s) != "" {
			t.Fatalf("%+v", after)
		}
		if err := b.sound(); err != nil {
			t.Fatal(err)
		}
		if got := b.lease(1, 9, token); len(got) != 1 {
			t.Fatalf("%d leased", len(got))
		}
	}
}

// The entry was changed otherwise since: both are there, the later with the last
// word, and what came of it is kept.
func TestRestoreMeetsOtherChanges(t *testing.T) {
	t.Parallel()
	for _, materialised := range []bool{false, true} {
		keeper := &shelf{}
		b := onSharedWith(t, Config{Keeper: keeper})
		s := snap(1, "key")
		b.buffered(s)
		before := b.dump()
		patch(t, b, ref(s), run.Patch{AddTags: []string{"lost"}})
		patch(t, b, ref(s), run.Patch{AddTags: []string{"lost too"}, Delay: 1})
		kept := keeper.kept[s.ID]
		b.goBack(before)
		patch(t, b, ref(s), run.Patch{AddTags: []string{"new"}, Delay: 2})
		if materialised {
			b.ack(Ack{Ref: ref(s), Ver: 1})
		}
		b.stands(kept, Lacking)
		b.restore(kept, Restored{Patches: 2, Anew: true})
		e, _ := b.get(ref(s))
		if tags := e.Patched().Trigger.Tags; e.Status == Materialised || e.Ver != 4 || run.InstantOf(e.Patched().Trigger.DelayUntil) != 2 ||
			!slices.Contains(tags, "lost") || !slices.Contains(tags, "lost too") || !slices.Contains(tags, "new") {
			t.Fatalf("%+v", e)
		}
		b.stands(keeper.kept[s.ID], Waiting)
		state := b.state()
		b.restore(kept, Restored{Anew: true})
		if b.state() != state {
			t.Fatal("a second restore has changed something")
		}
	}
}

// An entry of a version that this build does not know is not touched.
func TestRestoreOfAnotherForm(t *testing.T) {
	t.Parallel()
	keeper := &shelf{}
	b := onSharedWith(t, Config{Keeper: keeper})
	s := snap(1, "")
	b.buffered(s)
	b.raw.SetRange(t.Context(), b.entryName(s), 0, "9")
	state := b.state()
	b.stands(keeper.kept[s.ID], Waiting)
	if got := b.Restore(t.Context(), []Kept{keeper.kept[s.ID]})[0]; got.Err == nil || b.state() != state {
		t.Fatalf("%+v", got)
	}
	foreign := keeper.kept[s.ID]
	foreign.ID, _ = run.ParseID("run_imported")
	b.stands(foreign, Gone)
	b.restore(foreign, Restored{})
}
