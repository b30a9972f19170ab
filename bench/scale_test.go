package bench_test

import (
	"context"
	"fmt"
	"runtime"
	"strconv"
	"sync"
	"testing"

	"github.com/e0ff5a15/mollifier"
	"github.com/e0ff5a15/mollifier/bench"
	"github.com/e0ff5a15/mollifier/bench/internal/load"
	"github.com/e0ff5a15/mollifier/run"
)

// Triggers of distinct keys against the number of shards, in memory.
func BenchmarkShards(b *testing.B) {
	for _, shards := range []int{1, 4, 16, 64} {
		b.Run(fmt.Sprintf("shards=%d", shards), func(b *testing.B) {
			m := memory(b, shards, nil)
			load.Measure(b, m.Contestant("memory", bench.Distinct(load.Body(512))), 256, nil)
		})
	}
}

// Mollified triggers against the number of environments that storm.
func BenchmarkEnvironments(b *testing.B) {
	s := load.ForTest(b, load.FsyncAlways)
	e := engine(b, s, bench.Mollified)
	for _, environments := range []int{1, 100, 10_000, 100_000} {
		b.Run(fmt.Sprintf("environments=%d", environments), func(b *testing.B) {
			next, prefix := bench.Distinct(load.Body(512)), load.Fresh()
			load.Measure(b, bench.Contestant(e, "environments", func(i int) run.Trigger {
				t := next(i)
				t.Environment = prefix + strconv.Itoa(i%environments)
				return t
			}), 256, s)
		})
	}
}

// Mollified triggers of one deployment against the number of its nodes. They share
// this process's two hands: what is shown is what nodes cost, not what they add.
func BenchmarkNodes(b *testing.B) {
	s := load.ForTest(b, load.FsyncAlways)
	for _, nodes := range []int{1, 2, 4} {
		b.Run(fmt.Sprintf("nodes=%d", nodes), func(b *testing.B) {
			config, err := bench.Config(b.Context(), s, bench.PassThrough)
			if err != nil {
				b.Fatal(err)
			}
			var engines []*mollifier.Engine
			for range nodes {
				e, err := mollifier.New(b.Context(), config)
				if err != nil {
					b.Fatal(err)
				}
				end(b, e)
				engines = append(engines, e)
			}
			next := bench.Distinct(load.Body(512))
			load.Measure(b, &load.Contestant{Name: "nodes", Do: func(ctx context.Context, i int) error {
				_, err := engines[i%nodes].Trigger(ctx, next(i))
				return err
			}}, 256, s)
		})
	}
}

// What a key in flight takes of memory, beyond its payload: the callers wait in
// stores that do not answer. A goroutine waits for each; its stack is told apart.
func BenchmarkMemory(b *testing.B) {
	most := 1_000_000
	if testing.Short() {
		most = 1000
	}
	for keys := 1000; keys <= most; keys *= 10 {
		b.Run(fmt.Sprintf("keys=%d", keys), func(b *testing.B) {
			for b.Loop() {
				held, stacks := bytesPerKey(b, keys)
				b.ReportMetric(held, "B/key")
				b.ReportMetric(stacks, "stack-B/key")
			}
		})
	}
}

func bytesPerKey(b *testing.B, keys int) (held, stacks float64) {
	b.Helper()
	closed := make(chan struct{})
	m := memory(b, 8, closed)
	payload, next := load.Body(512), bench.Distinct(load.Body(512))
	heapBefore, stacksBefore := inUse()
	var wait sync.WaitGroup
	for i := range keys {
		wait.Go(func() {
			t := next(i)
			t.Payload = payload // shared, and so not counted
			_ = m.Trigger(b.Context(), t)
		})
	}
	for m.Stats().Claims < uint64(keys) {
		runtime.Gosched()
	}
	heap, inStacks := inUse()
	close(closed)
	wait.Wait()
	return (heap - heapBefore) / float64(keys), (inStacks - stacksBefore) / float64(keys)
}

func inUse() (heap, stacks float64) {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc), float64(m.StackInuse)
}
