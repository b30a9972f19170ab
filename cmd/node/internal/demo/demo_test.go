package demo

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestKeyOrder(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ n, keys int }{{1, 1}, {2, 2}, {3, 2}, {100, 100}, {101, 7}, {10_000, 100}} {
		count := map[string]int{}
		for _, key := range keyOrder(c.n, c.keys) {
			count[key]++
		}
		if len(count) != c.keys {
			t.Errorf("%d triggers over %d keys use %d keys", c.n, c.keys, len(count))
		}
	}
	for key, n := range func() map[string]int {
		count := map[string]int{}
		for _, k := range keyOrder(10_000, 100) {
			count[k]++
		}
		return count
	}() {
		if n != 100 {
			t.Errorf("%s has %d triggers, not 100", key, n)
		}
	}
}

func TestCompare(t *testing.T) {
	t.Parallel()
	keys := []string{"a", "a", "", ""}
	good := func() ([]ack, map[string]row) {
		return []ack{{id: "1"}, {id: "1", cached: true}, {id: "2"}, {id: "3"}},
			map[string]row{"1": {key: "a"}, "2": {}, "3": {}}
	}
	for _, c := range []struct {
		name  string
		spoil func(acks []ack, rows map[string]row)
		want  string // in the first deviation; empty for none
	}{
		{"all well", func([]ack, map[string]row) {}, ""},
		{"an alias resolves", func(a []ack, r map[string]row) {
			a[0].id, a[1].id = "9", "9"
			r["9"] = row{kind: kindAlias, aliasOf: "1"}
		}, ""},
		{"lost run", func(_ []ack, r map[string]row) { delete(r, "2") }, "run 2 is not in Postgres"},
		{"alias of nothing", func(a []ack, r map[string]row) {
			a[2].id = "9"
			r["9"] = row{kind: kindAlias, aliasOf: "8"}
		}, "run 9 is not in Postgres"},
		{"second run of a key", func(_ []ack, r map[string]row) { r["4"] = row{key: "a"} }, "key a has 2 runs"},
		{"two answers to a key", func(a []ack, r map[string]row) { a[1].id, r["4"] = "4", row{key: "a"} }, "key a was answered with run 1 and with run 4"},
		{"two makers", func(a []ack, _ map[string]row) { a[1].cached = false }, "key a has 2 callers"},
		{"no maker", func(a []ack, _ map[string]row) { a[0].cached = true }, "key a has 0 callers"},
		{"stranger's run", func(a []ack, _ map[string]row) { a[1].id = "2" }, `run 2 has the key ""`},
		{"one run for two", func(a []ack, _ map[string]row) { a[3].id = "2" }, "run 2 was answered to two triggers"},
		{"cached without key", func(a []ack, _ map[string]row) { a[3].cached = true }, "run 3 was answered as a duplicate"},
		{"run nobody asked for", func(_ []ack, r map[string]row) { r["4"] = row{} }, "4 runs in Postgres where 3 were acknowledged"},
		{"no answer", func(a []ack, _ map[string]row) { a[3] = ack{err: http.ErrServerClosed} }, "trigger 3 was never acknowledged"},
	} {
		acks, rows := good()
		c.spoil(acks, rows)
		_, _, broken := compare(keys, acks, rows)
		switch {
		case c.want == "" && len(broken) > 0:
			t.Errorf("%s: %v", c.name, broken)
		case c.want != "" && (len(broken) == 0 || !strings.Contains(strings.Join(broken, "\n"), c.want)):
			t.Errorf("%s: %q, want %q", c.name, broken, c.want)
		}
	}
	acks, rows := good()
	if runs, duplicates, _ := compare(keys, acks, rows); runs != 3 || duplicates != 1 {
		t.Errorf("%d runs and %d duplicates, want 3 and 1", runs, duplicates)
	}
}

// A refused or cut-off try is repeated under its request key; anything else that
// is not an acknowledgement ends the trigger.
func TestStormPersists(t *testing.T) {
	t.Parallel()
	var (
		mu    sync.Mutex
		tries = map[string]int{} // by request key
	)
	node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer secret" || r.URL.Path != "/api/v1/tasks/t/trigger" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		requestKey := r.Header.Get("X-Trigger-Request-Idempotency-Key")
		mu.Lock()
		tries[requestKey]++
		n := tries[requestKey]
		mu.Unlock()
		switch n {
		case 1:
			w.WriteHeader(http.StatusServiceUnavailable)
		case 2:
			panic(http.ErrAbortHandler) // the answer is lost
		default:
			// The test server can not fail to encode this.
			_ = json.NewEncoder(w).Encode(map[string]any{"id": requestKey, "isCached": false})
		}
	}))
	defer node.Close()
	s := &storm{url: node.URL, key: "secret", task: "t", keys: make([]string, 20), connections: 4}
	s.run(t.Context())
	seen := map[string]bool{}
	for i, a := range s.acks {
		if a.err != nil || a.id == "" || seen[a.id] {
			t.Errorf("trigger %d: %+v", i, a)
		}
		seen[a.id] = true
	}
	if got := s.retries.Load(); got != 40 {
		t.Errorf("%d tries repeated, want 40", got)
	}
	if got := s.latency.TotalCount(); got != 20 {
		t.Errorf("%d latencies, want 20", got)
	}

	refused := &storm{url: node.URL, key: "wrong", task: "t", keys: make([]string, 1), connections: 1}
	refused.run(t.Context())
	if a := refused.acks[0]; a.err == nil || !strings.Contains(a.err.Error(), "400") || refused.retries.Load() != 0 {
		t.Errorf("a 400 was answered with %+v after %d further tries", a, refused.retries.Load())
	}
}

func TestStormEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		cancel()
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer node.Close()
	s := &storm{url: node.URL, key: "k", task: "t", keys: make([]string, 1000), connections: 2}
	s.run(ctx)
	for i, a := range s.acks {
		if a.err == nil {
			t.Fatalf("trigger %d was acknowledged", i)
		}
	}
}

func TestReport(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	r := &Report{Waves: []Wave{
		{Title: "over 100 keys", Triggers: 10_000, Runs: 100, WorkKnown: true, Work: Work{Claims: 1234}},
		{Title: "without keys"},
	}}
	if err := r.Print(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"over 100 keys", "10,000", "1,234", "The promise held"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("report lacks %q:\n%s", want, b.String())
		}
	}
	for range maxBroken + 5 {
		r.Waves[1].Broken = append(r.Waves[1].Broken, "lost")
	}
	b.Reset()
	if err := r.Print(&b); err != nil {
		t.Fatal(err)
	}
	if r.Held() || !strings.Contains(b.String(), "BROKEN") || !strings.Contains(b.String(), "and 5 more") {
		t.Errorf("broken promise reported as:\n%s", b.String())
	}
}

func TestThousands(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1000: "-1,000"} {
		if got := thousands(n); got != want {
			t.Errorf("thousands(%d) = %s, want %s", n, got, want)
		}
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	for _, c := range []Config{{}, {Triggers: 1}, {Triggers: 1, Keys: 2, Connections: 1}, {Triggers: 1, Keys: 1}} {
		if c.Validate() == nil {
			t.Errorf("%+v is accepted", c)
		}
	}
}
