package mollifier_test

import (
	"sync/atomic"
	"testing"

	mollifier "github.com/e0ff5a15/mollifier"
	"github.com/e0ff5a15/mollifier/run"
)

// An organisation is un-enrolled, and then the mollifier is switched off, while a
// run of it waits in the buffer: its key still answers that run, on every node
// and after a restart, and is drained without an alias.
func TestLeavingDoesNotLoseTheKeysInTheBuffer(t *testing.T) {
	t.Parallel()
	cfg := tripping(t)
	cfg.NoDrain = true
	var left atomic.Bool
	cfg.Enrolled = func(string) bool { return !left.Load() }
	a, b := open(t, cfg), open(t, cfg)
	trip(t, a)
	buffered := trigger(t, a, order("stays"))
	if buffered.State() != run.Buffered {
		t.Fatalf("%s", buffered.State())
	}
	left.Store(true)
	off := cfg
	off.Gate.Off = true
	c := open(t, off)
	for i, node := range []struct {
		name string
		*mollifier.Engine
	}{{"the same node", a}, {"another node", b}, {"a new node, switched off", c}} {
		if r := trigger(t, node.Engine, order("stays")); r.ID() != buffered.ID() || !r.Cached() {
			t.Errorf("%s: %s, cached %v; want %s", node.name, r.ID(), r.Cached(), buffered.ID())
		}
		if r := trigger(t, node.Engine, order("new "+string(rune('a'+i)))); r.State() != run.Materialised {
			t.Errorf("%s: a new run is %s", node.name, r.State())
		}
	}
	drains := off
	drains.NoDrain = false
	open(t, drains)
	drained(t, cfg)
	if n := count(t, cfg.Postgres, "select count(*) from runs where kind = 1"); n != 0 {
		t.Errorf("%d aliases", n)
	}
	disjoint(t, cfg.Postgres)
}
