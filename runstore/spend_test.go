package runstore

import (
	"crypto/sha256"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/e0ff5a15/mollifier/internal/devstack/stacktest"
	"github.com/e0ff5a15/mollifier/run"
)

func digest(text string) [32]byte { return sha256.Sum256([]byte(text)) }

// Two nodes, many callers at once, each with a use of its own: one of them has it.
func TestTokenIsSpentOnce(t *testing.T) {
	t.Parallel()
	url := stacktest.Postgres(t)
	nodes := []*testStore{openStore(t, url), openStore(t, url)}
	until := time.Now().Add(time.Hour)
	for _, name := range []string{"a", "b", "c"} {
		var won atomic.Int64
		var winner atomic.Value
		var all sync.WaitGroup
		for i := range 40 {
			use := digest(name + string(rune('A'+i)))
			all.Go(func() {
				err := nodes[i%2].Spend(t.Context(), "env_1", digest(name), use, until)
				switch {
				case err == nil:
					won.Add(1)
					winner.Store(use)
				case !errors.Is(err, run.ErrConflict):
					t.Error(err)
				}
			})
		}
		all.Wait()
		if won.Load() != 1 {
			t.Fatalf("token %s was spent on %d uses", name, won.Load())
		}
		// Who repeats the same use has it still, on any node.
		for _, node := range nodes {
			if err := node.Spend(t.Context(), "env_1", digest(name), winner.Load().([32]byte), until); err != nil {
				t.Error(err)
			}
		}
	}
	if err := nodes[0].Spend(t.Context(), "", digest("d"), digest("d"), until); !errors.Is(err, run.ErrInvalid) {
		t.Errorf("without an environment: %v", err)
	}
}

// What need not be remembered goes, a few with each use.
func TestSpentTokensAreForgotten(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	s.exec(`insert into spent_tokens select sha256(i::text::bytea), 'env_1', sha256('x'), now() - interval '1 minute' from generate_series(1, 20) i`)
	left := func() (n int) {
		if err := s.sql.QueryRow(t.Context(), `select count(*) from spent_tokens`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	for i, want := range []int{13, 6, 3, 4} {
		if err := s.Spend(t.Context(), "env_1", digest("token"+string(rune('a'+i))), digest("use"), time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		if n := left(); n != want {
			t.Errorf("after %d uses %d are kept, not %d", i+1, n, want)
		}
	}
}

// A spent token is bound to the first batch that is named, in its environment.
func TestTokenOpensOneBatch(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	ctx := t.Context()
	opened := func(environment, token, batch string) bool {
		t.Helper()
		is, err := s.TokenOpened(ctx, environment, digest(token), batch)
		if err != nil {
			t.Fatal(err)
		}
		return is
	}
	bind := func(environment, token, batch string) {
		t.Helper()
		if err := s.BindToken(ctx, environment, digest(token), batch); err != nil {
			t.Fatal(err)
		}
	}
	bind("env_1", "a", "batch_1") // not spent: nothing to note
	if opened("env_1", "a", "batch_1") {
		t.Error("a token that was not spent has opened a batch")
	}
	if err := s.Spend(ctx, "env_1", digest("a"), digest("use"), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	bind("env_2", "a", "batch_0")
	for _, batch := range []string{"batch_1", "batch_1", "batch_2"} {
		bind("env_1", "a", batch)
	}
	if !opened("env_1", "a", "batch_1") || opened("env_1", "a", "batch_2") || opened("env_2", "a", "batch_1") || opened("env_1", "b", "batch_1") {
		t.Error("bound to another batch than the first")
	}
	if err := s.Spend(ctx, "env_1", digest("a"), digest("use"), time.Now().Add(time.Hour)); err != nil || !opened("env_1", "a", "batch_1") {
		t.Errorf("the same use again: %v", err)
	}
}
