package simulate_test

import (
	"strings"
	"testing"
	"time"

	"github.com/e0ff5a15/mollifier/gate"
	"github.com/e0ff5a15/mollifier/simulate"
)

// small is a deployment whose figures can be worked out by hand.
func small() simulate.Config {
	return simulate.Config{
		Limits:     gate.Limits{Window: 200 * time.Millisecond, Threshold: 100, Hold: 500 * time.Millisecond},
		MaxEntries: 1000, TotalEntries: 1500, MaxBytes: 3 << 20, TotalBytes: 6 << 20, MaxAge: time.Minute,
		KeyTTL: time.Hour, RowsPerSecond: 100, BytesPerRun: 1000,
	}
}

func burst(n, environments int) simulate.Storm {
	return simulate.Storm{Burst: n, Environments: environments, Seed: 1}
}

func TestABurstByHand(t *testing.T) {
	t.Parallel()
	r := simulated(t, small(), burst(600, 1))
	// 100 pass and take Postgres the first second; 500 wait for it, and then take five.
	if r.Passed != 100 || r.Mollified != 500 || r.Refused.Total != 0 || r.Shared != 0 {
		t.Errorf("%+v", predicted(r))
	}
	if r.PeakEntries != 500 || r.PeakRedis != 500*1000 || r.Empty.Round(time.Millisecond) != 6*time.Second {
		t.Error(r.PeakEntries, r.PeakRedis, r.Empty)
	}
	if got, want := r.DwellP50, 3500*time.Millisecond; got < want*98/100 || got > want*102/100 {
		t.Error("p50", got)
	}
	if r.Wait.Round(time.Millisecond) != 990*time.Millisecond {
		t.Error("wait", r.Wait)
	}
	if r.OldestAge < 5900*time.Millisecond || r.OldestAge > 6*time.Second {
		t.Error("oldest", r.OldestAge)
	}
	peak := 0
	for _, n := range r.Depth {
		peak = max(peak, n)
	}
	if peak != 500 || r.Depth[len(r.Depth)-1] > 2 {
		t.Error(r.Depth)
	}
}

func TestEachBoundRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		storm  simulate.Storm
		change func(*simulate.Config)
		of     func(simulate.Refused) int
		want   int
	}{
		{"entries", burst(1300, 1), nil, func(r simulate.Refused) int { return r.Entries }, 200},
		{"bytes", simulate.Storm{Burst: 110, Environments: 1, Payload: 1<<20 - 512}, nil, func(r simulate.Refused) int { return r.Bytes }, 7},
		{"total entries", burst(1900, 2), nil, func(r simulate.Refused) int { return r.TotalEntries }, 200},
		{"total bytes", simulate.Storm{Burst: 400, Environments: 3, Payload: 1<<20 - 512}, nil, func(r simulate.Refused) int { return r.TotalBytes }, 0},
		{"age", simulate.Storm{Rate: 1000, Duration: 2 * time.Minute, Environments: 1}, func(c *simulate.Config) {
			c.MaxEntries, c.TotalEntries, c.MaxBytes, c.TotalBytes = 1e9, 1e9, 1e15, 1e15
		}, func(r simulate.Refused) int { return r.Age }, 0},
	} {
		cfg := small()
		if c.change != nil {
			c.change(&cfg)
		}
		r := simulated(t, cfg, c.storm)
		switch got := c.of(r.Refused); {
		case c.want > 0 && got != c.want, got == 0:
			t.Errorf("%s: %d of %+v", c.name, got, r.Refused)
		}
		if all := r.Passed + r.Mollified + r.Shared + r.Refused.Total; all != r.Triggers {
			t.Errorf("%s: %d triggers, %d fates", c.name, r.Triggers, all)
		}
	}
}

// A key shares its run until its time to live is over; the drain of a small tenant
// does not wait for the storm of a large one.
func TestKeysEndAndTurnsAreFair(t *testing.T) {
	t.Parallel()
	trace := "time,key,environment\n0,a,x\n10,a,x\n3601,a,x\n3601,a,y\n3602,,x\n"
	r, err := simulate.Run(small(), simulate.Trace(strings.NewReader(trace), 0))
	if err != nil || r.Shared != 1 || r.Passed != 4 {
		t.Errorf("%+v, %v", r, err)
	}
	r = simulated(t, small(), simulate.Storm{Burst: 1500, Environments: 2, Hot: 0.85, Seed: 1})
	if r.DwellP50 == 0 || r.DwellP99 > r.Empty {
		t.Error(r.DwellP50, r.DwellP99, r.Empty)
	}
}

func TestTraces(t *testing.T) {
	t.Parallel()
	for _, same := range []string{
		"bytes,time,key,environment,other\n10,100.5,k,e,?\n20,101,,f,?\n",
		`{"time":100.5,"environment":"e","key":"k","bytes":10}` + "\n\n" + `{"time":"101","environment":"f","bytes":20,"other":[]}`,
		`{"time":"2026-01-01T00:00:00.5Z","environment":"e","key":"k","bytes":10}` + "\n" + `{"time":"2026-01-01T00:00:01Z","environment":"f","bytes":20}`,
	} {
		var got []simulate.Trigger
		for tr, err := range simulate.Trace(strings.NewReader(same), 0) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, tr)
		}
		if len(got) != 2 || got[0].At != 0 || got[1].At != 500*time.Millisecond || got[0].Key == 0 || got[1].Key != 0 ||
			got[0].Environment != "e" || got[1].Environment != "f" || got[0].Payload != 10 || got[1].Payload != 20 {
			t.Errorf("%q: %+v", same, got)
		}
	}
	for text, want := range map[string]string{
		"":                                     "line 1: the trace is empty",
		"when,key\n":                           "line 1: no column is called time",
		"time\n1\nsoon\n":                      "line 3: time: must be",
		"time\nNaN\n":                          "line 2: time: must be",
		"time\n2\n1\n":                         "line 3: time: is before",
		"time\n0\n9999999\n":                   "line 3: time: is more than",
		"time,bytes\n1,-1\n":                   "line 2: bytes: must be",
		"time,bytes\n1,4000000\n":              "line 2: bytes: must be",
		"time,bytes\n1\n":                      "line 2",
		`{"key":"k"}`:                          "line 1: time: must be",
		"{\"time\":1}\n{\"time\":2,\"key\":3}": "line 2: key: must not be a JSON number",
		"{\"time\":1}\nx":                      "line 2: not a JSON object",
	} {
		_, err := simulate.Run(small(), simulate.Trace(strings.NewReader(text), 0))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func FuzzTrace(f *testing.F) {
	f.Add("time,environment,key,bytes\n1,e,k,3\n")
	f.Add(`{"time":1,"environment":"e","key":"k","bytes":3}`)
	f.Add("time\n2026-01-02T15:04:05Z\n")
	f.Fuzz(func(t *testing.T, text string) {
		last := time.Duration(0)
		for tr, err := range simulate.Trace(strings.NewReader(text), 0) {
			if err != nil {
				continue
			}
			if tr.At < last || tr.Payload < 0 {
				t.Fatalf("%+v after %s", tr, last)
			}
			last = tr.At
		}
	})
}

func TestPlot(t *testing.T) {
	t.Parallel()
	r := &simulate.Report{PeakEntries: 8, Depth: []int{8, 4, 1, 0, 0}, DepthEvery: time.Second}
	want := "\nruns in the buffer\n" +
		"         8 │█\n" +
		"         0 │██▂\n" +
		"           └───\n          0s3s\n"
	if got := simulate.Plot(r, 10, 2); got != want {
		t.Errorf("%s", got)
	}
	if simulate.Plot(&simulate.Report{}, 10, 2) != "" {
		t.Error("a plot of nothing")
	}
}

func TestWhatIsRefusedIsNamed(t *testing.T) {
	t.Parallel()
	cfg := small()
	cfg.RowsPerSecond = 0
	if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), "Config.RowsPerSecond must be") {
		t.Error(err)
	}
	if err := (simulate.Storm{Environments: 1, Hot: 2}).Validate(); err == nil || !strings.Contains(err.Error(), "Storm.Hot must be") {
		t.Error(err)
	}
}
