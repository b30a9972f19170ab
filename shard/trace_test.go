package shard

import (
	"bytes"
	"runtime/trace"
	"testing"
	"time"

	"github.com/e0ff5a15/mollifier/run"
)

// A flight is a task while somebody traces, and nothing else is kept of it.
func TestFlightsAreTasksOfATrace(t *testing.T) {
	table := NewTable[int](Config{
		ClaimTTL: time.Second, WaitBudget: time.Second, Poll: time.Second,
		NewToken: func() Token { return Token{} },
		NewID:    func(partition int) run.ID { return run.MintID(time.Now(), partition) },
	}, func(int) {})
	keyless := func() *flight[int] {
		s := run.NewSnapshot(run.ID{}, run.Key{}, run.Hash{}, run.Trigger{Environment: "prod", Task: "t"})
		table.Arrive(Caller[int]{Ticket: 1, Snapshot: &s})
		for _, f := range table.flights {
			return f
		}
		return nil
	}
	if f := keyless(); f == nil || f.tracing != nil {
		t.Fatal("traced, though nobody traces")
	} else {
		table.forget(f)
	}
	var out bytes.Buffer
	if err := trace.Start(&out); err != nil {
		t.Skip("somebody else traces:", err)
	}
	f := keyless()
	if f == nil || f.tracing == nil {
		t.Error("not traced")
	} else {
		table.forget(f)
	}
	trace.Stop()
	for _, name := range []string{"flight", "settling"} {
		if !bytes.Contains(out.Bytes(), []byte(name)) {
			t.Errorf("the trace has no %q", name)
		}
	}
	if table.Begun() != 2 {
		t.Errorf("%d flights", table.Begun())
	}
}
