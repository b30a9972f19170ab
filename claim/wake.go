package claim

import (
	"context"

	"github.com/e0ff5a15/mollifier/run"
)

// Wakes calls heard for each key whose claim ended while a waiter of some node
// had flagged it, until ctx ends; it then returns ctx's error. It connects
// again whenever the connection is lost.
//
// heard is called with the zero Hash each time the subscription has begun:
// announcements before that were missed, so every waiter should ask again.
// Announcements are hints: they may be late, repeated, lost, or about keys that
// nobody here waits for. heard is called from one goroutine and must not block,
// or the announcements that follow wait in the socket.
func (s *Store) Wakes(ctx context.Context, heard func(run.Hash)) error {
	return s.db.Subscribe(ctx, s.names.Wake(), func() { heard(run.Hash{}) }, func(message string) {
		if h, ok := run.ParseHash(message); ok {
			heard(h)
		}
	})
}
