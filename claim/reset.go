package claim

import (
	"context"
	"fmt"

	"github.com/e0ff5a15/mollifier/redisdb"
	"github.com/e0ff5a15/mollifier/run"
)

// Clock returns an instant that lies after everything that was accepted for
// the key until now, and not before Redis's TIME: the first proposal for the
// cut of a reset. It writes nothing. Errors are those of [Reply.Err].
func (s *Store) Clock(ctx context.Context, partition int, hash run.Hash) (run.Instant, error) {
	answer, err := s.one(ctx, clockScript, partition, hash)
	if err != nil {
		return 0, err
	}
	if len(answer) > 1 && answer[0] == 'i' {
		if at, ok := redisdb.ParseInstant(answer[1:]); ok {
			return at, nil
		}
	}
	return 0, errUnreadable
}

// Cleared is the run that a record named when a reset ended it.
type Cleared struct {
	Run run.ID // zero: none that could have held the key until now
	// Published: the run has its row, and Postgres knows whether the reset ended
	// its interval or something before it had. Else it is buffered, and held the
	// key until now.
	Published bool
}

// Reset ends what was accepted for the key before cut: a resolved record, a
// binding or a pending claim gives way to the floor cut, and waiters of the
// claim are announced. What was accepted at cut or later stays; a claim that
// stays is marked, so that its owner can not publish a run that it merely found.
//
// A buffered run that was accepted before cut remains what it is, but in its
// entry, too, the interval of its key now ends at cut. The run that the record
// named is returned if its interval was not over by then. A repeated Reset
// changes nothing more and returns none. Errors are those of [Reply.Err].
func (s *Store) Reset(ctx context.Context, partition int, hash run.Hash, cut run.Instant) (Cleared, error) {
	if cut <= 0 || cut > redisdb.MaxInstant {
		return Cleared{}, fmt.Errorf("claim: reset with cut %d outside (0, %d]", cut, redisdb.MaxInstant)
	}
	answer, err := s.one(ctx, resetScript, partition, hash, int64(cut), life.Milliseconds(), s.names.Wake())
	if err != nil || answer == "d" {
		return Cleared{}, err
	}
	if kind := answer[:min(1, len(answer))]; kind == "d" || kind == "m" {
		if id, err := run.ParseID(answer[1:]); err == nil {
			return Cleared{Run: id, Published: kind == "m"}, nil
		}
	}
	return Cleared{}, errUnreadable
}

// one calls a script on one key.
func (s *Store) one(ctx context.Context, sc *redisdb.Script, partition int, hash run.Hash, args ...any) (string, error) {
	if partition < 0 || partition >= s.db.Partitions() {
		return "", fmt.Errorf("claim: partition %d outside [0, %d)", partition, s.db.Partitions())
	}
	result := s.db.Run(ctx, []redisdb.Call{{Script: sc, Keys: []string{s.names.Record(partition, hash)}, Args: args}})[0]
	if result.Err != nil {
		return "", result.Err
	}
	if answer, ok := result.Strings(1); ok {
		return answer[0], nil
	}
	return "", redisdb.Unreadable()
}
