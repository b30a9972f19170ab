package run

import "time"

// Instant is a moment on the clock of the stores, in microseconds since the
// Unix epoch. Instants of one key are compared only with each other: they come
// from Redis's TIME, or from Postgres's clock when Redis was not asked, and
// never from a node's clock. The zero Instant means "not known yet".
type Instant int64

// InstantOf converts a time.
func InstantOf(t time.Time) Instant { return Instant(t.UnixMicro()) }

// Time converts to UTC.
func (i Instant) Time() time.Time { return time.UnixMicro(int64(i)).UTC() }

// Add returns the instant d later, cut to microseconds.
func (i Instant) Add(d time.Duration) Instant { return i + Instant(d/time.Microsecond) }
