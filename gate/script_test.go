package gate

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"

	"github.com/e0ff5a15/mollifier/internal/devstack/stacktest"
	"github.com/e0ff5a15/mollifier/redisdb"
)

// written is the record that a counter is kept as.
func (c counter) written(a Algorithm) string {
	letter := "f"
	if a == GCRA {
		letter = "g"
	}
	return fmt.Sprintf("1|%s|%d|%d|%d", letter, c.held, c.mark, c.level)
}

// The scripts do what the counter does, at the TIME that they say they ran at.
func TestScriptIsTheCounter(t *testing.T) {
	t.Parallel()
	eachAlgorithm(t, func(t *testing.T, a Algorithm) {
		db, raw := shared(t)
		round := 0
		rapid.Check(t, func(rt *rapid.T) {
			round++
			name := db.Names().Rate(redisdb.EnvTag(fmt.Sprint(a, round)))
			l := anyLimits(rt, a)
			var twin counter
			for range rapid.IntRange(1, 12).Draw(rt, "calls") {
				switch rapid.IntRange(0, 5).Draw(rt, "before") {
				case 0: // the settings change
					l = anyLimits(rt, a)
				case 1, 2: // time passes, or steps back, as far as the record can tell
					by := rapid.Int64Range(-10_000, 10_000).Draw(rt, "time passes")
					twin.mark = max(twin.mark-by, 0)
					twin.held = max(twin.held-by, 0)
				}
				if twin != (counter{}) { // and the record's own end is out of the way
					if err := raw.Set(t.Context(), name, twin.written(a), time.Minute).Err(); err != nil {
						rt.Fatal(err)
					}
				}
				n := rapid.Int64Range(1, 2*l.threshold).Draw(rt, "n")
				r, err := parse(db.Run(t.Context(), []redisdb.Call{call(name, n, l)})[0])
				if err != nil {
					rt.Fatal(err)
				}
				twin.add(r.time, n, l)
				want := reading{time: r.time, held: max(twin.held-r.time, 0), level: twin.level}
				if want.ends = twin.mark - r.time; a == GCRA {
					want.ends = (twin.level + 999) / 1000
				}
				if r != want {
					rt.Fatalf("script %+v, counter %+v", r, want)
				}
				back := r.at(1_000_000, a)
				if (back.held > 1_000_000) != (twin.held > r.time) || back.over(1_000_000, a) {
					rt.Fatalf("%+v came back as %+v", r, back)
				}
				// It lives as long as it says something, and a little; then it is gone.
				pipe := raw.Pipeline()
				record, life := pipe.Get(t.Context(), name), pipe.PTTL(t.Context(), name)
				_, err = pipe.Exec(t.Context())
				switch says := span(max(r.held, r.ends)); {
				case errors.Is(err, redis.Nil):
				case err != nil:
					rt.Fatal(err)
				case record.Val() != twin.written(a):
					rt.Fatalf("record %q, want %q", record.Val(), twin.written(a))
				case life.Val() > says+2*time.Millisecond:
					rt.Fatalf("lives %s, says something for %s", life.Val(), says)
				}
			}
		})
	})
}

// The record's end is after everything that it says.
func TestScriptLife(t *testing.T) {
	t.Parallel()
	eachAlgorithm(t, func(t *testing.T, a Algorithm) {
		db, raw := shared(t)
		for _, l := range []limits{
			{a, micros(time.Hour), 5, micros(time.Minute)},
			{a, micros(time.Minute), 5, micros(time.Hour)},
		} {
			name := db.Names().Rate(fmt.Sprint(a, l.hold))
			db.Run(t.Context(), []redisdb.Call{call(name, 6, l)})
			if life := raw.PTTL(t.Context(), name).Val(); life < 59*time.Minute || life > time.Hour+2*time.Millisecond {
				t.Errorf("%+v: lives %s", l, life)
			}
		}
	})
}

// Records of the other algorithm lend their hold, and nothing else.
func TestAlgorithmsShareTheHold(t *testing.T) {
	t.Parallel()
	db, _ := shared(t)
	for i, first := range []Algorithm{FixedWindow, GCRA} {
		name := db.Names().Rate(fmt.Sprint("env", i))
		l := limits{algorithm: first, window: micros(time.Minute), threshold: 5, hold: micros(time.Minute)}
		other := l
		other.algorithm = 1 - first
		before, err := parse(db.Run(t.Context(), []redisdb.Call{call(name, 6, l)})[0])
		if err != nil || before.held != l.hold {
			t.Fatalf("%s: %+v %v", first, before, err)
		}
		after, err := parse(db.Run(t.Context(), []redisdb.Call{call(name, 1, other)})[0])
		if err != nil || after.held == 0 || after.held > before.held {
			t.Fatalf("%s: %+v %v", other.algorithm, after, err)
		}
		if one := max(other.each(), 1); after.level != 1 && after.level != one {
			t.Errorf("%s: level %d after one trigger", other.algorithm, after.level)
		}
	}
}

// A record of an unknown form is reported and left alone.
func TestUnknownRecord(t *testing.T) {
	t.Parallel()
	db, raw := shared(t)
	eachKind := []string{"", "2|f|1|2|3", "1|h|1|2|3", "1|f|1|2", "1|f|1|2|x", "1|g|-1|2|3", "1|f|1|2|3|4", "7"}
	for i, record := range eachKind {
		for _, a := range []Algorithm{FixedWindow, GCRA} {
			name := db.Names().Rate(fmt.Sprint("env", i, a))
			if err := raw.Set(t.Context(), name, record, time.Minute).Err(); err != nil {
				t.Fatal(err)
			}
			l := limits{algorithm: a, window: 1000, threshold: 5, hold: 1000}
			if r, err := parse(db.Run(t.Context(), []redisdb.Call{call(name, 1, l)})[0]); err == nil {
				t.Errorf("%s met %q: %+v", a, record, r)
			}
			if now := raw.Get(t.Context(), name).Val(); now != record {
				t.Errorf("%s made %q of %q", a, now, record)
			}
		}
	}
}

func TestParseIsTotal(t *testing.T) {
	t.Parallel()
	for _, values := range [][]any{
		nil,
		{},
		{"?"},
		{int64(1), int64(2), int64(3)},
		{int64(1), int64(2), int64(3), "4"},
		{int64(1), int64(2), int64(3), int64(-4)},
		{nil, nil, nil, nil},
		{int64(1), int64(2), int64(3), int64(4), int64(5)},
	} {
		if r, err := parse(redisdb.Result{Values: values}); err == nil {
			t.Errorf("%v: %+v", values, r)
		}
	}
}

// A Redis that is full goes on counting: that is when the gate is needed most.
func TestScriptWithoutMemory(t *testing.T) {
	t.Parallel()
	server := stacktest.PrivateRedis(t)
	db, raw := open(t, server.URL(), "m"), plain(t, server.URL())
	if err := raw.ConfigSet(t.Context(), "maxmemory", "1").Err(); err != nil {
		t.Fatal(err)
	}
	for _, a := range []Algorithm{FixedWindow, GCRA} {
		l := limits{algorithm: a, window: micros(time.Minute), threshold: 5, hold: micros(time.Minute)}
		r, err := parse(db.Run(t.Context(), []redisdb.Call{call(db.Names().Rate(a.String()), 6, l)})[0])
		if err != nil || r.held != l.hold {
			t.Errorf("%s: %+v %v", a, r, err)
		}
	}
}

// All of an environment's names are in the slot of its tag, whatever its id.
func TestRateName(t *testing.T) {
	t.Parallel()
	g := gateOn(t, settings(newClock()), none{})
	for _, id := range []string{"env_1", "a}b", "{x}", "a:b", "", strings.Repeat("e", 200)} {
		name := g.rateName(id)
		if _, rest, ok := strings.Cut(name, ":{g:"); !ok || strings.Count(rest, "{") != 0 || !strings.HasSuffix(rest, "}:rate") || strings.Count(rest, "}") != 1 {
			t.Errorf("%q is counted under %q", id, name)
		}
	}
}
