package claim

import (
	"context"
	"errors"
	"testing"

	"github.com/e0ff5a15/mollifier/run"
)

// hear runs Wakes until the test ends.
func hear(t *testing.T, s *Store) <-chan run.Hash {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	heard := make(chan run.Hash, 100)
	ended := make(chan error, 1)
	go func() { ended <- s.Wakes(ctx, func(h run.Hash) { heard <- h }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("Wakes: %v", err)
		}
	})
	return heard
}

func TestWakes(t *testing.T) {
	t.Parallel()
	b, k, quiet := onShared(t), keyOf("waited for"), keyOf("not waited for")
	other := onRedis(t, b.cfg) // another node
	heard := hear(t, other.Store)
	if h := <-heard; h != (run.Hash{}) {
		t.Fatalf("the beginning announced %s", h)
	}
	now := b.now()
	for _, end := range []func(mine Token, at run.Instant){
		func(mine Token, at run.Instant) { b.want(k.op(Release, mine), Done) },
		func(Token, run.Instant) {
			if _, err := b.Reset(t.Context(), k.partition, k.hash, now+hour); err != nil {
				t.Error(err)
			}
		},
		func(mine Token, at run.Instant) { b.want(k.publish(mine, newID(), at, at+hour, false), Done) },
	} {
		mine := NewToken()
		at := b.want(k.op(Claim, mine), Claimed).AcceptedAt
		b.want(quiet.op(Claim, mine), Claimed)
		other.want(k.op(Claim, NewToken()), Pending)
		b.want(k.op(Renew, mine), Done)
		b.want(quiet.op(Release, mine), Done)
		end(mine, at)
		if h := <-heard; h != k.hash {
			t.Fatalf("announced %s, want %s", h, k.hash)
		}
	}
	// What is no hash is nobody's announcement.
	b.raw.Publish(t.Context(), b.names.Wake(), "x")
	b.raw.Publish(t.Context(), b.names.Wake(), quiet.hash.String())
	if h := <-heard; h != quiet.hash {
		t.Fatalf("announced %s", h)
	}
}
