package bench_test

import (
	"context"
	"testing"
	"time"

	"github.com/e0ff5a15/mollifier"
	"github.com/e0ff5a15/mollifier/bench"
	"github.com/e0ff5a15/mollifier/bench/internal/load"
	"github.com/e0ff5a15/mollifier/internal/devstack/stacktest"
	"github.com/e0ff5a15/mollifier/runstore/schema"
)

func TestMain(m *testing.M) { stacktest.Main(m, stacktest.NoLeaks()) }

// engine opens an engine that ends with the benchmark.
func engine(b *testing.B, s *load.Stores, w bench.Way) *mollifier.Engine {
	b.Helper()
	e, err := bench.Open(b.Context(), s, w)
	if err != nil {
		b.Fatal(err)
	}
	end(b, e)
	return e
}

func end(b *testing.B, e *mollifier.Engine) {
	b.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := e.Close(ctx); err != nil {
			b.Errorf("close: %v", err)
		}
	})
}

func memory(b *testing.B, shards int, held chan struct{}) *bench.Memory {
	b.Helper()
	m, err := bench.OpenMemory(shards, held)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := m.Stop(context.Background()); err != nil {
			b.Error(err)
		}
	})
	return m
}

// databaseOf makes a database with the tables of a node.
func databaseOf(b *testing.B, s *load.Stores) string {
	b.Helper()
	url, err := s.Database(b.Context())
	if err == nil {
		err = schema.Migrate(b.Context(), url)
	}
	if err != nil {
		b.Fatal(err)
	}
	return url
}
