//go:build unix

package simulate_test

import (
	"errors"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/e0ff5a15/mollifier"
	"github.com/e0ff5a15/mollifier/gate"
	"github.com/e0ff5a15/mollifier/mollifiertest"
	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/simulate"
)

func TestMain(m *testing.M) { mollifiertest.Main(m) }

// outcomes is how many triggers met each fate.
type outcomes struct{ passed, mollified, shared, refused int }

func predicted(r *simulate.Report) outcomes {
	return outcomes{r.Passed, r.Mollified, r.Shared, r.Refused.Total}
}

// storms sends triggers to an engine by so many callers, in order.
func storms(t testing.TB, e *mollifier.Engine, storm simulate.Storm, callers int) (all outcomes) {
	t.Helper()
	work := make(chan simulate.Trigger)
	var mu sync.Mutex
	var done sync.WaitGroup
	for range callers {
		done.Go(func() {
			for s := range work {
				r, err := e.Trigger(t.Context(), run.Trigger{
					Organisation: s.Environment, Environment: s.Environment, Task: "storm",
					IdempotencyKey: strconv.FormatUint(s.Key, 10), Payload: []byte(`"` + strings.Repeat("x", max(s.Payload-2, 0)) + `"`),
				})
				mu.Lock()
				switch {
				case errors.Is(err, run.ErrQuota), errors.Is(err, run.ErrOverloaded):
					all.refused++
				case err != nil:
					t.Error(err)
				case r.Cached():
					all.shared++
				case r.State() == run.Buffered:
					all.mollified++
				default:
					all.passed++
				}
				mu.Unlock()
			}
		})
	}
	for s := range storm.Triggers() {
		work <- s
	}
	close(work)
	done.Wait()
	return all
}

// pressed is how many triggers within the threshold were mollified because Postgres was
// slow, as it may be on a busy machine: the simulation has them pass.
func pressed(e *mollifier.Engine) (n int) {
	for _, d := range e.GateStats().Decided {
		if d.Outcome == gate.Mollify && d.Reason != gate.ReasonRate {
			n += int(d.Count)
		}
	}
	return n
}

// model is the deployment of a node whose gate trips once in a test, and stays so.
func model(c *mollifier.Config) simulate.Config {
	d := c.WithDefaults()
	return simulate.Config{
		Limits:     gate.Limits{Window: d.Gate.Window, Threshold: d.Gate.Threshold, Hold: d.Gate.Hold},
		MaxEntries: d.Buffer.MaxEntries, TotalEntries: d.Buffer.TotalEntries,
		MaxBytes: d.Buffer.MaxBytes, TotalBytes: d.Buffer.TotalBytes, MaxAge: d.Buffer.MaxAge,
		KeyTTL: run.DefaultKeyTTL, RowsPerSecond: 1, BytesPerRun: simulate.BytesPerRun,
	}
}

func simulated(t *testing.T, c simulate.Config, s simulate.Storm) *simulate.Report {
	t.Helper()
	r, err := simulate.Run(c, s.Triggers())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// An engine on real stores does with a burst what the simulation says, to the trigger.
func TestTheEngineDoesWhatIsSimulated(t *testing.T) {
	t.Parallel()
	var c mollifier.Config
	node := mollifiertest.Start(t, func(cfg *mollifier.Config) {
		cfg.Gate = mollifier.GateConfig{Window: time.Hour, Threshold: 50, Hold: time.Hour}
		c = *cfg
	})
	storm := simulate.Storm{Burst: 3000, BurstOver: time.Millisecond, Environments: 4, Hot: 0.6, Keys: 600, Seed: 7, Payload: 100}
	want := predicted(simulated(t, model(&c), storm))
	got := storms(t, node.Engine, storm, 32)
	slow := pressed(node.Engine)
	got.passed, got.mollified = got.passed+slow, got.mollified-slow
	if got != want {
		t.Errorf("the engine did %+v, the simulation says %+v", got, want)
	}
	if want.passed == 0 || want.mollified == 0 || want.shared == 0 {
		t.Errorf("the storm shows too little: %+v", want)
	}
}

// The bounds of the buffer refuse as many as the simulation says, but for the few that a
// reading of the buffer counts twice while they are put in.
func TestTheEngineRefusesAsManyAsSimulated(t *testing.T) {
	t.Parallel()
	var c mollifier.Config
	node := mollifiertest.Start(t, func(cfg *mollifier.Config) {
		cfg.Gate = mollifier.GateConfig{Window: time.Hour, Threshold: 20, Hold: time.Hour}
		cfg.Buffer = mollifier.BufferConfig{MaxEntries: 200, TotalEntries: 300}
		cfg.NoDrain = true
		c = *cfg
	})
	storm := simulate.Storm{Burst: 1000, BurstOver: time.Millisecond, Environments: 4, Hot: 0.6, Seed: 3, Payload: 100}
	want := predicted(simulated(t, model(&c), storm))
	got := storms(t, node.Engine, storm, 1)
	const tolerance = 5
	off := got.mollified - want.mollified
	if got.passed+pressed(node.Engine) != want.passed || off < -tolerance || off > tolerance || got.refused == 0 {
		t.Errorf("the engine did %+v, the simulation says %+v", got, want)
	}
}
