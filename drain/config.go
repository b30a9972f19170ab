package drain

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/e0ff5a15/mollifier/run"
)

// Config says how a [Drainer] works. The zero value of an optional field means
// its default.
type Config struct {
	// Partitions of the deployment, 1 to run.MaxPartitions. Required.
	Partitions int
	// BatchSize is the most entries in one turn and one transaction, 1 to 500.
	// Default 200. Fewer are taken while Postgres is slow.
	BatchSize int
	// BatchBytes is about the most payload in one transaction, 64 KiB to 64 MiB.
	// Default 4 MiB. A larger entry travels alone.
	BatchBytes int
	// InFlight is the most batches under way at once, 1 to 64. Default 4. Fewer
	// are while Postgres is slow.
	InFlight int
	// Target is how long Postgres should take for a batch, 1 ms to 10 s.
	// Default 150 ms. Over it batches become smaller, and then fewer.
	Target time.Duration
	// Deadline of one transaction with its retries, 100 ms to 1 min. Default 5 s.
	Deadline time.Duration

	// Lease is how long an entry is lent without being renewed, 1 s to 10 min.
	// Default 30 s. It is what a crash delays an entry by.
	Lease time.Duration
	// Attempts is how often a row is tried that Postgres refuses, 1 to 100.
	// Default 3.
	Attempts int
	// Retry is the pause of an entry after its first refusal, 1 ms to 1 h;
	// it doubles with each. Default 1 s.
	Retry time.Duration
	// Hold is the pause of an entry whose failure could not be written either,
	// 1 ms to 1 h. Default 1 min.
	Hold time.Duration
	// PauseMin and PauseMax bound the pauses while a store is not available,
	// 1 ms to 1 min. Default 50 ms and 5 s.
	PauseMin, PauseMax time.Duration
	// IdleMin and IdleMax bound the pauses between looks at an empty buffer,
	// 1 ms to 1 min. Default 50 ms and 1 s.
	IdleMin, IdleMax time.Duration

	// ReapEvery is the pause between looks for expired leases, 10 ms to 1 min.
	// Default 2 s.
	ReapEvery time.Duration
	// ReapLimit is the most entries that one look returns, 1 to 100,000. Default
	// 1,000.
	ReapLimit int
	// SweepEvery is the pause between sweeps, 10 ms to 1 h. Default 10 s.
	SweepEvery time.Duration
	// StaleAfter is the dwell after which an entry is reported, 1 ms to 365 d.
	// Default 5 min.
	StaleAfter time.Duration
	// StaleLimit is the most entries that one sweep logs, and of each
	// environment and partition the most that it counts as stale, 1 to 1,000.
	// Default 100.
	StaleLimit int

	// Paused says, from memory, of which environments nothing new is leased. What is
	// under way is finished. Call [Drainer.Notify] when somebody is not paused any
	// more. Nil: none is.
	Paused func(environment string) bool

	// Logger is for trouble; nil discards.
	Logger *slog.Logger
	// Observer is told what the drain does. Nil: nobody is.
	Observer Observer
}

const maxBatch = 500

func (c Config) withDefaults() Config {
	def(&c.BatchSize, 200)
	def(&c.BatchBytes, 4<<20)
	def(&c.InFlight, 4)
	def(&c.Target, 150*time.Millisecond)
	def(&c.Deadline, 5*time.Second)
	def(&c.Lease, 30*time.Second)
	def(&c.Attempts, 3)
	def(&c.Retry, time.Second)
	def(&c.Hold, time.Minute)
	def(&c.PauseMin, 50*time.Millisecond)
	def(&c.PauseMax, 5*time.Second)
	def(&c.IdleMin, 50*time.Millisecond)
	def(&c.IdleMax, time.Second)
	def(&c.ReapEvery, 2*time.Second)
	def(&c.ReapLimit, 1000)
	def(&c.SweepEvery, 10*time.Second)
	def(&c.StaleAfter, 5*time.Minute)
	def(&c.StaleLimit, 100)
	if c.Paused == nil {
		c.Paused = func(string) bool { return false }
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

func def[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func (c Config) validate() error {
	const ms, year = time.Millisecond, 365 * 24 * time.Hour
	for _, n := range []struct {
		field         string
		is, low, high int
	}{
		{"Partitions", c.Partitions, 1, run.MaxPartitions},
		{"BatchSize", c.BatchSize, 1, maxBatch},
		{"BatchBytes", c.BatchBytes, 64 << 10, 64 << 20},
		{"InFlight", c.InFlight, 1, 64},
		{"Attempts", c.Attempts, 1, 100},
		{"ReapLimit", c.ReapLimit, 1, 100_000},
		{"StaleLimit", c.StaleLimit, 1, 1000},
	} {
		if n.is < n.low || n.is > n.high {
			return fmt.Errorf("drain: Config.%s must be %d to %d", n.field, n.low, n.high)
		}
	}
	for _, d := range []struct {
		field         string
		is, low, high time.Duration
	}{
		{"Target", c.Target, ms, 10 * time.Second},
		{"Deadline", c.Deadline, 100 * ms, time.Minute},
		{"Lease", c.Lease, time.Second, 10 * time.Minute},
		{"Retry", c.Retry, ms, time.Hour},
		{"Hold", c.Hold, ms, time.Hour},
		{"PauseMin", c.PauseMin, ms, time.Minute},
		{"PauseMax", c.PauseMax, c.PauseMin, time.Minute},
		{"IdleMin", c.IdleMin, ms, time.Minute},
		{"IdleMax", c.IdleMax, c.IdleMin, time.Minute},
		{"ReapEvery", c.ReapEvery, 10 * ms, time.Minute},
		{"SweepEvery", c.SweepEvery, 10 * ms, time.Hour},
		{"StaleAfter", c.StaleAfter, ms, year},
	} {
		if d.is < d.low || d.is > d.high {
			return fmt.Errorf("drain: Config.%s must be %s to %s", d.field, d.low, d.high)
		}
	}
	return nil
}
