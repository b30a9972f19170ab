package fallback

import (
	"context"

	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/runstore"
	"github.com/e0ff5a15/mollifier/shard"
)

// Key reads the run that holds a key now, as [Reader.Run] answers it. Redis's
// record is read first: a run goes from there to Postgres. A run that is queued
// holds its key, for nothing can have happened to it; of any other Postgres
// knows whether it was reset, cleared or followed.
//
// Errors: run.ErrNotFound if nobody holds the key; run.ErrUnavailable if a store
// that may know its holder gave no answer.
func (r *Reader) Key(ctx context.Context, key run.Key) (run.Run, error) {
	if key.IsZero() || key.Environment == "" {
		return run.Run{}, run.ErrNotFound
	}
	hash := key.Hash()
	var (
		record Record
		hidden error
	)
	if r.Records != nil {
		if record, hidden = r.Records.Look(ctx, key.Environment, shard.Partition(key, r.Partitions), hash); hidden != nil {
			record, hidden = Record{}, unavailable(hidden)
		}
	}
	now := record.Now
	if now == 0 {
		now = run.InstantOf(r.Now()) // Redis's clock is not to be had; what follows is shown, and decides nothing
	}
	bound := !record.Run.IsZero() && now < record.Until
	if bound && record.Queued {
		return r.Run(ctx, key.Environment, record.Run)
	}
	states, err := r.Rows.Keys(ctx, []runstore.KeyRef{{Environment: key.Environment, Hash: hash}})
	if err != nil {
		if bound {
			return r.held(ctx, key, record.Run)
		}
		return run.Run{}, err
	}
	slot := states[0]
	switch {
	case slot.Found && slot.Live && now < slot.Until:
		return r.held(ctx, key, slot.ID)
	case bound && record.Run != slot.ID && record.AcceptedAt >= slot.AcceptedAt:
		// It follows whom Postgres knows, or Postgres knows nobody.
		return r.held(ctx, key, record.Run)
	case hidden != nil:
		return run.Run{}, hidden
	}
	return run.Run{}, run.ErrNotFound
}

// held reads a run that held the key when it was looked up, and has not lost it
// by how it ended since.
func (r *Reader) held(ctx context.Context, key run.Key, id run.ID) (run.Run, error) {
	found, err := r.Run(ctx, key.Environment, id)
	if err != nil {
		return run.Run{}, err
	}
	if key.Kind == run.KindIdempotency && found.Status.ClearsKey() {
		return run.Run{}, run.ErrNotFound
	}
	return found, nil
}
