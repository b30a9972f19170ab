package main

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

// A name that leads to loopback does not open the admin listener to another site's page.
func TestAdminAnswersByAddress(t *testing.T) {
	t.Parallel()
	served := byAddress(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	for host, want := range map[string]int{
		"127.0.0.1:8031": http.StatusOK, "127.0.0.1": http.StatusOK, "localhost:9000": http.StatusOK,
		"[::1]:8031": http.StatusOK, "[::1]": http.StatusOK, "10.1.2.3:80": http.StatusOK,
		"evil.example:8031": http.StatusMisdirectedRequest, "evil.example": http.StatusMisdirectedRequest,
		"127.0.0.1.evil.example:1": http.StatusMisdirectedRequest, "localhost.evil.example": http.StatusMisdirectedRequest,
		"": http.StatusMisdirectedRequest, "[]": http.StatusMisdirectedRequest,
	} {
		rec := httptest.NewRecorder()
		req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/admin/v1/stats", nil)
		req.Host = host
		served.ServeHTTP(rec, req)
		if rec.Code != want {
			t.Errorf("%q: status %d, want %d", host, rec.Code, want)
		}
	}
}
