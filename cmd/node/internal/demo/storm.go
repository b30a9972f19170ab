package demo

import (
	"context"
	"fmt"
	mrand "math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/e0ff5a15/mollifier/client"
)

const (
	// persistence is how long one trigger is repeated while it is refused.
	persistence = 30 * time.Second
	// maxLatency is the longest latency that is told apart.
	maxLatency = 2 * persistence
)

// ack is what one trigger's caller has in hand at the end.
type ack struct {
	id     string // empty: never acknowledged
	cached bool
	queued bool      // it was in the buffer when it was acknowledged
	at     time.Time // when it was
	err    error     // why not
}

// storm is one wave of triggers of one task.
type storm struct {
	url, key    string // the node's base URL and the environment's API key
	task        string
	keys        []string // one idempotency key for each trigger; empty for none
	connections int
	onAck       func(ack) // called by many goroutines; nil for none

	acks    []ack
	retries atomic.Int64
	done    atomic.Int64            // acknowledged
	latency *hdrhistogram.Histogram // microseconds from first try to acknowledgement
	took    time.Duration
}

// run sends the storm and returns when every trigger was acknowledged or given up.
func (s *storm) run(ctx context.Context) {
	s.acks = make([]ack, len(s.keys))
	s.latency = newLatency()
	caller, err := s.client(s.connections)
	if err != nil {
		for i := range s.acks {
			s.acks[i].err = err
		}
		return
	}
	defer caller.Close()
	var (
		next  atomic.Int64
		wait  sync.WaitGroup
		merge sync.Mutex
	)
	start := time.Now()
	for range s.connections {
		wait.Go(func() {
			own := newLatency()
			for i := next.Add(1) - 1; i < int64(len(s.keys)); i = next.Add(1) - 1 {
				began := time.Now()
				s.acks[i] = s.send(ctx, caller, int(i))
				if s.acks[i].err == nil {
					// An impossible latency can only be one that is too long.
					_ = own.RecordValue(min(time.Since(began), maxLatency).Microseconds())
					s.done.Add(1)
					if s.onAck != nil {
						s.onAck(s.acks[i])
					}
				}
			}
			merge.Lock()
			defer merge.Unlock()
			s.latency.Merge(own)
		})
	}
	wait.Wait()
	s.took = time.Since(start)
}

func newLatency() *hdrhistogram.Histogram {
	return hdrhistogram.New(1, maxLatency.Microseconds(), 3)
}

// client is the caller of the storm's environment. onRetry is told of each try that
// is repeated.
func (s *storm) client(connections int) (*client.Client, error) {
	return client.New(client.Config{
		URL: s.url, Key: s.key, Connections: connections, Patience: persistence,
		OnRetry: func(error) { s.retries.Add(1) },
	})
}

// send sends one trigger, until it is acknowledged or given up.
func (s *storm) send(ctx context.Context, c *client.Client, i int) ack {
	h, err := c.Trigger(ctx, client.Trigger{
		Task: s.task, Payload: fmt.Appendf(nil, `{"n":%d}`, i),
		Options: client.Options{IdempotencyKey: s.keys[i]},
	})
	if err != nil {
		return ack{err: err}
	}
	return ack{id: h.ID, cached: h.IsCached, queued: h.State == "buffered", at: time.Now()}
}

// keyOrder gives every one of n triggers its key. The first half of each key's
// triggers come as a burst of that key alone, where most of them meet while the
// run is being made; the second half come in random order, when it is there.
func keyOrder(n, keys int) []string {
	order := make([]string, n)
	half := n / 2
	for i := range n {
		if i < half && half >= keys {
			order[i] = keyName(i * keys / half)
		} else {
			order[i] = keyName(i % keys)
		}
	}
	late := order[half:]
	mrand.Shuffle(len(late), func(i, j int) { late[i], late[j] = late[j], late[i] })
	return order
}

func keyName(i int) string { return "order-" + strconv.Itoa(i) }
