package bench_test

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/e0ff5a15/mollifier/bench"
	"github.com/e0ff5a15/mollifier/bench/internal/load"
	"github.com/e0ff5a15/mollifier/bench/limits"
	"github.com/e0ff5a15/mollifier/run"
)

// grid runs keys and no keys, small and large payloads, few and many callers.
func grid(b *testing.B, s *load.Stores, w bench.Way) {
	b.Helper()
	e := engine(b, s, w)
	for _, keyed := range []bool{true, false} {
		for _, size := range []int{512, 16 << 10} {
			for _, callers := range []int{1, 64, 256} {
				b.Run(fmt.Sprintf("keyed=%t/bytes=%d/callers=%d", keyed, size, callers), func(b *testing.B) {
					next := bench.Keyless(load.Body(size))
					if keyed {
						next = bench.Distinct(load.Body(size))
					}
					load.Measure(b, bench.Contestant(e, w.String(), next), callers, s)
				})
			}
		}
	}
}

// Redis claims, Postgres inserts.
func BenchmarkPassThrough(b *testing.B) {
	grid(b, load.ForTest(b, load.FsyncAlways), bench.PassThrough)
}

// The buffer takes everything. Synced before each answer, and each second.
func BenchmarkMollified(b *testing.B) {
	for _, fsync := range []string{load.FsyncAlways, load.FsyncEverySec} {
		b.Run("fsync="+fsync, func(b *testing.B) { grid(b, load.ForTest(b, fsync), bench.Mollified) })
	}
}

// The mollifier switched off.
func BenchmarkOff(b *testing.B) {
	s := load.ForTest(b, load.FsyncAlways)
	e := engine(b, s, bench.Off)
	for _, callers := range []int{1, 256} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			load.Measure(b, bench.Contestant(e, "off", bench.Distinct(load.Body(512))), callers, s)
		})
	}
	b.Run("plain", func(b *testing.B) {
		c, err := limits.Grouped(b.Context(), s, 500, 2, load.Body(512))
		if err != nil {
			b.Fatal(err)
		}
		defer c.Close()
		load.Measure(b, c, 256, s)
	})
}

// Batches of TriggerBatch.
func BenchmarkBulk(b *testing.B) {
	s := load.ForTest(b, load.FsyncAlways)
	e := engine(b, s, bench.PassThrough)
	load.Measure(b, bench.Bulk(e, "bulk", 1000, load.Body(512)), 2, s)
}

// Zipf-distributed keys over many environments, a few of which get most of it
// and storm; the node is as it is by default, and drains.
func BenchmarkMixed(b *testing.B) {
	s := load.ForTest(b, load.FsyncAlways)
	e := engine(b, s, bench.Node)
	const environments = 1000
	prefix, payload := load.Fresh(), load.Body(512)
	next := func(i int) run.Trigger {
		r := rand.New(rand.NewPCG(1, uint64(i)))
		keys, envs := rand.NewZipf(r, 1.1, 1, 1<<20), rand.NewZipf(r, 1.3, 1, environments-1)
		t := bench.Trigger(prefix+strconv.FormatUint(keys.Uint64(), 10), payload)
		t.Environment = "env-" + strconv.FormatUint(envs.Uint64(), 10)
		return t
	}
	load.Measure(b, bench.Contestant(e, "mixed", next), 256, s)
}

// One caller, one trigger at a time, beside what its stores take for the bare
// round trips: what the engine adds at low load.
func BenchmarkLoneTrigger(b *testing.B) {
	s := load.ForTest(b, load.FsyncAlways)
	pass, mollified := engine(b, s, bench.PassThrough), engine(b, s, bench.Mollified)
	payload := load.Body(512)
	b.Run("key", func(b *testing.B) {
		load.Measure(b, bench.Contestant(pass, "key", bench.Distinct(payload)), 1, s)
	})
	b.Run("nokey", func(b *testing.B) {
		load.Measure(b, bench.Contestant(pass, "no key", bench.Keyless(payload)), 1, s)
	})
	b.Run("mollified", func(b *testing.B) {
		load.Measure(b, bench.Contestant(mollified, "mollified", bench.Distinct(payload)), 1, s)
	})
	for name, open := range map[string]func() (*load.Contestant, error){
		"bare-set-and-row":  func() (*load.Contestant, error) { return limits.Trip(b.Context(), s, payload) },
		"bare-row":          func() (*load.Contestant, error) { return limits.Row(b.Context(), s, 1, payload) },
		"bare-read-and-set": func() (*load.Contestant, error) { return limits.LookTrip(b.Context(), s, payload) },
	} {
		b.Run(name, func(b *testing.B) {
			c, err := open()
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			load.Measure(b, c, 1, s)
		})
	}
}
