package shard

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/e0ff5a15/mollifier/run"
)

// TestBurstCost: whoever comes before the settle is posted shares three calls.
func TestBurstCost(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 40).Draw(t, "callers")
		before := rapid.IntRange(1, n).Draw(t, "before the claim lands")
		w := &world{
			T: t, stores: newStores(claimTTL),
			owners: map[*run.Snapshot]*client{}, settled: map[run.ID]bool{}, flightOf: map[Token][2]uint64{},
			fresh: map[run.ID][]*client{}, told: map[run.ID]bool{}, posted: map[sentKey]*sent{}, wakesTo: make([][]run.Hash, 1),
		}
		w.gate = randomGate{w: w, counted: map[*run.Snapshot]int{}, mollify: rapid.Bool().Draw(t, "mollify")}
		w.nodes = []*Table[int]{NewTable[int](Config{
			ClaimTTL: claimTTL, WaitBudget: waitBudget, Poll: poll, Gate: &w.gate, NewToken: w.token, NewID: w.id,
			Durability: func() run.Durability { return run.DurableRedis },
		}, func(int) {})}
		for i := range n {
			if i == before {
				w.execute(w.wire[0])
			}
			trigger := run.Trigger{Environment: "env", Task: "task", IdempotencyKey: "key"}
			s := run.NewSnapshot(run.ID{}, trigger.Key(), trigger.Key().Hash(), trigger)
			c := &client{key: 1, arrived: w.step, Caller: Caller[int]{Ticket: i, Snapshot: &s, Claims: true, Arrived: w.now.Time()}}
			w.clients = append(w.clients, c)
			w.owners[&s] = c
			w.nodes[0].Arrive(c.Caller)
			w.take(0, nil)
		}
		w.drain()
		if w.calls > 3 || len(w.byID) != 1 {
			t.Fatalf("%d callers took %d calls and made %d runs", n, w.calls, len(w.byID))
		}
		for id, told := range w.fresh {
			if len(told) != 1 {
				t.Fatalf("%d callers were told that %s is new", len(told), id)
			}
		}
	})
}
