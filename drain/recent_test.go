package drain

import (
	"testing"
	"testing/synctest"

	"github.com/e0ff5a15/mollifier/run"
)

// What became no ordinary run is told, each once and in order, to whoever asks from
// where he was; and only so much is remembered.
func TestRecent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, r := newFakeBuffer(), newFakeRuns()
		bad := b.put("o", "e", 3, 1)[1]
		r.poison = func(id run.ID, failed bool) error {
			if id == bad && !failed {
				return rejected()
			}
			return nil
		}
		d := newDrainer(t, b, r)
		if list := d.Recent(0); len(list) != 0 {
			t.Fatalf("before anything: %v", list)
		}
		d.Start()
		until(t, func() bool { return b.left() == 0 })
		stop(t, d)
		list := d.Recent(0)
		if len(list) != 1 || list[0].What != OddFailed || list[0].Run != bad || list[0].Environment != "e" || list[0].Organisation != "o" || list[0].Seq != 1 {
			t.Fatalf("%+v", list)
		}
		if list := d.Recent(1); len(list) != 0 {
			t.Errorf("told again: %v", list)
		}
		for range recentKept + 10 {
			d.recent.note(OddAlias, &entry{}, bad)
		}
		list = d.Recent(1)
		if len(list) != recentKept || list[0].Seq != 12 || list[recentKept-1].Seq != recentKept+11 || list[0].Canonical != bad {
			t.Errorf("%d are remembered, from %+v", len(list), list[0])
		}
	})
}
