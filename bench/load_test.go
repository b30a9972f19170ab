package bench_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	mollifier "github.com/e0ff5a15/mollifier"
	"github.com/e0ff5a15/mollifier/internal/devstack/stacktest"
	"github.com/e0ff5a15/mollifier/run"
)

// stores are durable servers that one benchmark has to itself.
type stores struct{ redis, postgres string }

func newStores(b *testing.B) stores {
	b.Helper()
	return stores{stacktest.PrivateRedis(b).URL(), stacktest.PrivatePostgres(b).URL()}
}

// engine opens an engine with the defaults that a node has.
func (s stores) engine(b *testing.B) *mollifier.Engine {
	b.Helper()
	e, err := mollifier.New(b.Context(), mollifier.Config{Redis: s.redis, Postgres: s.postgres, Migrate: true})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := e.Close(ctx); err != nil {
			b.Errorf("close: %v", err)
		}
	})
	return e
}

// trigger makes a trigger; an empty key makes it one without.
func trigger(key string, payload []byte) run.Trigger {
	return run.Trigger{Organisation: "bench", Environment: "bench", Task: "bench", IdempotencyKey: key, Payload: payload}
}

// body is a payload of the given size that no store can compress to nothing.
func body(size int) []byte {
	text := make([]byte, 0, size+26)
	text = append(text, '"')
	for len(text) < size-1 {
		text = append(text, rand.Text()...)
	}
	return append(text[:size-1], '"')
}

// fresh is a prefix for keys that no round before has used.
func fresh() string { return rand.Text()[:12] + "-" }

// measure has callers send b.N triggers and reports what they met. The first
// round, which opens connections, is not counted.
func measure(b *testing.B, e *mollifier.Engine, callers int, next func(i int) run.Trigger) {
	b.Helper()
	warm := fresh()
	closedLoop(b, callers, 2*callers, func(i int) error {
		_, err := e.Trigger(b.Context(), trigger(fmt.Sprint(warm, i), nil))
		return err
	})
	before := e.Stats()
	b.ReportAllocs()
	b.ResetTimer()
	taken := closedLoop(b, callers, b.N, func(i int) error {
		_, err := e.Trigger(b.Context(), next(i))
		return err
	})
	b.StopTimer()
	after := e.Stats()
	report(b, taken, "triggers/s")
	b.ReportMetric(float64(after.RedisCalls-before.RedisCalls)/float64(b.N), "redis-calls/trigger")
	if calls := after.SettleCalls - before.SettleCalls; calls > 0 {
		b.ReportMetric(float64(after.Settles-before.Settles)/float64(calls), "rows/statement")
	}
	if open := after.FailOpen - before.FailOpen; open > 0 {
		b.Errorf("Redis did not decide %d claims: these are figures of an outage", open)
	}
}

// closedLoop has callers do n things, each its next when the last is done, and
// returns how long each took.
func closedLoop(b *testing.B, callers, n int, do func(i int) error) []time.Duration {
	b.Helper()
	var (
		taken = make([]time.Duration, n)
		count atomic.Int64
		fault atomic.Pointer[error]
		wait  sync.WaitGroup
	)
	for range min(callers, n) {
		wait.Go(func() {
			for fault.Load() == nil {
				i := int(count.Add(1)) - 1
				if i >= n {
					return
				}
				start := time.Now()
				if err := do(i); err != nil {
					fault.CompareAndSwap(nil, &err)
					return
				}
				taken[i] = time.Since(start)
			}
		})
	}
	wait.Wait()
	if err := fault.Load(); err != nil {
		b.Fatal(*err)
	}
	return taken
}

// report turns durations into figures.
func report(b *testing.B, taken []time.Duration, rate string) {
	b.Helper()
	slices.Sort(taken)
	quantile := func(q float64) float64 {
		at := min(len(taken)-1, int(q*float64(len(taken))))
		return float64(taken[at].Microseconds()) / 1000
	}
	b.ReportMetric(float64(len(taken))/b.Elapsed().Seconds(), rate)
	b.ReportMetric(quantile(0.50), "p50-ms")
	b.ReportMetric(quantile(0.99), "p99-ms")
}
