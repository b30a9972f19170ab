// Package load is the clients and the workers: they speak HTTP to the nodes, as
// anybody would, and record what they asked and were told.
package load

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/e0ff5a15/mollifier/test/chaos/cluster"
	"github.com/e0ff5a15/mollifier/test/chaos/history"
)

// patience bounds every request: a node that is frozen answers nothing.
const patience = 7 * time.Second

// Env is an environment and the key that opens it.
type Env struct{ ID, Key string }

// Load is what all clients of a run share.
type Load struct {
	Cluster *cluster.Cluster
	Record  *history.Recorder
	Envs    []Env
	Task    string // of this run alone: its keys are no other run's
	Keys    int    // at a time
	Epoch   time.Duration

	http *http.Client

	mu     sync.Mutex
	recent []acked
	at     int
}

type acked struct {
	id  string
	env int
}

// remember keeps the last few hundred acknowledged runs to read and change.
func (l *Load) remember(a acked) {
	l.mu.Lock()
	defer l.mu.Unlock()
	const most = 400
	if len(l.recent) < most {
		l.recent = append(l.recent, a)
		return
	}
	l.recent[l.at%most] = a
	l.at++
}

func (l *Load) some(r *rand.Rand) (acked, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.recent) == 0 {
		return acked{}, false
	}
	return l.recent[r.IntN(len(l.recent))], true
}

// Open makes the HTTP client; Close ends its connections.
func (l *Load) Open() {
	l.http = &http.Client{
		Timeout: patience,
		Transport: &http.Transport{
			MaxIdleConnsPerHost: 256, IdleConnTimeout: 5 * time.Second,
		},
	}
}

// Close ends the client's connections.
func (l *Load) Close() { l.http.CloseIdleConnections() }

func (l *Load) node(r *rand.Rand) *cluster.Node {
	return l.Cluster.Nodes[r.IntN(len(l.Cluster.Nodes))]
}

// answer is any answer of the API.
type answer struct {
	ID          string          `json:"id"`
	IsCached    bool            `json:"isCached"`
	CanonicalID string          `json:"canonicalId"`
	Identity    string          `json:"identity"`
	State       string          `json:"state"`
	Status      json.RawMessage `json:"status"`
	Type        string          `json:"type"`
	Runs        []struct {
		ID          string `json:"id"`
		Environment string `json:"environment"`
		Task        string `json:"taskIdentifier"`
	} `json:"runs"`
	Data []struct {
		ID string `json:"id"`
	} `json:"data"`
}

// do sends one request and records it. fill completes the record from the answer.
func (l *Load) do(ctx context.Context, n *cluster.Node, admin bool, key, method, path string, body any, op *history.Op) answer {
	op.N, op.Node = l.Record.Number(), n.Name
	var a answer
	base := n.Info().HTTP
	if admin {
		base = n.Info().Admin
	}
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			panic(err) // bodies are made here
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, base+path, bytes.NewReader(text))
	if err != nil {
		panic(err) // addresses come from stack.json
	}
	req.Header.Set("Content-Type", "application/json")
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	if op.Kind == history.Trigger && op.Key == "" {
		req.Header.Set("X-Trigger-Request-Idempotency-Key", op.Token)
	}
	op.Call = l.Record.Now()
	op.Outcome = history.Unknown
	resp, err := l.http.Do(req)
	if err == nil {
		op.HTTP = resp.StatusCode
		text, err = io.ReadAll(resp.Body)
		if closeErr := resp.Body.Close(); err == nil {
			err = closeErr
		}
		if err == nil {
			err = json.Unmarshal(text, &a)
		}
		if err != nil {
			op.HTTP = 0 // half an answer is none
		}
	}
	op.Return = l.Record.Now()
	if err != nil {
		if strings.Contains(err.Error(), "connection refused") {
			op.Outcome = history.No
		}
		return a
	}
	op.Problem = strings.TrimPrefix(a.Type, "urn:mollifier:problem:")
	switch {
	case op.HTTP == http.StatusOK:
		op.Outcome = history.OK
	case op.HTTP < 500, op.Problem == "overloaded", op.Problem == "buffer-full", op.Problem == "stopping":
		op.Outcome = history.No
	}
	return a
}

// Trigger sends one trigger, of a key or, if that is empty, without one; a lost
// answer of the latter is asked for again under the same request key. An id that
// it got is read from another node at once, every so often.
func (l *Load) Trigger(ctx context.Context, r *rand.Rand, env int, key string, ttl time.Duration) bool {
	token := fmt.Sprintf("%s-%d", l.Task, l.Record.Number())
	for range 3 {
		op := history.Op{Kind: history.Trigger, Env: env, Key: key, TTL: int64(ttl), Token: token}
		options := map[string]any{}
		if key != "" {
			options["idempotencyKey"] = key
			options["idempotencyKeyTTL"] = fmt.Sprintf("%ds", int(ttl.Seconds()))
		}
		n := l.node(r)
		a := l.do(ctx, n, false, l.Envs[env].Key, http.MethodPost, "/api/v1/tasks/"+l.Task+"/trigger",
			map[string]any{"payload": map[string]string{"token": token}, "options": options}, &op)
		if op.Outcome == history.OK {
			op.Run, op.Cached, op.Canonical, op.Identity, op.State = a.ID, a.IsCached, a.CanonicalID, a.Identity, a.State
		}
		l.Record.Add(op)
		if op.Outcome == history.OK {
			l.remember(acked{op.Run, env})
			if r.IntN(3) == 0 {
				l.get(ctx, l.other(r, n), acked{op.Run, env})
			}
			return true
		}
		if key != "" || op.Outcome == history.No || ctx.Err() != nil {
			return false
		}
	}
	return false
}

func (l *Load) other(r *rand.Rand, not *cluster.Node) *cluster.Node {
	for {
		if n := l.node(r); n != not || len(l.Cluster.Nodes) == 1 {
			return n
		}
	}
}

func (l *Load) get(ctx context.Context, n *cluster.Node, of acked) history.Op {
	op := history.Op{Kind: history.Get, Env: of.env, Run: of.id}
	a := l.do(ctx, n, false, l.Envs[of.env].Key, http.MethodGet, "/api/v3/runs/"+of.id, nil, &op)
	if op.Outcome == history.OK {
		op.Canonical = a.CanonicalID
		op.Status = strings.Trim(string(a.Status), `"`)
	}
	l.Record.Add(op)
	return op
}

// Read asks a random node for a run, without recording it.
func (l *Load) Read(ctx context.Context, r *rand.Rand, id string, env int) history.Read {
	op := history.Op{Kind: history.Get, Env: env, Run: id}
	a := l.do(ctx, l.node(r), false, l.Envs[env].Key, http.MethodGet, "/api/v3/runs/"+id, nil, &op)
	return history.Read{HTTP: op.HTTP, Canonical: a.CanonicalID, Status: strings.Trim(string(a.Status), `"`)}
}

func (l *Load) change(ctx context.Context, r *rand.Rand, kind history.Kind) {
	of, ok := l.some(r)
	if !ok {
		return
	}
	op := history.Op{Kind: kind, Env: of.env, Run: of.id}
	key := l.Envs[of.env].Key
	n := l.node(r)
	switch kind {
	case history.Cancel:
		l.do(ctx, n, false, key, http.MethodPost, "/api/v2/runs/"+of.id+"/cancel", nil, &op)
	case history.Tag:
		op.Arg = fmt.Sprintf("t%d", l.Record.Number())
		l.do(ctx, n, false, key, http.MethodPost, "/api/v1/runs/"+of.id+"/tags", map[string]any{"tags": []string{op.Arg}}, &op)
	case history.Bump:
		l.do(ctx, n, false, key, http.MethodPut, "/api/v1/runs/"+of.id+"/metadata",
			map[string]any{"operations": []map[string]any{{"type": "increment", "key": "bumps", "value": 1}}}, &op)
	case history.Foreign:
		stranger := l.Envs[(of.env+1)%len(l.Envs)].Key
		if r.IntN(2) == 0 {
			l.do(ctx, n, false, stranger, http.MethodGet, "/api/v3/runs/"+of.id, nil, &op)
		} else {
			l.do(ctx, n, false, stranger, http.MethodPost, "/api/v2/runs/"+of.id+"/cancel", nil, &op)
		}
	}
	l.Record.Add(op)
}

func (l *Load) list(ctx context.Context, r *rand.Rand, env int) {
	op := history.Op{Kind: history.List, Env: env}
	a := l.do(ctx, l.node(r), false, l.Envs[env].Key, http.MethodGet,
		"/api/v1/runs?page%5Bsize%5D=20&filter%5BtaskIdentifier%5D="+url.QueryEscape(l.Task), nil, &op)
	for _, d := range a.Data {
		op.Runs = append(op.Runs, d.ID)
	}
	l.Record.Add(op)
}

// reset ends a key's interval, and asks again while the outcome is not known, as
// clients are told to.
func (l *Load) reset(ctx context.Context, r *rand.Rand, env int, key string) {
	for range 20 {
		op := history.Op{Kind: history.Reset, Env: env, Key: key}
		l.do(ctx, l.node(r), false, l.Envs[env].Key, http.MethodPost, "/api/v1/idempotencyKeys/"+key+"/reset",
			map[string]string{"taskIdentifier": l.Task}, &op)
		l.Record.Add(op)
		if op.Outcome != history.Unknown || cluster.Wait(ctx, 100*time.Millisecond) != nil {
			return
		}
	}
}
