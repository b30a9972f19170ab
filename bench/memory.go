package bench

import (
	"context"
	"log/slog"
	"time"

	"github.com/e0ff5a15/mollifier/actors"
	"github.com/e0ff5a15/mollifier/bench/internal/load"
	"github.com/e0ff5a15/mollifier/buffer"
	"github.com/e0ff5a15/mollifier/claim"
	"github.com/e0ff5a15/mollifier/gate"
	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/runstore"
)

// Memory is shards on stores that answer at once from memory: what is left is
// what the engine itself costs. Every key has a holder already, so each flight is a
// claim that meets it and a check that it still holds.
type Memory struct {
	*actors.Shards
	holder run.ID
	held   chan struct{} // while not nil and open, no store answers
}

// OpenMemory starts shards. If held is not nil, the stores answer nobody until it is closed.
func OpenMemory(shards int, held chan struct{}) (*Memory, error) {
	m := &Memory{holder: run.MintID(time.Now(), 0), held: held}
	var err error
	m.Shards, err = actors.Start(actors.Config{
		Partitions: 64, Shards: shards, ClaimTTL: 10 * time.Second, WaitBudget: time.Minute,
		RedisDeadline: time.Hour, SettleDeadline: time.Hour, SettleSlots: 2,
		MaxCallers: 1 << 30, MaxBytes: 1 << 50, Logger: slog.New(slog.DiscardHandler),
		Durability: func() run.Durability { return run.DurableRedis },
		Diverts:    func(string) bool { return false },
		Admit:      func(string, int) error { return nil }, Accepted: func() {},
	}, actors.Stores{Claims: m, Runs: memoryRuns{m}, Buffer: memoryBuffer{}, Gate: open{}, Clock: m})
	return m, err
}

// Contestant triggers the memory with what next makes.
func (m *Memory) Contestant(name string, next func(i int) run.Trigger) *load.Contestant {
	return &load.Contestant{Name: name, Do: func(ctx context.Context, i int) error {
		return m.Trigger(ctx, next(i))
	}}
}

// Trigger does what [mollifier.Engine.Trigger] does with a trigger.
func (m *Memory) Trigger(ctx context.Context, t run.Trigger) error {
	if err := t.Validate(); err != nil {
		return err
	}
	_, err := m.Shards.Trigger(ctx, &t, true, func() run.Snapshot {
		key := t.Key()
		return run.NewSnapshot(run.ID{}, key, key.Hash(), t)
	})
	return err
}

// Do is the claim store: every key is resolved.
func (m *Memory) Do(_ context.Context, ops []claim.Op) []claim.Reply {
	if m.held != nil {
		<-m.held
	}
	out := make([]claim.Reply, len(ops))
	for i := range out {
		out[i] = claim.Reply{State: claim.Resolved, Run: m.holder, AcceptedAt: 1, Until: 2}
	}
	return out
}

// LastTime is a clock that nothing was heard of.
func (m *Memory) LastTime() (run.Instant, time.Time, string) { return 0, time.Time{}, "" }

type memoryRuns struct{ *Memory }

func (memoryRuns) Settle(context.Context, []runstore.Settlement) []runstore.Settled {
	panic("every key has a holder")
}

func (m memoryRuns) Check(_ context.Context, checks []runstore.Check) []runstore.Checked {
	out := make([]runstore.Checked, len(checks))
	for i := range out {
		out[i] = runstore.Checked{Found: true, Holds: true, Holder: runstore.Holder{ID: m.holder, Canonical: m.holder}}
	}
	return out
}

func (memoryRuns) Keys(context.Context, []runstore.KeyRef) ([]runstore.KeyState, error) {
	panic("nothing is mollified")
}

func (memoryBuffer) Landed(context.Context, []buffer.Ref) []error {
	panic("nothing is mollified")
}

func (memoryRuns) Available() bool { return true }

type memoryBuffer struct{}

func (memoryBuffer) Accept(context.Context, []buffer.Acceptance) []buffer.Accepted {
	panic("nothing is mollified")
}

// open is a gate that lets everything pass.
type open struct{}

func (open) Route(*run.Snapshot, time.Time) (d gate.Decision)  { return d }
func (open) Decide(*run.Snapshot, time.Time) (d gate.Decision) { return d }
func (open) Mollified(*run.Snapshot, time.Time) gate.Decision  { return gate.Decision{} }
