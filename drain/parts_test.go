package drain

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/e0ff5a15/mollifier/run"
)

func all(n int) func(string) int { return func(string) int { return n } }

// Case 52: the cursor is a name. Whoever comes and goes, nobody has a second
// turn before all that waited have had one.
func TestRotationByName(t *testing.T) {
	t.Parallel()
	var r rotation
	took := func(heads ...head) string {
		r.load(heads)
		turn, ok := r.next(all(1))
		if !ok {
			return "nobody"
		}
		return turn.organisation + "/" + turn.environment
	}
	a1, a2, b1, c1 := head{0, "a", "1", 9, 0}, head{0, "a", "2", 9, 0}, head{0, "b", "1b", 9, 0}, head{0, "c", "1c", 9, 0}
	for i, step := range []struct {
		want  string
		heads []head
	}{
		{"a/1", []head{a1, a2, b1, c1}},
		{"b/1b", []head{a1, a2, b1, c1}},
		{"c/1c", []head{a1, a2, c1}}, // b is gone: c is not skipped
		{"a/2", []head{a1, a2, b1, c1}},
		{"b/1b", []head{a1, b1, c1}},
		{"c/1c", []head{a1, b1, c1}},
		{"a/1", []head{a1, a2}},
		{"nobody", nil},
		{"a/2", []head{a1, a2}}, // remembered though nothing had waited
	} {
		if got := took(step.heads...); got != step.want {
			t.Errorf("turn %d: %s, want %s", i, got, step.want)
		}
	}
}

// Over any backlog: all is given out, once; between two turns of an organisation
// every other one that waits has one, and so within an organisation; a turn
// takes the oldest heads first.
func TestRotationIsFair(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var heads []head
		depth := make(map[string]int)
		for o := range rapid.IntRange(1, 5).Draw(t, "organisations") {
			for e := range rapid.IntRange(1, 4).Draw(t, "environments") {
				org, env := fmt.Sprint("o", o), fmt.Sprint("e", o, "-", e)
				for p := range rapid.IntRange(1, 4).Draw(t, "partitions") {
					n := rapid.IntRange(1, 30).Draw(t, "depth")
					heads = append(heads, head{p, org, env, n, run.Instant(rapid.IntRange(1, 50).Draw(t, "oldest"))})
					depth[org] += n
				}
			}
		}
		size := rapid.IntRange(1, 20).Draw(t, "size")
		var r rotation
		r.load(slices.Clone(heads))
		waits := make(map[string]int) // turns of others since one's own
		for {
			turn, ok := r.next(all(size))
			if !ok {
				break
			}
			for org, left := range depth {
				if left > 0 {
					waits[org]++
				}
			}
			if waits[turn.organisation] = 0; turn.entries() > size || turn.entries() == 0 {
				t.Fatalf("a turn of %d, the size is %d", turn.entries(), size)
			}
			depth[turn.organisation] -= turn.entries()
			for org, n := range waits {
				if depth[org] > 0 && n >= len(depth) {
					t.Fatalf("%s waits for %d turns, of %d organisations", org, n, len(depth))
				}
			}
		}
		for org, n := range depth {
			if n != 0 {
				t.Fatalf("%d of %s are left", n, org)
			}
		}
	})
}

func TestTurnTakesOldestHeadFirst(t *testing.T) {
	t.Parallel()
	var r rotation
	r.load([]head{{0, "o", "e", 5, 30}, {1, "o", "e", 5, 10}, {2, "o", "e", 5, 20}})
	turn, _ := r.next(all(8))
	if !slices.Equal(turn.parts, []part{{1, 5}, {2, 3}}) {
		t.Errorf("took %v", turn.parts)
	}
	turn, _ = r.next(all(100))
	if !slices.Equal(turn.parts, []part{{0, 5}, {2, 2}}) {
		t.Errorf("took %v", turn.parts)
	}
}

func testPace() *pace {
	c := Config{Partitions: 1}.withDefaults()
	return newPace(&c)
}

func TestPaceFollowsPostgres(t *testing.T) {
	t.Parallel()
	p, now := testPace(), time.Now()
	fast, slow := func() {
		p.succeeded(p.size(), now, now.Add(time.Millisecond))
		now = now.Add(time.Millisecond)
	}, func() {
		p.succeeded(p.size(), now, now.Add(time.Second))
		now = now.Add(time.Second)
	}
	for range 100 {
		fast()
	}
	if p.size() != 200 || p.flight != 4 {
		t.Fatalf("fast: batches of %d, %d at once", p.size(), p.flight)
	}
	slow()
	if p.size() != 100 || p.flight != 4 {
		t.Fatalf("slow once: batches of %d, %d at once", p.size(), p.flight)
	}
	for range 20 {
		slow()
	}
	if p.size() != smallBatch || p.flight != 1 {
		t.Fatalf("slow: batches of %d, %d at once", p.size(), p.flight)
	}
	p.succeeded(1, now, now)
	if p.size() != smallBatch {
		t.Error("a batch that was not full says that larger ones are fine")
	}
}

// Batches that are slow or fail together reduce the pace once.
func TestPaceIsReducedOncePerRound(t *testing.T) {
	t.Parallel()
	p, now := testPace(), time.Now()
	before := p.size()
	for range 4 {
		p.succeeded(before, now, now.Add(time.Second))
	}
	if p.size() != before/2 {
		t.Errorf("batches of %d", p.size())
	}
	later := now.Add(2 * time.Second)
	first, ok := p.failed(later, later.Add(time.Second), 0)
	if !ok || first <= 0 || first > p.pauseMin {
		t.Errorf("the first pause is %s", first)
	}
	if again, ok := p.failed(later, later.Add(time.Second), 0); ok || again != 0 {
		t.Error("failures at the same time make two pauses")
	}
}

func TestPauses(t *testing.T) {
	t.Parallel()
	p, now := testPace(), time.Now()
	var last time.Duration
	for range 20 {
		pause, _ := p.failed(now, now, 0)
		if pause > p.pauseMax {
			t.Fatalf("a pause of %s", pause)
		}
		if ok, wait := p.enter(now); ok || wait != pause {
			t.Fatalf("entered in a pause, or told to wait %s", wait)
		}
		now, last = now.Add(pause), pause
		if ok, _ := p.enter(now); !ok {
			t.Fatal("no probe after the pause")
		}
		if ok, wait := p.enter(now); ok || wait != 0 {
			t.Fatal("a second probe beside the first")
		}
		if n := p.size(); n > smallBatch {
			t.Fatalf("a probe of %d", n)
		}
		p.leave()
	}
	if last < p.pauseMax/2 {
		t.Errorf("the last pause is %s", last)
	}
	p.succeeded(1, now, now)
	if p.paused() {
		t.Error("paused after a success")
	}
	if pause, first := p.failed(now, now, time.Second); !first || pause != time.Second {
		t.Errorf("what Postgres asked for is not kept: %s", pause)
	}
}

// The rate is that of the time in which something waited.
func TestRate(t *testing.T) {
	t.Parallel()
	var rs rates
	now := time.Now()
	busy := []head{{0, "o", "e", 1, 0}}
	read := func() float64 { return rs.envs["e"].read(now) }
	near := func(want float64) {
		t.Helper()
		if got := read(); math.Abs(got-want) > want/5 {
			t.Errorf("%.1f entries a second, want about %.1f", got, want)
		}
	}
	for range 20 {
		rs.waiting(busy, now)
		now = now.Add(100 * time.Millisecond)
		rs.left("e", 50, now)
	}
	near(500)
	rs.waiting(nil, now)
	now = now.Add(time.Hour)
	near(500) // it was idle, not slow
	rs.waiting(busy, now)
	now = now.Add(20 * time.Second)
	if got := read(); got > 100 {
		t.Errorf("%.1f entries a second though nothing was drained for 20 s", got)
	}
	for range 400 {
		rs.waiting(busy, now)
		now = now.Add(100 * time.Millisecond)
		rs.left("e", 2, now)
	}
	near(20)
	if rs.total.read(now) == 0 {
		t.Error("no total")
	}
}

// Cases 66 to 71: levels fall back to nothing, survive a Redis that does not
// answer, and what is stale is reported, the oldest first, a bounded number.
func TestLevels(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, r := newFakeBuffer(), newFakeRuns()
		r.down = true
		var out logged
		d := newDrainer(t, b, r, func(c *Config) {
			c.Partitions, c.StaleLimit, c.StaleAfter, c.Logger = 40, 30, time.Minute, out.logger()
		})
		old := b.put("o1", "e1", 50, 40)
		d.Start()
		synctest.Wait()
		if l := d.Levels(); l.Age < 0 || l.Total.Entries != 50 || l.Organisations["o1"].Bytes == 0 || l.Stale != 0 {
			t.Errorf("%+v", l)
		}
		pass(2 * time.Minute)
		young := b.put("o2", "e2", 10, 40)
		pass(11 * time.Second)
		l := d.Levels()
		if l.Total.Entries != 60 || l.Organisations["o2"].Entries != 10 || l.Stale != 50 {
			t.Errorf("%+v", l)
		}
		if l.Total.Oldest < 2*time.Minute || l.Organisations["o2"].Oldest > 30*time.Second {
			t.Errorf("dwells %s and %s", l.Total.Oldest, l.Organisations["o2"].Oldest)
		}
		last := out.lines("waits too long")
		last = last[len(last)-30:]
		for i, line := range last {
			if !strings.Contains(line, old[i].String()) || !strings.Contains(line, "organisation=o1") || !strings.Contains(line, "dwell=") {
				t.Errorf("line %d of the last sweep: %s", i, line)
			}
		}
		if !out.has("more buffered runs wait", "runs=20") || out.has("waits too long", young[0].String()) {
			t.Error("wrong reports")
		}

		b.setFault(func(string, bool) error { return errDown })
		pass(5 * time.Minute)
		if l := d.Levels(); l.Total.Entries != 60 || l.Total.Oldest < 7*time.Minute || l.Age < 4*time.Minute {
			t.Errorf("while Redis does not answer: %+v", l)
		}
		b.setFault(nil)
		r.set(func() { r.down = false })
		until(t, func() bool { return b.left() == 0 })
		pass(11 * time.Second)
		if l := d.Levels(); l.Total != (Level{}) || l.Stale != 0 || len(l.Organisations) != 0 {
			t.Errorf("when all is drained: %+v", l)
		}
		stop(t, d)
	})
}

func TestConfigNamesTheField(t *testing.T) {
	t.Parallel()
	for field, c := range map[string]Config{
		"Partitions": {}, "BatchSize": {Partitions: 1, BatchSize: 501}, "BatchBytes": {Partitions: 1, BatchBytes: 1},
		"InFlight": {Partitions: 1, InFlight: -1}, "Target": {Partitions: 1, Target: -1}, "Deadline": {Partitions: 1, Deadline: 1},
		"Lease": {Partitions: 1, Lease: time.Millisecond}, "Attempts": {Partitions: 1, Attempts: -1}, "Retry": {Partitions: 1, Retry: 1},
		"Hold": {Partitions: 1, Hold: 1}, "PauseMax": {Partitions: 1, PauseMin: time.Minute}, "IdleMax": {Partitions: 1, IdleMin: time.Minute},
		"ReapEvery": {Partitions: 1, ReapEvery: 1}, "ReapLimit": {Partitions: 1, ReapLimit: -1}, "SweepEvery": {Partitions: 1, SweepEvery: 1},
		"StaleAfter": {Partitions: 1, StaleAfter: 1}, "StaleLimit": {Partitions: 1, StaleLimit: 1001},
	} {
		if _, err := New(c, nil, nil); err == nil || !strings.Contains(err.Error(), "Config."+field+" ") {
			t.Errorf("%s: %v", field, err)
		}
	}
	if _, err := New(Config{Partitions: 1}, newFakeBuffer(), newFakeRuns()); err != nil {
		t.Error(err)
	}
}
