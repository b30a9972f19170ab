package load

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Open sends triggers whether or not the ones before were answered, as the world does.
type Open struct {
	URL, Key string // of the node's API, and of the environment
	Task     string
	PerSec   float64
	// Waiting is how many may be on their way at once; what comes on top is not sent.
	Waiting int64
	HTTP    *http.Client
}

// Seen is what came of triggers.
type Seen struct {
	Offered, NotSent int64
	Accepted         int64
	Refused          int64 // 503 or 429, with a Retry-After
	Failed           int64 // anything else, and no answer at all
	Took             time.Duration

	accepted, refused []time.Duration
}

// Goodput is what was accepted in a second.
func (s *Seen) Goodput() float64 { return float64(s.Accepted) / s.Took.Seconds() }

// AcceptedIn is how long that share of the accepted ones took at most.
func (s *Seen) AcceptedIn(share float64) time.Duration { return of(s.accepted, share) }

// RefusedIn is the same for the refused ones.
func (s *Seen) RefusedIn(share float64) time.Duration { return of(s.refused, share) }

func of(all []time.Duration, share float64) time.Duration {
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[int(share*float64(len(all)-1))]
}

// tally collects answers.
type tally struct {
	mu sync.Mutex
	Seen
}

func (t *tally) add(status int, took time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch status {
	case http.StatusOK:
		t.Accepted++
		t.accepted = append(t.accepted, took)
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		t.Refused++
		t.refused = append(t.refused, took)
	default:
		t.Failed++
	}
}

var openKeys atomic.Int64

// one sends one trigger with a key of its own.
func (o *Open) one(ctx context.Context, t *tally) {
	body := fmt.Appendf(nil, `{"payload":{"n":1},"options":{"idempotencyKey":"o%d-%d"}}`, time.Now().UnixNano(), openKeys.Add(1))
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, o.URL+"/api/v1/tasks/"+o.Task+"/trigger", bytes.NewReader(body))
	if err != nil {
		panic(err) // addresses come from stack.json
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+o.Key)
	began := time.Now()
	answer, err := o.HTTP.Do(req)
	if err != nil {
		t.add(0, 0)
		return
	}
	_, _ = io.Copy(io.Discard, answer.Body) // what was read counts
	_ = answer.Body.Close()
	t.add(answer.StatusCode, time.Since(began))
}

// Run sends for so long, waits for the answers, and says what they were.
func (o *Open) Run(ctx context.Context, length time.Duration) Seen {
	var (
		t       tally
		wait    sync.WaitGroup
		waiting atomic.Int64
		began   = time.Now()
		tick    = time.NewTicker(2 * time.Millisecond)
	)
	defer tick.Stop()
	for ctx.Err() == nil && time.Since(began) < length {
		<-tick.C
		for due := int64(time.Since(began).Seconds() * o.PerSec); t.Offered < due; t.Offered++ {
			if waiting.Load() >= o.Waiting {
				t.NotSent++
				continue
			}
			waiting.Add(1)
			wait.Go(func() {
				defer waiting.Add(-1)
				o.one(ctx, &t)
			})
		}
	}
	t.Took = time.Since(began)
	wait.Wait()
	return t.Seen
}

// Closed sends one after the other from so many clients, and says what came of it.
func (o *Open) Closed(ctx context.Context, clients int, length time.Duration) Seen {
	var (
		t     tally
		wait  sync.WaitGroup
		began = time.Now()
	)
	for range clients {
		wait.Go(func() {
			for ctx.Err() == nil && time.Since(began) < length {
				o.one(ctx, &t)
			}
		})
	}
	wait.Wait()
	t.Took = time.Since(began)
	t.Offered = t.Accepted + t.Refused + t.Failed
	return t.Seen
}
