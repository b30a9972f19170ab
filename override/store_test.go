//go:build unix

package override

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/e0ff5a15/mollifier/internal/devstack/stacktest"
	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/runstore/schema"
)

// never is a poll that does not come within a test.
const never = time.Hour

var alice = Author{Name: "alice", Reason: "a storm"}

// node is one node's store, and what it was told.
type node struct {
	*Store
	told chan *State
}

func open(t *testing.T, url, name string, poll time.Duration) *node {
	t.Helper()
	n := &node{told: make(chan *State, 1000)}
	var err error
	if n.Store, err = Open(t.Context(), Config{URL: url, Node: name, Poll: poll, Timeout: 10 * time.Second, Changed: func(s *State) { n.told <- s }}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	return n
}

func migrated(t *testing.T) string {
	t.Helper()
	url := stacktest.Postgres(t)
	if err := schema.Migrate(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	return url
}

// hears waits until the node was told of a state that will do.
func (n *node) hears(t *testing.T, what string, ok func(*State) bool) {
	t.Helper()
	for end := time.After(time.Minute); ; {
		select {
		case s := <-n.told:
			if ok(s) {
				return
			}
		case <-end:
			t.Fatalf("%s: not within a minute; %+v", what, n.State())
		}
	}
}

func exec(t *testing.T, url, sql string, args ...any) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), sql, args...); err != nil {
		t.Fatal(err)
	}
}

func gateOf(environment string, threshold int) Override {
	return Override{Environment: environment, Kind: KindGate, Gate: Gate{Threshold: threshold}, By: alice}
}

func (n *node) put(t *testing.T, o Override) int64 {
	t.Helper()
	version, err := n.Put(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return version
}

// An override holds on the node that was asked when it answers, on the others once
// they were told, and after all of them have started anew.
func TestOverridesAreTheDeployments(t *testing.T) {
	t.Parallel()
	url := migrated(t)
	a, b := open(t, url, "a", never), open(t, url, "b", never)
	whole := Override{
		Environment: "env", Kind: KindGate, By: alice,
		Gate: Gate{Window: 100 * time.Millisecond, Threshold: 7, Hold: 1500 * time.Microsecond, Force: "mollify"},
	}
	version := a.put(t, whole)
	got, ok := a.State().Of("env", KindGate)
	if !ok || got.Gate != whole.Gate || got.By != alice || got.SetAt.IsZero() || !got.Ends.IsZero() || a.State().Version < version {
		t.Errorf("%+v", got)
	}
	b.hears(t, "b has it", func(s *State) bool {
		o, ok := s.Of("env", KindGate)
		return ok && o.Gate == whole.Gate
	})
	// The later one wins as a whole.
	b.put(t, Override{Environment: "env", Kind: KindGate, Gate: Gate{Hold: time.Second}, By: Author{Name: "bob"}})
	b.put(t, Override{Kind: KindDrain, By: alice})
	a.hears(t, "a has both", func(s *State) bool {
		o, _ := s.Of("env", KindGate)
		_, paused := s.Of("", KindDrain)
		return paused && o.Gate == Gate{Hold: time.Second} && o.By.Name == "bob"
	})
	if late := open(t, url, "late", never); len(late.State().Overrides) != 2 {
		t.Errorf("%+v", late.State())
	}
	if _, err := a.Clear(t.Context(), "env", KindGate, alice); err != nil {
		t.Fatal(err)
	}
	b.hears(t, "it is cleared", func(s *State) bool { return len(s.Overrides) == 1 })
	if _, err := a.Clear(t.Context(), "env", KindGate, alice); !errors.Is(err, run.ErrNotFound) {
		t.Errorf("%v", err)
	}

	var lines []string
	entries, err := a.Audit(t.Context(), "", 0, 10)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		lines = append(lines, fmt.Sprintf("%s %s %s %q %s %s", e.Node, e.By.Name, e.Action, e.Environment, e.By.Reason, e.Detail))
	}
	want := []string{
		`a alice gate.clear "env" a storm {"was": {"hold": "1s"}}`,
		`b alice drain.set "" a storm {"is": {"paused": true}}`,
		`b bob gate.set "env"  {"is": {"hold": "1s"}, "was": {"hold": "1.5ms", "force": "mollify", "window": "100ms", "threshold": 7}}`,
		`a alice gate.set "env" a storm {"is": {"hold": "1.5ms", "force": "mollify", "window": "100ms", "threshold": 7}}`,
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Error(diff)
	}
	if page, err := a.Audit(t.Context(), "env", entries[0].ID, 1); err != nil || len(page) != 1 || page[0].By.Name != "bob" {
		t.Errorf("%v %v", page, err)
	}
}

// An announcement that was lost is made up for by the poll.
func TestPollFindsAnOverride(t *testing.T) {
	t.Parallel()
	url := migrated(t)
	n := open(t, url, "a", 20*time.Millisecond)
	// As if it came from a transaction whose announcement nobody got.
	exec(t, url, `ALTER TABLE overrides DISABLE TRIGGER overrides_changed`)
	exec(t, url, `INSERT INTO overrides (env_id, kind, threshold, set_by, reason) VALUES ('env', 'gate', 5, 'sql', '')`)
	exec(t, url, `UPDATE override_version SET version = version + 1`)
	n.hears(t, "the poll", func(s *State) bool { o, ok := s.Of("env", KindGate); return ok && o.Gate.Threshold == 5 })
	// A backup that was restored may have gone back.
	exec(t, url, `DELETE FROM overrides`)
	exec(t, url, `UPDATE override_version SET version = 1`)
	n.hears(t, "an earlier version", func(s *State) bool { return s.Version == 1 && len(s.Overrides) == 0 })
}

// An override with an end ends without anybody being asked, and is not read again.
func TestOverrideEnds(t *testing.T) {
	t.Parallel()
	url := migrated(t)
	a := open(t, url, "a", never)
	o := gateOf("short", 5)
	o.For = time.Second
	a.put(t, gateOf("long", 6))
	a.put(t, o)
	if got, ok := a.State().Of("short", KindGate); !ok || got.Ends.IsZero() || got.For <= 0 || got.For > o.For {
		t.Errorf("%+v", got)
	}
	a.hears(t, "it has begun", func(s *State) bool { return len(s.Overrides) == 2 })
	a.hears(t, "it has ended", func(s *State) bool {
		_, long := s.Of("long", KindGate)
		return len(s.Overrides) == 1 && long
	})
	b := open(t, url, "b", never)
	if _, ok := b.State().Of("short", KindGate); ok {
		t.Error("a node that starts takes up what has ended")
	}
	if _, err := b.Clear(t.Context(), "short", KindGate, alice); !errors.Is(err, run.ErrNotFound) {
		t.Errorf("what has ended was cleared: %v", err)
	}
}

// A node that is cut off keeps what it knew, but for what ends; when Postgres is back,
// it goes by what is there then.
func TestCutOff(t *testing.T) {
	t.Parallel()
	server := stacktest.PrivatePostgres(t)
	url := server.URL()
	if err := schema.Migrate(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	n := open(t, url, "a", 50*time.Millisecond)
	short := gateOf("short", 5)
	short.For = 2 * time.Second
	n.put(t, gateOf("env", 7))
	n.put(t, short)
	if err := server.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	n.hears(t, "its end comes in the dark", func(s *State) bool {
		o, ok := s.Of("env", KindGate)
		return ok && o.Gate.Threshold == 7 && len(s.Overrides) == 1
	})
	if _, err := n.Put(t.Context(), gateOf("env", 8)); !errors.Is(err, run.ErrUnavailable) {
		t.Errorf("%v", err)
	}
	if _, err := n.Audit(t.Context(), "", 0, 1); !errors.Is(err, run.ErrUnavailable) {
		t.Errorf("%v", err)
	}
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	other := open(t, server.URL(), "b", never)
	other.put(t, gateOf("env", 9))
	n.hears(t, "it hears again", func(s *State) bool { o, _ := s.Of("env", KindGate); return o.Gate.Threshold == 9 })
}

// Changes through many nodes at once have one order, and the audit tells it: each
// line begins with what the one before it left.
func TestChangesHaveOneOrder(t *testing.T) {
	t.Parallel()
	url := migrated(t)
	nodes := []*node{open(t, url, "a", never), open(t, url, "b", never), open(t, url, "c", never)}
	var all sync.WaitGroup
	for i, n := range nodes {
		all.Go(func() {
			r := rand.New(rand.NewPCG(uint64(i), 1))
			for range 20 {
				if r.IntN(4) == 0 {
					if _, err := n.Clear(t.Context(), "env", KindGate, alice); err != nil && !errors.Is(err, run.ErrNotFound) {
						t.Error(err)
					}
				} else if _, err := n.Put(t.Context(), gateOf("env", 1+r.IntN(1000))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	entries, err := nodes[0].Audit(t.Context(), "env", 0, MaxAudit)
	if err != nil || len(entries) < 30 {
		t.Fatalf("%d %v", len(entries), err)
	}
	member := func(e Entry, name string) string {
		_, after, _ := strings.Cut(string(e.Detail), `"`+name+`": {`)
		inside, _, _ := strings.Cut(after, "}")
		return inside
	}
	for i := range len(entries) - 1 {
		if was, left := member(entries[i], "was"), member(entries[i+1], "is"); was != left {
			t.Fatalf("line %d begins with %q, the one before it left %q", i, was, left)
		}
	}
	last := member(entries[0], "is")
	for _, n := range nodes {
		agrees := func(s *State) bool {
			o, ok := s.Of("env", KindGate)
			return !ok && last == "" || ok && last == fmt.Sprintf(`"threshold": %d`, o.Gate.Threshold)
		}
		if !agrees(n.State()) {
			n.hears(t, "all agree", agrees)
		}
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	url := migrated(t)
	n := open(t, url, "a", never)
	long := strings.Repeat("x", 501)
	for field, o := range map[string]Override{
		"kind":        {Environment: "env", By: alice},
		"environment": gateOf("", 1),
		"override":    gateOf("env", 0),
		"override ":   {Environment: "env", Kind: KindDrain, Gate: Gate{Threshold: 1}, By: alice},
		"threshold":   gateOf("env", -1),
		"window":      {Environment: "env", Kind: KindGate, Gate: Gate{Window: -1}, By: alice},
		"hold":        {Environment: "env", Kind: KindGate, Gate: Gate{Hold: -1}, By: alice},
		"force":       {Environment: "env", Kind: KindGate, Gate: Gate{Force: "off"}, By: alice},
		"for":         {Environment: "env", Kind: KindDrain, For: time.Millisecond, By: alice},
		"for ":        {Environment: "env", Kind: KindDrain, For: 721 * time.Hour, By: alice},
		"author":      {Environment: "env", Kind: KindDrain},
		"author ":     {Environment: "env", Kind: KindDrain, By: Author{Name: "a\nb"}},
		"reason":      {Environment: "env", Kind: KindDrain, By: Author{Name: "a", Reason: long}},
	} {
		_, err := n.Put(t.Context(), o)
		var invalid *run.InvalidError
		if !errors.As(err, &invalid) || invalid.Field != strings.TrimSpace(field) {
			t.Errorf("%s: %v", field, err)
		}
	}
	exec(t, url, `INSERT INTO overrides (env_id, kind, threshold, set_by, reason) SELECT 'e' || n, 'gate', 1, 'sql', '' FROM generate_series(1, $1) n`, maxOverrides)
	if _, err := n.Put(t.Context(), gateOf("e7", 9)); err != nil {
		t.Errorf("one that is there already: %v", err)
	}
	if _, err := n.Put(t.Context(), gateOf("more", 9)); !errors.Is(err, run.ErrInvalid) {
		t.Errorf("one too many: %v", err)
	}
	if entries, err := n.Audit(t.Context(), "more", 0, 1); err != nil || len(entries) != 0 {
		t.Errorf("what was refused is in the audit: %v %v", entries, err)
	}
	if err := n.Note(t.Context(), "buffer.purge", "env", alice, map[string]int{"purged": 3}); err != nil {
		t.Error(err)
	}
	if entries, err := n.Audit(t.Context(), "env", 0, 1); err != nil || len(entries) != 1 || string(entries[0].Detail) != `{"purged": 3}` {
		t.Errorf("%v %v", entries, err)
	}
	for _, cfg := range []Config{{}, {Node: "a"}, {Node: "a", Changed: func(*State) {}, Poll: -1}, {Node: "a", Changed: func(*State) {}, URL: "postgres://user:secret@:x/"}} {
		if s, err := Open(t.Context(), cfg); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%v %v", s, err)
		}
	}
	if text := fmt.Sprintf("%v %+v %#v", n.Store, n.Store, n.Store); strings.Contains(text, "postgres") {
		t.Error(text)
	}
}
