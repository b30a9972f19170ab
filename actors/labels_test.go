package actors

import (
	"bytes"
	"context"
	"runtime/pprof"
	"strings"
	"testing"
)

// A batch that is under way can be told in a profile by its writer's name.
func TestWritersAreNamedInProfiles(t *testing.T) {
	t.Parallel()
	var profile bytes.Buffer
	w := newWriter("checks", limits{1, 1, 1}, func(*int) int { return 1 }, func([]int) {
		if err := pprof.Lookup("goroutine").WriteTo(&profile, 1); err != nil {
			t.Error(err)
		}
	})
	w.post(1)
	w.end()
	if !strings.Contains(profile.String(), `"writer":"checks"`) {
		t.Error("no goroutine has the label")
	}
}

func TestShardsAreNamedInProfiles(t *testing.T) {
	t.Parallel()
	if got, ok := pprof.Label(shardLabel(3), "shard"); !ok || got != "3" {
		t.Errorf("label %q", got)
	}
	if _, ok := pprof.Label(context.Background(), "shard"); ok {
		t.Error("a label out of nothing")
	}
}

// A writer keeps no item of a batch that is over, and loses none however many
// batches use its memory.
func TestWritersReuseTheirMemory(t *testing.T) {
	t.Parallel()
	const items = 1000
	seen := make(map[int]int)
	memories := map[**int][]*int{}
	w := newWriter("test", limits{7, 1 << 20, 1}, func(**int) int { return 1 }, func(batch []*int) {
		memories[&batch[0]] = batch[:cap(batch)]
		if len(batch) > 7 {
			t.Errorf("a batch of %d", len(batch))
		}
		for _, item := range batch {
			seen[*item]++
		}
	})
	for i := range items {
		w.post(&i)
		if i%100 == 0 {
			w.wait()
		}
	}
	w.end()
	for i := range items {
		if seen[i] != 1 {
			t.Fatalf("item %d was flushed %d times", i, seen[i])
		}
	}
	if len(memories) > 3 {
		t.Errorf("%d memories for one slot", len(memories))
	}
	memories[nil] = w.queue[:cap(w.queue)]
	for _, memory := range memories {
		for _, item := range memory {
			if item != nil {
				t.Fatalf("item %d is kept", *item)
			}
		}
	}
}
