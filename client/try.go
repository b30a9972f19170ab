package client

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
	"strconv"
	"time"
)

const (
	firstPause = 100 * time.Millisecond // doubled with each try
	maxPause   = 2 * time.Second        // unless the node asks for more
	maxAnswer  = 64 << 20               // bytes of one answer
)

// call is one call of the API, with all its tries.
type call struct {
	method, path string
	header       http.Header // besides those of every call
	body         any         // nil for none
	into         any         // receives the answer; nil for nobody
	// lines is the body instead, as it is streamed: anew for each try.
	lines func() io.Reader
	// whole says what an answer that was read lacks, so that the call is to be
	// repeated; nil if nothing ever is.
	whole func() error
}

// do makes a call, in as many tries as patience allows. tries is how many there
// were. All of them carry one request key.
func (c *Client) do(ctx context.Context, k call) (tries int, err error) {
	var body []byte
	if k.body != nil {
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		if err := e.Encode(k.body); err != nil {
			return 0, fmt.Errorf("client: %w", err)
		}
		body = b.Bytes()
	}
	key, until := rand.Text(), time.Now().Add(c.cfg.Patience)
	for pause := firstPause; ; pause = min(2*pause, maxPause) {
		tries++
		asked, again, err := c.try(ctx, k, key, body)
		if err == nil || !again {
			return tries, err
		}
		// Spread, so that those who were refused together do not come back together.
		wait := pause/2 + mrand.N(pause/2+1)
		if asked > 0 {
			wait = asked + mrand.N(asked/4+1)
		}
		if time.Now().Add(wait).After(until) {
			return tries, err
		}
		if c.cfg.OnRetry != nil {
			c.cfg.OnRetry(err)
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return tries, errors.Join(context.Cause(ctx), err)
		}
	}
}

// try makes one try. again says that another one may succeed, and asked how long
// the node wants to be left alone, zero if it did not say.
func (c *Client) try(ctx context.Context, k call, key string, body []byte) (asked time.Duration, again bool, err error) {
	var from io.Reader = bytes.NewReader(body)
	kind := "application/json"
	if k.lines != nil {
		from, kind = k.lines(), "application/x-ndjson"
	}
	req, err := http.NewRequestWithContext(ctx, k.method, c.cfg.URL+k.path, from)
	if err != nil {
		return 0, false, errors.New("client: the request can not be made") // the URL may hold a secret
	}
	for name, values := range k.header {
		req.Header[name] = values
	}
	req.Header.Set("Authorization", "Bearer "+c.cfg.Key)
	req.Header.Set("Content-Type", kind)
	req.Header.Set("X-Trigger-Api-Version", "2025-07-16")
	req.Header.Set("X-Trigger-Source", "sdk")
	if k.method != http.MethodGet {
		req.Header.Set("X-Trigger-Request-Idempotency-Key", key)
	}
	if c.cfg.Branch != "" {
		req.Header.Set("X-Trigger-Branch", c.cfg.Branch)
	}
	res, err := c.http.Do(req)
	if err != nil { // it may have taken effect all the same
		return 0, ctx.Err() == nil, fmt.Errorf("client: %w", err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return 0, ctx.Err() == nil, fmt.Errorf("client: %w", err)
	}
	if res.StatusCode/100 != 2 {
		return pauseOf(res), retryable(res), refusal(res, answer)
	}
	if k.into == nil {
		return 0, false, nil
	}
	if err := json.Unmarshal(answer, k.into); err != nil {
		return 0, false, fmt.Errorf("client: an answer that can not be read: %w", err)
	}
	if k.whole == nil {
		return 0, false, nil
	}
	err = k.whole()
	return 0, err != nil, err
}

// retryable is what the node says, else what the status means.
func retryable(res *http.Response) bool {
	switch res.Header.Get("X-Should-Retry") {
	case "true":
		return true
	case "false":
		return false
	}
	return res.StatusCode >= 500 || res.StatusCode == http.StatusTooManyRequests || res.StatusCode == http.StatusRequestTimeout
}

// pauseOf is how long the node wants to be left alone. Every answer may say when
// the environment's rate is whole again; only after a 429 is that to be waited for.
func pauseOf(res *http.Response) (pause time.Duration) {
	const longest = 24 * 3600 // seconds; more is no pause
	if seconds, err := strconv.ParseInt(res.Header.Get("Retry-After"), 10, 64); err == nil && seconds > 0 && seconds < longest {
		pause = time.Duration(seconds) * time.Second
	}
	if res.StatusCode != http.StatusTooManyRequests {
		return pause
	}
	if at, err := strconv.ParseInt(res.Header.Get("X-Ratelimit-Reset"), 10, 64); err == nil {
		if left := time.Until(time.UnixMilli(at)); left > pause && left < longest*time.Second {
			pause = left
		}
	}
	return pause
}
