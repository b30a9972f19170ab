package bench_test

import (
	"runtime/trace"
	"testing"
	"time"

	"go.opentelemetry.io/otel/sdk/metric"

	"github.com/e0ff5a15/mollifier"
	"github.com/e0ff5a15/mollifier/bench"
	"github.com/e0ff5a15/mollifier/bench/internal/load"
	"github.com/e0ff5a15/mollifier/run"
)

// What it costs to be measured, and to have the last seconds recorded.
func BenchmarkTelemetry(b *testing.B) {
	s := load.ForTest(b, load.FsyncAlways)
	for _, c := range []struct {
		name string
		way  bench.Way
		next func([]byte) func(int) run.Trigger
	}{
		{"hot-key", bench.PassThrough, bench.OneKey},
		{"pass-through", bench.PassThrough, bench.Distinct},
		{"mollified", bench.Mollified, bench.Distinct},
	} {
		for _, told := range []string{"nothing", "metrics", "flight-recorder"} {
			b.Run(c.name+"/"+told, func(b *testing.B) {
				cfg, err := bench.Config(b.Context(), s, c.way)
				if err != nil {
					b.Fatal(err)
				}
				switch told {
				case "metrics":
					cfg.MeterProvider = metric.NewMeterProvider(metric.WithReader(metric.NewManualReader()))
				case "flight-recorder":
					past := trace.NewFlightRecorder(trace.FlightRecorderConfig{MinAge: 5 * time.Second, MaxBytes: 16 << 20})
					if err := past.Start(); err != nil {
						b.Fatal(err)
					}
					defer past.Stop()
				}
				e, err := mollifier.New(b.Context(), cfg)
				if err != nil {
					b.Fatal(err)
				}
				end(b, e)
				load.Measure(b, bench.Contestant(e, c.name, c.next(load.Body(512))), 256, s)
			})
		}
	}
}
