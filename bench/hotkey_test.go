package bench_test

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/e0ff5a15/mollifier/bench"
	"github.com/e0ff5a15/mollifier/bench/internal/load"
)

// One key, on stores that answer at once from memory: what the shards cost.
func BenchmarkHotKeyInMemory(b *testing.B) {
	for _, callers := range []int{1, 64, 256, 1000} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			m := memory(b, 4*runtime.GOMAXPROCS(0), nil)
			load.Measure(b, m.Contestant("memory", bench.OneKey(load.Body(512))), callers, nil)
		})
	}
}

// One key on the real stores: the first trigger makes its run, the rest are
// answered with it, each from a claim and a check that came after it.
func BenchmarkHotKey(b *testing.B) {
	s := load.ForTest(b, load.FsyncAlways)
	e := engine(b, s, bench.PassThrough)
	for _, callers := range []int{1, 64, 256, 1000} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			load.Measure(b, bench.Contestant(e, "engine", bench.OneKey(load.Body(512))), callers, s)
		})
	}
}

// Bursts: all callers trigger one new key at once. The store calls for a burst are
// redis-calls and statements, times the callers.
func BenchmarkBurst(b *testing.B) {
	s := load.ForTest(b, load.FsyncAlways)
	e := engine(b, s, bench.PassThrough)
	for _, callers := range []int{64, 1000} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			load.Measure(b, bench.Bursts(e, "engine", callers, load.Body(512)), 1, s)
		})
	}
}
