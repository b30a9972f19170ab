package bench_test

import (
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/e0ff5a15/mollifier/run"
)

// Everybody triggers one key: the first trigger makes its run, the rest are
// answered with it, each from a claim and a check that came after it.
func BenchmarkHotKey(b *testing.B) {
	e := newStores(b).engine(b)
	payload := body(512)
	for _, callers := range []int{1, 64, 256, 1000} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			key := fresh()
			measure(b, e, callers, func(int) run.Trigger { return trigger(key, payload) })
		})
	}
}

// Every trigger has a key of its own: a claim, a row and a publish each.
func BenchmarkDistinctKeys(b *testing.B) {
	e := newStores(b).engine(b)
	for _, size := range []int{512, 16 << 10} {
		payload := body(size)
		for _, callers := range []int{1, 64, 256} {
			b.Run(fmt.Sprintf("bytes=%d/callers=%d", size, callers), func(b *testing.B) {
				prefix := fresh()
				measure(b, e, callers, func(i int) run.Trigger { return trigger(fmt.Sprint(prefix, i), payload) })
			})
		}
	}
}

// No trigger has a key: a row each, and no call to Redis.
func BenchmarkNoKeys(b *testing.B) {
	e := newStores(b).engine(b)
	payload := body(512)
	for _, callers := range []int{1, 64, 256} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			measure(b, e, callers, func(int) run.Trigger { return trigger("", payload) })
		})
	}
}

// One caller, one trigger at a time, beside what its stores take for one durable
// write each: what the engine adds at low load. A fresh key costs a claim, a row
// and a publish, and is answered before the publish; a trigger without a key, a
// row.
func BenchmarkLoneTrigger(b *testing.B) {
	s := newStores(b)
	e := s.engine(b)
	payload := body(512)
	b.Run("key", func(b *testing.B) {
		prefix := fresh()
		measure(b, e, 1, func(i int) run.Trigger { return trigger(fmt.Sprint(prefix, i), payload) })
	})
	b.Run("nokey", func(b *testing.B) {
		measure(b, e, 1, func(int) run.Trigger { return trigger("", payload) })
	})
	b.Run("bare-redis-set", func(b *testing.B) { bareRedis(b, s.redis) })
	b.Run("bare-postgres-insert", func(b *testing.B) { barePostgres(b, s.postgres, payload) })
}

// bareRedis writes one short string at a time.
func bareRedis(b *testing.B, url string) {
	options, err := redis.ParseURL(url)
	if err != nil {
		b.Fatal(err)
	}
	options.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	client := redis.NewClient(options)
	defer func() { _ = client.Close() }()
	if err := client.Ping(b.Context()).Err(); err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	taken := closedLoop(b, 1, b.N, func(i int) error { return client.Set(b.Context(), "bare", i, 0).Err() })
	b.StopTimer()
	report(b, taken, "writes/s")
}

// barePostgres commits one row at a time.
func barePostgres(b *testing.B, url string, payload []byte) {
	conn, err := pgx.Connect(b.Context(), url)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = conn.Close(b.Context()) }()
	if _, err := conn.Exec(b.Context(), "create table if not exists bare (id bigserial primary key, payload bytea)"); err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	taken := closedLoop(b, 1, b.N, func(int) error {
		_, err := conn.Exec(b.Context(), "insert into bare (payload) values ($1)", payload)
		return err
	})
	b.StopTimer()
	report(b, taken, "writes/s")
}
