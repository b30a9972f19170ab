//go:build unix

package simulate_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/e0ff5a15/mollifier"
	"github.com/e0ff5a15/mollifier/mollifiertest"
	"github.com/e0ff5a15/mollifier/simulate"
)

// BenchmarkSizing measures what docs/sizing.md asks for: Redis's bytes for a buffered run
// besides its payload, and the rows a second that one node drains on its default
// connections. The servers are its own and sync as durable ones do.
func BenchmarkSizing(b *testing.B) {
	for range b.N {
		stores := mollifiertest.NewPrivate(b)
		filler := stores.Start(b, func(c *mollifier.Config) {
			c.Gate = mollifier.GateConfig{Window: time.Hour, Threshold: 1, Hold: time.Hour}
			c.NoDrain = true
		})
		const payload = 1024
		before := dataset(b, stores.Redis)
		in := storms(b, filler.Engine, simulate.Storm{Burst: 20_000, BurstOver: time.Second, Environments: 1, Payload: payload}, 256).mollified
		b.ReportMetric(float64(dataset(b, stores.Redis)-before)/float64(in)-payload, "redis-B/run")

		passed := stores.Count(b, "select count(*) from runs")
		began := time.Now()
		stores.Start(b)
		stores.RequireDrained(b)
		rows := stores.Count(b, "select count(*) from runs") - passed
		b.ReportMetric(float64(rows)/time.Since(began).Seconds(), "rows/s")
	}
}

// dataset is how many bytes a Redis holds, its own overhead left out.
func dataset(b *testing.B, url string) int {
	b.Helper()
	options, err := redis.ParseURL(url)
	if err != nil {
		b.Fatal(err)
	}
	db := redis.NewClient(options)
	defer db.Close()
	text, err := db.Info(b.Context(), "memory").Result()
	if err != nil {
		b.Fatal(err)
	}
	_, after, _ := strings.Cut(text, "used_memory_dataset:")
	line, _, _ := strings.Cut(after, "\r\n")
	n, err := strconv.Atoi(line)
	if err != nil {
		b.Fatal(err)
	}
	return n
}
