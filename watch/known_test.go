package watch

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/e0ff5a15/mollifier/run"
)

func members(n int, mark func(i int) Mark) []Member {
	out := make([]Member, n)
	for i := range out {
		id, err := run.ParseID(fmt.Sprintf("run_%04d", i))
		if err != nil {
			panic(err)
		}
		out[i] = Member{id, mark(i)}
	}
	return out
}

func plain(i int) Mark { return Mark(i + 1) }

// What a client has seen comes back from its text, and tells exactly what it
// lacks: run by run for a small set, class by class for a large one.
func TestKnown(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, MaxExact, MaxExact + 1, MaxMembers} {
		all := members(n, plain)
		k, ok := ParseKnown(KnownOf(all).String())
		if !ok {
			t.Fatalf("%d: not read back", n)
		}
		if diff := cmp.Diff(KnownOf(all), k, cmp.AllowUnexported(Known{})); diff != "" {
			t.Errorf("%d: %s", n, diff)
		}
		if news, known := k.news(all); len(news) != 0 || len(known) != n {
			t.Errorf("%d: %d new, %d known", n, len(news), len(known))
		}
		if news, known := (Known{}).news(all); len(news) != n || len(known) != 0 {
			t.Errorf("%d, nothing seen: %d new, %d known", n, len(news), len(known))
		}
		if n == 0 {
			continue
		}
		changed := slices.Clone(all)
		changed[n/2].Mark = 1 << 40
		news, known := k.news(changed)
		if len(news)+len(known) != n || !slices.Contains(news, changed[n/2]) {
			t.Errorf("%d, one changed: %d new, %d known", n, len(news), len(known))
		}
		for _, m := range news {
			if n <= MaxExact && m != changed[n/2] || m.class() != changed[n/2].class() {
				t.Errorf("%d: %v is called new", n, m)
			}
		}
		if len(KnownOf(all).String()) > 1400 {
			t.Errorf("%d: a text of %d bytes", n, len(KnownOf(all).String()))
		}
	}
	if news, _ := KnownOf(nil).news([]Member{{}}); len(news) != 1 {
		t.Error("a member without a state is not new")
	}
}

// A set that outgrows the exact form, and shrinks again, repeats runs, and
// misses none.
func TestKnownOfAnotherForm(t *testing.T) {
	t.Parallel()
	small, large := members(MaxExact, plain), members(MaxExact+9, plain)
	news, _ := KnownOf(small).news(large)
	if len(news) != 9 {
		t.Errorf("grown: %d new", len(news))
	}
	small[3].Mark = 1 << 40
	if news, _ = KnownOf(large).news(small); !slices.Contains(news, small[3]) {
		t.Error("shrunk: the changed one is missed")
	}
}

func FuzzParseKnown(f *testing.F) {
	for _, text := range []string{"", "-1", "0_", "0_m", "0_s", "0_mAAAAAAAAAAE", "0_x", KnownOf(members(3, plain)).String(), KnownOf(members(200, plain)).String()} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		k, ok := ParseKnown(text)
		if !ok {
			return
		}
		if k.String() != text {
			t.Errorf("%q is %q", text, k.String())
		}
		k.news(members(200, plain))
	})
}
