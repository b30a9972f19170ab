package mollifier_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	mollifier "github.com/e0ff5a15/mollifier"
	"github.com/e0ff5a15/mollifier/run"
)

// stormy is a configuration under which the second trigger of an environment
// within a minute is mollified, and stays in the buffer.
func stormy(t *testing.T) mollifier.Config {
	t.Helper()
	cfg := shared(t)
	cfg.Gate = mollifier.GateConfig{Window: time.Minute, Threshold: 1, Hold: time.Hour, RateOnly: true}
	cfg.NoDrain = true
	return cfg
}

// An environment that has used up its share of the buffer is refused, with a
// moment to retry; the keys that it has in the buffer are answered all the same,
// and other environments go on.
func TestQuotaOfAnEnvironment(t *testing.T) {
	t.Parallel()
	cfg := stormy(t)
	cfg.Buffer.MaxEntries = 20
	e := open(t, cfg)
	trigger(t, e, order("passes"))
	buffered := trigger(t, e, order("buffered"))
	if buffered.State() != run.Buffered {
		t.Fatalf("state %s", buffered.State())
	}
	refused := 0
	for i := range 40 {
		_, err := e.Trigger(t.Context(), order(fmt.Sprint("more-", i)))
		if err == nil {
			continue
		}
		var why *run.RefusedError
		if !errors.Is(err, run.ErrQuota) || !errors.As(err, &why) || why.RetryAfter <= 0 || why.RetryAfter > 10*time.Second {
			t.Fatalf("refused with %v", err)
		}
		refused++
	}
	if refused < 20 || refused > 22 {
		t.Errorf("%d of 40 refused over a share of 20", refused)
	}
	if again := trigger(t, e, order("buffered")); again.ID() != buffered.ID() || !again.Cached() {
		t.Errorf("a key in the full buffer: %s cached %v", again.ID(), again.Cached())
	}
	other := order("k")
	other.Environment = "staging"
	for i := range 5 {
		other.IdempotencyKey = fmt.Sprint(i)
		trigger(t, e, other)
	}
}
