package demo

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	mrand "math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

const (
	// persistence is how long one trigger is repeated while it is refused.
	persistence = 30 * time.Second
	// maxPause bounds the wait between two tries of one trigger.
	maxPause = time.Second
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
	transport := &http.Transport{
		MaxConnsPerHost: s.connections, MaxIdleConnsPerHost: s.connections,
		DisableCompression: true,
	}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}

	s.acks = make([]ack, len(s.keys))
	s.latency = newLatency()
	var (
		next   atomic.Int64
		wait   sync.WaitGroup
		merge  sync.Mutex
		target = s.url + "/api/v1/tasks/" + url.PathEscape(s.task) + "/trigger"
	)
	start := time.Now()
	for range s.connections {
		wait.Go(func() {
			own := newLatency()
			for i := next.Add(1) - 1; i < int64(len(s.keys)); i = next.Add(1) - 1 {
				began := time.Now()
				s.acks[i] = s.persist(ctx, client, target, int(i))
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

// persist sends one trigger until it is acknowledged. Every try carries the same
// request key, so that a try whose answer was lost is not counted twice by the
// node.
func (s *storm) persist(ctx context.Context, client *http.Client, target string, i int) ack {
	body, err := json.Marshal(request{
		Payload: map[string]int{"n": i},
		Options: options{IdempotencyKey: s.keys[i]},
	})
	if err != nil {
		return ack{err: err}
	}
	requestKey, giveUp := rand.Text(), time.Now().Add(persistence)
	for {
		a, pause := try(ctx, client, target, s.key, requestKey, body)
		if a.err == nil || pause < 0 || ctx.Err() != nil || time.Now().After(giveUp) {
			return a
		}
		s.retries.Add(1)
		select {
		case <-ctx.Done():
			return a
		case <-time.After(pause):
		}
	}
}

type request struct {
	Payload any     `json:"payload"`
	Options options `json:"options"`
}

type options struct {
	IdempotencyKey string `json:"idempotencyKey,omitempty"`
}

// try sends a trigger once. A negative pause means that another try is useless.
func try(ctx context.Context, client *http.Client, target, key, requestKey string, body []byte) (a ack, pause time.Duration) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader(body))
	if err != nil {
		return ack{err: err}, -1
	}
	req.Header.Set("Authorization", "Bearer "+key)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Trigger-Request-Idempotency-Key", requestKey)
	resp, err := client.Do(req)
	if err != nil { // the trigger may have taken effect
		return ack{err: err}, 50 * time.Millisecond
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	switch {
	case err != nil:
		return ack{err: err}, 50 * time.Millisecond
	case resp.StatusCode == http.StatusServiceUnavailable, resp.StatusCode == http.StatusTooManyRequests:
		return ack{err: fmt.Errorf("status %d", resp.StatusCode)}, retryAfter(resp.Header)
	case resp.StatusCode != http.StatusOK:
		return ack{err: fmt.Errorf("status %d: %.200s", resp.StatusCode, text)}, -1
	}
	var answer struct {
		ID       string `json:"id"`
		IsCached bool   `json:"isCached"`
		State    string `json:"state"`
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return ack{err: err}, -1
	}
	if answer.ID == "" {
		return ack{err: errors.New("acknowledged without a run id")}, -1
	}
	return ack{id: answer.ID, cached: answer.IsCached, queued: answer.State == "buffered", at: time.Now()}, 0
}

// retryAfter is what the node asks for, within bounds, and spread so that refused
// callers do not come back as one burst.
func retryAfter(h http.Header) time.Duration {
	pause := 100 * time.Millisecond
	if seconds, err := strconv.Atoi(h.Get("Retry-After")); err == nil && seconds > 0 {
		pause = min(time.Duration(seconds)*time.Second, maxPause)
	}
	return pause/2 + mrand.N(pause/2+1)
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
