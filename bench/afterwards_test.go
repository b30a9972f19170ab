package bench_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/e0ff5a15/mollifier/bench"
	"github.com/e0ff5a15/mollifier/bench/internal/load"
	"github.com/e0ff5a15/mollifier/httpapi"
	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/tenant"
)

// Buffered entries to Postgres, all of them in each operation.
func BenchmarkDrain(b *testing.B) {
	entries := 100_000
	if testing.Short() {
		entries = 2000
	}
	s := load.ForTest(b, load.FsyncAlways)
	c, err := bench.Drain(b.Context(), s, entries, load.Body(512))
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	for b.Loop() {
		sample, err := load.Run(b.Context(), c, 1, load.Limit{Operations: 1}, s)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(sample.Rate(), "entries/s")
	}
}

// Reads by id of runs in the buffer, and of runs in Postgres.
func BenchmarkRead(b *testing.B) {
	s := load.ForTest(b, load.FsyncAlways)
	for _, w := range []bench.Way{bench.Mollified, bench.PassThrough} {
		e := engine(b, s, w)
		ids := make([]run.ID, 256)
		for i := range ids {
			r, err := e.Trigger(b.Context(), bench.Trigger(load.Fresh(), load.Body(512)))
			if err != nil {
				b.Fatal(err)
			}
			ids[i] = r.ID()
		}
		c := &load.Contestant{Name: "read", Do: func(ctx context.Context, i int) error {
			_, err := e.Run(ctx, bench.Environment, ids[i%len(ids)])
			return err
		}}
		for _, callers := range []int{1, 64} {
			b.Run(fmt.Sprintf("%s/callers=%d", map[bench.Way]string{bench.Mollified: "buffered", bench.PassThrough: "materialised"}[w], callers),
				func(b *testing.B) { load.Measure(b, c, callers, s) })
		}
	}
}

// Triggers through the node's HTTP handler, on loopback.
func BenchmarkHTTP(b *testing.B) {
	s := load.ForTest(b, load.FsyncAlways)
	for _, w := range []bench.Way{bench.PassThrough, bench.Mollified} {
		e := engine(b, s, w)
		secret, err := tenant.LoadOrCreateSecret(filepath.Join(b.TempDir(), "secret"))
		if err != nil {
			b.Fatal(err)
		}
		config := tenant.Config{URL: databaseOf(b, s), SecretKey: secret}
		admin, err := tenant.NewAdmin(config)
		if err != nil {
			b.Fatal(err)
		}
		seeded, err := admin.Seed(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		tenants, err := tenant.Open(b.Context(), config)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(tenants.Close)
		address := serve(b, httpapi.New(httpapi.Config{Engine: e, Tenants: tenants}))
		client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 256}}
		b.Cleanup(client.CloseIdleConnections)
		prefix, payload := load.Fresh(), load.Body(512)
		c := &load.Contestant{Name: "http", Do: func(ctx context.Context, i int) error {
			body := `{"payload":` + string(payload) + `,"options":{"idempotencyKey":"` + prefix + strconv.Itoa(i) + `"}}`
			r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+address+"/api/v1/tasks/bench/trigger", bytes.NewReader([]byte(body)))
			if err != nil {
				return err
			}
			r.Header.Set("Authorization", "Bearer "+seeded[1].Key.Reveal())
			r.Header.Set("Content-Type", "application/json")
			answer, err := client.Do(r)
			if err != nil {
				return err
			}
			_, _ = io.Copy(io.Discard, answer.Body)
			_ = answer.Body.Close()
			if answer.StatusCode != http.StatusOK {
				return fmt.Errorf("status %s", answer.Status)
			}
			return nil
		}}
		for _, callers := range []int{1, 64, 256} {
			b.Run(fmt.Sprintf("%s/callers=%d", map[bench.Way]string{bench.Mollified: "mollified", bench.PassThrough: "pass"}[w], callers),
				func(b *testing.B) { load.Measure(b, c, callers, s) })
		}
	}
}

func serve(b *testing.B, h http.Handler) string {
	b.Helper()
	l, err := (&net.ListenConfig{}).Listen(b.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l)
	}()
	b.Cleanup(func() {
		_ = server.Close()
		<-done
	})
	return l.Addr().String()
}
