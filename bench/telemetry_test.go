package bench_test

import (
	"testing"

	"go.opentelemetry.io/otel/sdk/metric"

	"github.com/e0ff5a15/mollifier"
	"github.com/e0ff5a15/mollifier/bench"
	"github.com/e0ff5a15/mollifier/bench/internal/load"
	"github.com/e0ff5a15/mollifier/run"
)

// What it costs to be measured: the same without a meter provider and with one.
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
		for _, measured := range []bool{false, true} {
			name := c.name + "/measured=no"
			if measured {
				name = c.name + "/measured=yes"
			}
			b.Run(name, func(b *testing.B) {
				cfg, err := bench.Config(b.Context(), s, c.way)
				if err != nil {
					b.Fatal(err)
				}
				if measured {
					cfg.MeterProvider = metric.NewMeterProvider(metric.WithReader(metric.NewManualReader()))
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
