package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// collector is where a node sends its spans: what it was sent, and its URL.
func collector(t *testing.T) (sent func() string, url string) {
	t.Helper()
	var mu sync.Mutex
	var all strings.Builder
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.URL.Path != "/v1/traces" {
			t.Errorf("%s: %v", r.URL.Path, err)
		}
		mu.Lock()
		defer mu.Unlock()
		all.Write(body)
	}))
	t.Cleanup(server.Close)
	return func() string {
		mu.Lock()
		defer mu.Unlock()
		return all.String()
	}, server.URL
}

// Metrics are on the admin listener alone, in a form that Prometheus reads, with
// those of the process beside the engine's.
func TestMetricsOfANode(t *testing.T) {
	t.Parallel()
	stores, _ := sharedStores(t)
	data := folder(t)
	// A collector that is not there costs spans and no trigger.
	node := startNode(t, data, append(stores, "-otlp", "http://127.0.0.1:9", "-otlp-sample", "1", "-stop-timeout", "5s")...)
	i, c := info(t, data), client(t)
	answered(t)(trigger(t.Context(), c, i.HTTP, i.Environments[0].Key, "order-1"))
	status, text := call(t, c, http.MethodGet, i.Admin+metricsPath, "", "")
	if status != http.StatusOK {
		t.Fatalf("%d %s", status, text)
	}
	for _, line := range []string{
		"mollifier_triggers_total 1",
		`mollifier_triggers_answered_total{identity="confirmed",outcome="created",state="materialised"} 1`,
		`mollifier_batch_items_count{writer="settles"} 1`,
		`http_server_request_duration_seconds_count{http_request_method="POST",http_response_status_code="200",http_route="/api/v1/tasks/{taskId}/trigger"} 1`,
		`mollifier_store_breaker{state="closed",store="redis"} 1`,
		"go_goroutines ", "process_resident_memory_bytes ", "go_gc_pauses_seconds_count ", "go_sched_latencies_seconds_count ",
		`service_name="mollifier"`,
	} {
		if !strings.Contains(text, line) {
			t.Errorf("no %s in\n%s", line, text)
		}
	}
	if status, _ := call(t, c, http.MethodGet, i.HTTP+metricsPath, i.Environments[0].Key, ""); status != http.StatusNotFound {
		t.Errorf("metrics on the public listener: %d", status)
	}
	node.stop(t)
	if log := node.stderr.String(); !strings.Contains(log, "spans could not be sent") || strings.Contains(log, "127.0.0.1:9") {
		t.Errorf("the log is\n%s", log)
	}
}
