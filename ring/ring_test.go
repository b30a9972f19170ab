package ring

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/e0ff5a15/mollifier/buffer"
	"github.com/e0ff5a15/mollifier/run"
)

// copies are what a ring holds, the oldest first.
func copies(r *Ring) []string {
	var all []string
	p, _ := r.after(0, none, 1<<30, nil)
	for i := range p.kept {
		all = append(all, fmt.Sprint(p.kept[i].ID, p.kept[i].Patches))
	}
	return all
}

// The ring is a list, of which the oldest go first, in which a copy replaces that
// which it goes on from.
func TestRingIsAList(t *testing.T) {
	t.Parallel()
	ids := make([]run.ID, 4)
	for i := range ids {
		ids[i] = run.MintID(time.UnixMilli(1_800_000_000_000), i)
	}
	histories := [][]string{nil, {"a"}, {"a", "b"}, {"a", "c"}, {"d"}, {"d", "f", "e"}}
	rapid.Check(t, func(t *rapid.T) {
		const most = 5
		r, err := New(Config{Bytes: most * (overhead + 10), Partitions: 4})
		if err != nil {
			t.Fatal(err)
		}
		type naive struct {
			id      run.ID
			patches []string
			latest  bool
		}
		var want []naive
		size := func() (n int64) {
			for _, w := range want {
				n += overhead + 5 + int64(len(w.patches))
			}
			return n
		}
		evicted := uint64(0)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			if id := rapid.SampledFrom(ids).Draw(t, "id"); rapid.Bool().Draw(t, "keep") {
				k := buffer.Kept{Ref: buffer.Ref{Environment: "e", ID: id}, Snapshot: "12345", Patches: rapid.SampledFrom(histories).Draw(t, "history")}
				r.Keep(k)
				at := slices.IndexFunc(want, func(w naive) bool { return w.id == id && w.latest })
				prefix := func(a, b []string) bool { return len(a) <= len(b) && slices.Equal(a, b[:len(a)]) }
				switch {
				case at >= 0 && prefix(want[at].patches, k.Patches):
					want = slices.Delete(want, at, at+1)
				case at >= 0 && prefix(k.Patches, want[at].patches):
					continue
				case at >= 0:
					want[at].latest = false
				}
				want = append(want, naive{id, k.Patches, true})
				for size() > r.cfg.Bytes {
					want, evicted = want[1:], evicted+1
				}
			} else if p, _ := r.after(0, none, 1<<30, nil); len(p.kept) > 0 {
				i := rapid.IntRange(0, len(p.kept)-1).Draw(t, "which")
				r.left(&p, []int{i, i}) // the second time it is gone
				want = slices.Delete(want, i, i+1)
			}
			var expect []string
			for _, w := range want {
				expect = append(expect, fmt.Sprint(w.id, w.patches))
			}
			if got := copies(r); !slices.Equal(got, expect) {
				t.Fatalf("%v, want %v", got, expect)
			}
			if s := r.Stats(); s.Entries != int64(len(want)) || s.Bytes != size() || s.Evicted != evicted {
				t.Fatalf("%+v of %d", s, len(want))
			}
			for _, id := range ids {
				there := slices.ContainsFunc(want, func(w naive) bool { return w.id == id && w.latest })
				if r.Holds("e", id) != there || r.Holds("another", id) {
					t.Fatalf("holds %s: %t", id, !there)
				}
			}
		}
	})
}

// Parts go through the ring in order, whatever leaves meanwhile.
func TestParts(t *testing.T) {
	t.Parallel()
	r, err := New(Config{Bytes: 1 << 20, Partitions: 1})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		r.Keep(buffer.Kept{Ref: buffer.Ref{Environment: "e", ID: run.MintID(time.UnixMilli(int64(1_800_000_000_000+i)), 0)}})
	}
	seen := 0
	for seq, from := uint64(0), int32(none); ; {
		p, last := r.after(seq, from, 7, nil)
		if len(p.kept) == 0 {
			break
		}
		if !slices.IsSorted(p.seq) || p.seq[0] <= seq {
			t.Fatalf("after %d: %v", seq, p.seq)
		}
		seen += len(p.kept)
		seq, from = p.seq[len(p.seq)-1], last
		if seen%3 == 0 { // where to go on from is gone
			r.left(&p, []int{len(p.kept) - 1})
		}
	}
	if seen != 100 {
		t.Fatalf("%d of 100 were seen", seen)
	}
	if big, _ := r.after(0, none, 1000, func(k *buffer.Kept) bool { return false }); len(big.kept) != 0 {
		t.Fatal("what did not pass was returned")
	}
}

func TestConfigIsNamed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		cfg  Config
		want string
	}{
		{Config{Partitions: 1}, "ring: Config.Bytes must be at least 1"},
		{Config{Bytes: 1}, "ring: Config.Partitions must be 1 to 1024"},
	} {
		if _, err := New(c.cfg); err == nil || err.Error() != c.want {
			t.Errorf("%v, want %s", err, c.want)
		}
	}
	var off *Ring
	if off.Stop(); off.Holds("e", run.ID{}) || off.Stats() != (Stats{}) {
		t.Error("a ring that is not there holds something")
	}
}
