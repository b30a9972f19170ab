package bench

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/e0ff5a15/mollifier"
	"github.com/e0ff5a15/mollifier/bench/internal/load"
	"github.com/e0ff5a15/mollifier/run"
)

// Way is what an engine does with what is triggered.
type Way int

// The ways.
const (
	PassThrough Way = iota // Redis claims, Postgres inserts: no rate trips the gate
	Mollified              // the buffer takes everything, and nobody drains it
	Off                    // the mollifier is switched off
	Node                   // as a node has it by default
)

var wayNames = [...]string{"pass through", "mollified", "switched off", "as a node"}

// String names the way for tables.
func (w Way) String() string { return wayNames[w] }

// Environment and Organisation are who triggers.
const (
	Environment  = "bench"
	Organisation = "bench"
)

// Config is an engine's, on a database and a prefix of its own. Everything that the
// way does not ask for is as a node has it by default.
func Config(ctx context.Context, s *load.Stores, w Way) (c mollifier.Config, err error) {
	c = mollifier.Config{
		Redis: s.Redis, Migrate: true, Prefix: load.Fresh() + "m",
		Buffer: mollifier.BufferConfig{MaxEntries: 1 << 30, MaxBytes: 1 << 40, TotalEntries: 1 << 30, TotalBytes: 1 << 40},
	}
	switch w {
	case PassThrough:
		c.Gate.Threshold, c.Gate.Window = 1_000_000, 2*time.Second
	case Mollified:
		c.Gate.Threshold, c.Gate.Hold, c.NoDrain = 1, time.Hour, true
	case Off:
		c.Gate.Off = true
	}
	c.Postgres, err = s.Database(ctx)
	return c, err
}

// Open opens an engine.
func Open(ctx context.Context, s *load.Stores, w Way) (*mollifier.Engine, error) {
	c, err := Config(ctx, s, w)
	if err != nil {
		return nil, err
	}
	e, err := mollifier.New(ctx, c)
	if err != nil || w != Mollified {
		return e, err
	}
	for range 4 { // trips the gate
		if _, err := e.Trigger(ctx, Trigger(load.Fresh(), nil)); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// Left waits until an engine that is switched off claims no keys any more: for a grace
// after its start it can not know that no other node still buffers.
func Left(ctx context.Context, e *mollifier.Engine) error {
	look := time.NewTicker(time.Second)
	defer look.Stop()
	for {
		before := e.Stats().Claims
		if _, err := e.Trigger(ctx, Trigger(load.Fresh(), nil)); err != nil || e.Stats().Claims == before {
			return err
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Trigger makes a trigger; an empty key makes it one without.
func Trigger(key string, payload []byte) run.Trigger {
	return run.Trigger{Organisation: Organisation, Environment: Environment, Task: "bench", IdempotencyKey: key, Payload: payload}
}

// Contestant is an engine that is sent what next makes.
func Contestant(e *mollifier.Engine, name string, next func(i int) run.Trigger) *load.Contestant {
	return &load.Contestant{
		Name: name,
		Do: func(ctx context.Context, i int) error {
			_, err := e.Trigger(ctx, next(i))
			return err
		},
		Counts: func() load.Counts { return counts(e) },
	}
}

func counts(e *mollifier.Engine) load.Counts {
	s := e.Stats()
	return load.Counts{
		load.RedisCalls: float64(s.RedisCalls + s.AcceptCalls),
		load.Statements: float64(s.SettleCalls + s.CheckCalls + s.LookCalls),
		load.Rows:       float64(s.Settles + s.Checks + s.Looks),
		"mollified":     float64(s.Mollified),
		"fail-open":     float64(s.FailOpen),
	}
}

// Distinct makes triggers that each have a key of their own.
func Distinct(payload []byte) func(i int) run.Trigger {
	prefix := load.Fresh()
	return func(i int) run.Trigger { return Trigger(prefix+strconv.Itoa(i), payload) }
}

// Keyless makes triggers without a key.
func Keyless(payload []byte) func(i int) run.Trigger {
	return func(int) run.Trigger { return Trigger("", payload) }
}

// OneKey makes triggers of one key.
func OneKey(payload []byte) func(i int) run.Trigger {
	key := load.Fresh()
	return func(int) run.Trigger { return Trigger(key, payload) }
}

// Bulk is an engine that is sent batches of size triggers.
func Bulk(e *mollifier.Engine, name string, size int, payload []byte) *load.Contestant {
	prefix := load.Fresh()
	return &load.Contestant{
		Name: name, Each: size, Counts: func() load.Counts { return counts(e) },
		Do: func(ctx context.Context, i int) error {
			triggers := make([]run.Trigger, size)
			for n := range triggers {
				triggers[n] = Trigger(fmt.Sprint(prefix, i, "-", n), payload)
			}
			results, err := e.TriggerBatch(ctx, fmt.Sprint("batch-", prefix, i), triggers)
			for n := range results {
				if err == nil {
					err = results[n].Err
				}
			}
			return err
		},
	}
}
