package telemetry_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"go.opentelemetry.io/otel/sdk/metric"

	"github.com/e0ff5a15/mollifier/telemetry"
	"github.com/e0ff5a15/mollifier/telemetry/telemetrytest"
)

func get(t testing.TB, path string) *http.Request {
	t.Helper()
	return httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
}

// A client can not make labels, whatever methods and paths it sends.
func TestClientsMakeNoLabels(t *testing.T) {
	t.Parallel()
	reader := metric.NewManualReader()
	h, err := telemetry.NewHTTP(metric.NewMeterProvider(metric.WithReader(reader)), nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 1000 {
		r := get(t, fmt.Sprintf("/x/%d", i))
		r.Method = fmt.Sprintf("X%d", i)
		ctx, request := h.Begin(r, "")
		if ctx != r.Context() {
			t.Fatal("another context without a tracer")
		}
		request.End(404)
	}
	got := telemetrytest.Collect(t, reader)
	if all := got[telemetry.Requests]; len(all) != 1 || all[0].Value != 1000 || all[0].Labels["http.request.method"] != "_OTHER" {
		t.Errorf("%+v", all)
	}
}
