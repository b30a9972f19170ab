package mollifier_test

import (
	"strings"
	"testing"

	"github.com/e0ff5a15/mollifier/internal/devstack/stacktest"
	"github.com/e0ff5a15/mollifier/run"
)

// An operator changes Redis's eviction policy while a storm is on: what is mollified
// passes from then on, in spite of the rate, until the policy is set right.
func TestEvictionPolicyIsChangedInAStorm(t *testing.T) {
	t.Parallel()
	server := stacktest.PrivateRedis(t)
	raw := server.Client()
	defer raw.Close()
	cfg := tripping(t)
	cfg.Redis, cfg.Prefix, cfg.NoDrain = server.URL(), "m", true
	e := open(t, cfg)
	trip(t, e)
	before := trigger(t, e, order("before"))
	if before.State() != run.Buffered || e.Unfit() != nil {
		t.Fatalf("%s, %v", before.State(), e.Unfit())
	}
	set := func(policy string) {
		t.Helper()
		if err := raw.ConfigSet(t.Context(), "maxmemory-policy", policy).Err(); err != nil {
			t.Fatal(err)
		}
	}
	set("allkeys-lru")
	waitFor(t, "the policy is noticed", func() bool { return e.Unfit() != nil })
	if said := e.Unfit().Error(); !strings.Contains(said, "maxmemory-policy") || !strings.Contains(said, "allkeys-lru") {
		t.Errorf("it is said like this: %s", said)
	}
	for range 50 {
		if r := trigger(t, e, order("")); r.State() == run.Buffered {
			t.Fatal("a run went into a buffer that may lose it")
		}
	}
	if r := trigger(t, e, order("before")); r.ID() != before.ID() {
		t.Fatal("a run in the buffer lost its key")
	}
	set("noeviction")
	waitFor(t, "it is set right", func() bool { return e.Unfit() == nil })
	trip(t, e)
	if r := trigger(t, e, order("after")); r.State() != run.Buffered {
		t.Fatalf("%s after the policy was set right", r.State())
	}
}
