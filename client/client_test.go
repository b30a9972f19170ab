package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/e0ff5a15/mollifier/client"
)

// node answers requests without a network, one answer after the other.
type node struct {
	t        *testing.T
	answers  []answer
	requests []*http.Request
	bodies   []string
	at       []time.Time
}

type answer struct {
	status int
	body   string
	header map[string]string
	lost   bool // the request was taken, its answer did not arrive
}

func (n *node) RoundTrip(r *http.Request) (*http.Response, error) {
	if len(n.requests) == len(n.answers) {
		n.t.Errorf("request %d: %s %s is one too many", len(n.requests)+1, r.Method, r.URL)
		return nil, io.EOF
	}
	a := n.answers[len(n.requests)]
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	n.requests, n.bodies, n.at = append(n.requests, r), append(n.bodies, string(body)), append(n.at, time.Now())
	if a.lost {
		return nil, io.ErrUnexpectedEOF
	}
	res := &http.Response{StatusCode: a.status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(a.body)), Request: r}
	for name, value := range a.header {
		res.Header.Set(name, value)
	}
	return res, nil
}

func newClient(t *testing.T, n *node, tune ...func(*client.Config)) *client.Client {
	t.Helper()
	cfg := client.Config{URL: "http://node/", Key: "secret", HTTP: &http.Client{Transport: n}}
	for _, f := range tune {
		f(&cfg)
	}
	c, err := client.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Every try of a call carries the same request key, and another call another one.
func TestOneRequestKeyForACall(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ok := answer{status: 200, body: `{"id":"run_1","isCached":false}`}
		n := &node{t: t, answers: []answer{{status: 503, body: `{}`}, {lost: true}, {status: 500}, {status: 408}, ok, ok}}
		retries := 0
		c := newClient(t, n, func(c *client.Config) { c.OnRetry = func(error) { retries++ } })
		for range 2 {
			h, err := c.Trigger(t.Context(), client.Trigger{Task: "a/b c", Payload: json.RawMessage(`{"<":9007199254740993}`)})
			if err != nil || h.ID != "run_1" {
				t.Fatal(h, err)
			}
		}
		keys := map[string]int{}
		for i, r := range n.requests {
			keys[r.Header.Get("X-Trigger-Request-Idempotency-Key")]++
			if r.URL.EscapedPath() != "/api/v1/tasks/a%2Fb%20c/trigger" || r.Header.Get("Authorization") != "Bearer secret" ||
				strings.TrimSpace(n.bodies[i]) != `{"payload":{"<":9007199254740993},"options":{}}` {
				t.Errorf("%s %s", r.URL, n.bodies[i])
			}
		}
		if len(keys) != 2 || retries != 4 || keys[n.requests[0].Header.Get("X-Trigger-Request-Idempotency-Key")] != 5 {
			t.Errorf("%v, %d retries", keys, retries)
		}
	})
}

// What is wanted where the key is in flight is said on each try, and a conflict is
// no reason for another one.
func TestInFlight(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := &node{t: t, answers: []answer{{status: 503, body: `{}`}, {
			status: 409, body: `{"error":"x","type":"urn:mollifier:problem:in-flight"}`, header: map[string]string{"X-Should-Retry": "false"},
		}}}
		_, err := newClient(t, n).Trigger(t.Context(), client.Trigger{Task: "a", InFlight: "conflict"})
		if !errors.Is(err, client.InFlight) {
			t.Error(err)
		}
		for _, r := range n.requests {
			if r.Header.Get("Idempotency-In-Flight") != "conflict" {
				t.Errorf("%v", r.Header)
			}
		}
	})
}

// What the node asks for is waited for, and at most a quarter more.
func TestPauses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		header      func() map[string]string
		least, most time.Duration
	}{
		"none":       {func() map[string]string { return nil }, 50 * time.Millisecond, 100 * time.Millisecond},
		"seconds":    {func() map[string]string { return map[string]string{"Retry-After": "4"} }, 4 * time.Second, 5 * time.Second},
		"no seconds": {func() map[string]string { return map[string]string{"Retry-After": "soon"} }, 50 * time.Millisecond, 100 * time.Millisecond},
		"reset": {func() map[string]string {
			return map[string]string{"Retry-After": "1", "X-Ratelimit-Reset": strconv.FormatInt(time.Now().Add(8*time.Second).UnixMilli(), 10)}
		}, 8*time.Second - time.Millisecond, 10 * time.Second},
		"reset in the past": {func() map[string]string { return map[string]string{"X-Ratelimit-Reset": "1"} }, 50 * time.Millisecond, 100 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				n := &node{t: t, answers: []answer{{status: 429, body: `{}`, header: c.header()}, {status: 200, body: `{}`}}}
				if _, err := newClient(t, n).Run(t.Context(), "run_1"); err != nil {
					t.Fatal(err)
				}
				if pause := n.at[1].Sub(n.at[0]); pause < c.least || pause > c.most {
					t.Errorf("paused %s", pause)
				}
			})
		})
	}
}

// What can not succeed is not repeated, and the error says what it was.
func TestRefusals(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		answer answer
		is     client.Problem
		field  string
	}{
		{answer{status: 400, body: `{"error":"options.ttl: bad","type":"urn:mollifier:problem:invalid","field":"options.ttl"}`}, client.Invalid, "options.ttl"},
		{answer{status: 404, body: `{"error":"Run not found","type":"urn:mollifier:problem:run-not-found"}`}, client.NotFound, ""},
		{answer{status: 409, body: `{"error":"x","type":"urn:mollifier:problem:conflict"}`}, client.Conflict, ""},
		{answer{status: 502, body: `<html>`, header: map[string]string{"X-Should-Retry": "false"}}, client.Unlabelled, ""},
	} {
		n := &node{t: t, answers: []answer{c.answer}}
		_, err := newClient(t, n).Run(t.Context(), "run_1")
		var refused *client.Error
		if !errors.Is(err, c.is) || !errors.As(err, &refused) || refused.Status != c.answer.status || refused.Field != c.field {
			t.Errorf("%+v: %v", c.answer, err)
		}
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("the key shows: %v", err)
		}
	}
}

// Patience ends, and a context ends earlier; the last refusal is told.
func TestPatience(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		refused := make([]answer, 200)
		for i := range refused {
			refused[i] = answer{status: 503, body: `{"error":"x","type":"urn:mollifier:problem:unavailable"}`}
		}
		n := &node{t: t, answers: refused}
		began := time.Now()
		if _, err := newClient(t, n).Run(t.Context(), "run_1"); !errors.Is(err, client.Unavailable) || time.Since(began) > 30*time.Second || time.Since(began) < 27*time.Second {
			t.Errorf("%v after %s", err, time.Since(began))
		}
		n = &node{t: t, answers: refused}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := newClient(t, n).Run(ctx, "run_1"); !errors.Is(err, client.Unavailable) || !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		n = &node{t: t, answers: refused[:1]}
		if _, err := newClient(t, n, func(c *client.Config) { c.Patience = -1 }).Run(t.Context(), "run_1"); !errors.Is(err, client.Unavailable) {
			t.Error(err)
		}
		n = &node{t: t, answers: []answer{{status: 503, header: map[string]string{"Retry-After": "3600"}}}}
		if _, err := newClient(t, n).Run(t.Context(), "run_1"); err == nil {
			t.Error("no error")
		}
	})
}

// A reset whose answer was lost has been done: the repeat finds no run.
func TestResetWhoseAnswerIsLost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gone := answer{status: 404, body: `{"type":"urn:mollifier:problem:key-not-found"}`}
		n := &node{t: t, answers: []answer{{lost: true}, gone, gone}}
		c := newClient(t, n)
		if err := c.ResetKey(t.Context(), "t", "k/1"); err != nil {
			t.Error(err)
		}
		if err := c.ResetKey(t.Context(), "t", "k/1"); !errors.Is(err, client.KeyNotFound) {
			t.Error(err)
		}
	})
}

// A list goes from page to page with the same filter, and ends where it is left.
func TestListPages(t *testing.T) {
	t.Parallel()
	n := &node{t: t, answers: []answer{
		{status: 200, body: `{"data":[{"id":"run_3"},{"id":"run_2"}],"pagination":{"next":"run_2"}}`},
		{status: 200, body: `{"data":[{"id":"run_1"}],"pagination":{}}`},
		{status: 200, body: `{"data":[{"id":"run_3"},{"id":"run_2"}],"pagination":{"next":"run_2"}}`},
		{status: 400, body: `{"type":"urn:mollifier:problem:invalid"}`},
	}}
	c := newClient(t, n)
	var ids []string
	for r, err := range c.List(t.Context(), client.Filter{Statuses: []string{"QUEUED", "EXECUTING"}, From: time.UnixMilli(5)}) {
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, r.ID)
	}
	if strings.Join(ids, " ") != "run_3 run_2 run_1" {
		t.Error(ids)
	}
	q := n.requests[1].URL.Query()
	if q.Get("page[after]") != "run_2" || q.Get("filter[status]") != "QUEUED,EXECUTING" || q.Get("filter[createdAt][from]") != "5" {
		t.Error(q)
	}
	for range c.List(t.Context(), client.Filter{}) {
		break
	}
	for _, err := range c.List(t.Context(), client.Filter{}) {
		if !errors.Is(err, client.Invalid) {
			t.Error(err)
		}
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	for field, cfg := range map[string]client.Config{
		"URL": {URL: "node:80", Key: "k"}, "Key": {URL: "http://node"}, "Connections": {URL: "http://node", Key: "k", Connections: -1},
	} {
		if _, err := client.New(cfg); err == nil || !strings.Contains(err.Error(), "Config."+field) {
			t.Errorf("%s: %v", field, err)
		}
	}
}
