package httpapi_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/e0ff5a15/mollifier/httpapi"
	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/telemetry"
	"github.com/e0ff5a15/mollifier/telemetry/telemetrytest"
)

// Requests are told of by route and status, whatever is asked; a trigger's trace
// begins with its caller's.
func TestRequestsAreMeasured(t *testing.T) {
	t.Parallel()
	reader, spans := metric.NewManualReader(), tracetest.NewSpanRecorder()
	of, err := telemetry.NewHTTP(metric.NewMeterProvider(metric.WithReader(reader)), trace.NewTracerProvider(trace.WithSpanProcessor(spans)))
	if err != nil {
		t.Fatal(err)
	}
	told := 0
	w := newWire(t, func(c *httpapi.Config) {
		c.Telemetry = of
		c.Triggered = func(status int, _ time.Duration) { told += status }
	})
	r := request(http.MethodPost, "/api/v1/tasks/CANARYtask/trigger", prodKey, `{"payload":1}`)
	r.Header.Set("Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	w.do(r)
	for i := range 100 {
		w.do(request(http.MethodGet, fmt.Sprintf("/api/v3/runs/run_CANARY%d", i), prodKey, ""))
		w.do(request(http.MethodGet, fmt.Sprintf("/CANARY/%d", i), prodKey, ""))
		w.do(request(fmt.Sprintf("CANARY%d", i), "/api/v3/runs/run_1", prodKey, ""))
	}
	w.engine.panics = "CANARY"
	w.do(request(http.MethodPost, "/api/v1/tasks/x/trigger", prodKey, `{"payload":1}`))
	got := telemetrytest.Collect(t, reader)
	for _, c := range []struct {
		method, route, status string
		want                  float64
	}{
		{"POST", "/api/v1/tasks/{taskId}/trigger", "200", 1},
		{"POST", "/api/v1/tasks/{taskId}/trigger", "500", 1},
		{"GET", "/api/v3/runs/{runId}", "404", 100},
		{"GET", "", "404", 100},
		{"_OTHER", "", "405", 100},
	} {
		if n := got.Sum(telemetry.Requests, "http.request.method", c.method, "http.route", c.route, "http.response.status_code", c.status); n != c.want {
			t.Errorf("%+v: %v", c, n)
		}
	}
	if told != 700 {
		t.Errorf("triggers were told of as %d", told)
	}
	if text := fmt.Sprint(got); strings.Contains(text, "CANARY") {
		t.Error("a label has what the client chose")
	}
	first := spans.Ended()[0]
	if first.Name() != "POST /api/v1/tasks/{taskId}/trigger" || first.Parent().SpanID().String() != "b7ad6b7169203331" {
		t.Errorf("span %s below %v", first.Name(), first.Parent())
	}
	for _, s := range spans.Ended() {
		if strings.Contains(fmt.Sprint(s.Name(), s.Attributes(), s.Status()), "CANARY") {
			t.Errorf("a span has what the client chose: %s %v", s.Name(), s.Attributes())
		}
	}
}

// In a profile a request is named by the type of its environment, and no longer than
// it is worked on.
func TestRequestsAreNamedInProfiles(t *testing.T) {
	t.Parallel()
	var during bytes.Buffer
	w := newWire(t, func(c *httpapi.Config) {
		c.Engine = &looking{Engine: c.Engine, look: func() {
			if err := pprof.Lookup("goroutine").WriteTo(&during, 1); err != nil {
				t.Error(err)
			}
		}}
	})
	w.do(request(http.MethodPost, "/api/v1/tasks/x/trigger", prodKey, `{"payload":1}`))
	if !strings.Contains(during.String(), `"environment":"prod"`) {
		t.Error("no goroutine has the label")
	}
}

// looking calls look while it triggers.
type looking struct {
	httpapi.Engine
	look func()
}

func (l *looking) Trigger(ctx context.Context, t run.Trigger) (run.Result, error) {
	l.look()
	return l.Engine.Trigger(ctx, t)
}
