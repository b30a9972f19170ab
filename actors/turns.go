package actors

import (
	"context"
	"runtime/pprof"
	"sync"

	"github.com/asynkron/protoactor-go/actor"
)

// turns runs one shard's messages on a goroutine that lives as long as the shard: a
// new one for each time the mailbox fills would grow its stack each time.
//
// Proto.Actor schedules a mailbox when it goes from idle to busy, so the next turn
// may come while the last one is just returning, and a third only after the second
// has begun: with room for one, Schedule never waits.
type turns struct {
	label context.Context // the shard's, in profiles
	next  chan func()
	over  chan struct{}
	ended sync.WaitGroup
}

var _ actor.Dispatcher = (*turns)(nil)

func newTurns(label context.Context) *turns {
	t := &turns{label: label, next: make(chan func(), 1), over: make(chan struct{})}
	t.ended.Go(t.run)
	return t
}

func (t *turns) run() {
	pprof.SetGoroutineLabels(t.label)
	for {
		select {
		case turn := <-t.next:
			turn()
		case <-t.over:
			return
		}
	}
}

// Schedule has a turn taken, unless the shard is over.
func (t *turns) Schedule(turn func()) {
	select {
	case t.next <- turn:
	case <-t.over:
	}
}

// Throughput is how many messages pass before others may run.
func (t *turns) Throughput() int { return 300 }

// end waits for the turn that is being taken. No message may be sent afterwards.
func (t *turns) end() {
	close(t.over)
	t.ended.Wait()
}
