package fallback

import (
	"context"

	"github.com/e0ff5a15/mollifier/run"
)

// Replay returns a trigger that does again what a run did, whatever became of
// it: with its payload, tags, metadata and context as they are now, to its
// queue, with its limits and on its machine. What belonged to the one call that
// made the run is not in it: the key, the request key, the place in a batch, the
// delay, debounce, parent, trace, and what version the caller was pinned to. What
// failed at its birth fails again. Errors are those of [Reader.Run].
func (r *Reader) Replay(ctx context.Context, environment string, id run.ID) (run.Trigger, error) {
	old, err := r.Run(ctx, environment, id)
	if err != nil {
		return run.Trigger{}, err
	}
	t := &old.Trigger
	return run.Trigger{
		Organisation: t.Organisation, Environment: t.Environment, Task: t.Task,
		Payload: t.Payload, PayloadType: t.PayloadType, PayloadSize: t.PayloadSize, Context: t.Context,
		Metadata: t.Metadata, MetadataType: t.MetadataType, Tags: t.Tags,
		TTL: t.TTL, TTLText: t.TTLText, Queue: t.Queue, ConcurrencyKey: t.ConcurrencyKey, Concurrency: t.Concurrency, Gates: t.Gates,
		Machine: t.Machine, MaxAttempts: t.MaxAttempts, MaxDuration: t.MaxDuration, Priority: t.Priority,
		Region: t.Region, Test: t.Test, Failed: t.Failed,
	}, nil
}
