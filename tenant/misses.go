package tenant

import (
	"sync"
	"time"
)

const (
	missTTL   = 5 * time.Second
	maxMisses = 4096
)

// misses remembers which keys Postgres was asked for and did not have, so that
// a client that repeats a wrong key asks once in missTTL. It only spares work:
// a key that appears in the snapshot is known whatever this remembers. When it
// is full it starts over; what a flood may then cost is bounded by [checker].
type misses struct {
	mu    sync.Mutex // guards until; nothing slow happens under it
	until map[keyHash]time.Time
}

func (m *misses) add(h keyHash, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.until == nil || len(m.until) >= maxMisses {
		m.until = make(map[keyHash]time.Time)
	}
	m.until[h] = now.Add(missTTL)
}

func (m *misses) has(h keyHash, now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	until, ok := m.until[h]
	if ok && !now.Before(until) {
		delete(m.until, h)
		return false
	}
	return ok
}
