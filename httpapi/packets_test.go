package httpapi_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/e0ff5a15/mollifier/httpapi"
	"github.com/e0ff5a15/mollifier/packet"
	"github.com/e0ff5a15/mollifier/run"
)

const packetName = "trigger/packet_123456789abcdefghijkm/payload.json"

// withDisk keeps packets on a disk.
func withDisk(t *testing.T) func(*httpapi.Config) {
	t.Helper()
	d, err := packet.OpenDisk(t.Context(), packet.DiskConfig{Dir: t.TempDir(), Secret: []byte("0123456789abcdef"), Quota: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	// One packet is there from the beginning.
	signed, err := d.Upload(t.Context(), "", "env_prod", "there")
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(signed)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Store("env_prod", "there", u.Query(), "text/plain", 5, strings.NewReader("canar")); err != nil {
		t.Fatal(err)
	}
	return func(c *httpapi.Config) { c.Packets = d }
}

// raw sends a request as it stands, and returns the answer.
func raw(t *testing.T, method, url, key, kind, body string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	req.Header.Set("Content-Type", kind)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(text)
}

// A large payload as the SDK sends it: a URL, an upload, a trigger that names it;
// and back from the run.
func TestOffloadedPayload(t *testing.T) {
	t.Parallel()
	w := newWire(t, withDisk(t))
	at := "http://" + serve(t, w, httpapi.Limits{})
	path := at + "/api/v2/packets/" + url.PathEscape(packetName)
	var made struct{ PresignedURL, StoragePath string }
	res, text := raw(t, http.MethodPut, path, prodKey, "application/json", "")
	if err := json.Unmarshal([]byte(text), &made); err != nil || res.StatusCode != http.StatusOK || made.StoragePath != packetName || !strings.HasPrefix(made.PresignedURL, at+"/packets/env_prod/") {
		t.Fatalf("%d %s", res.StatusCode, text)
	}
	payload := `{"json":"` + strings.Repeat("x", 300_000) + `"}`
	for range 2 { // a client that lost the answer
		if res, text := raw(t, http.MethodPut, made.PresignedURL, "", "application/super+json", payload); res.StatusCode != http.StatusOK || text != "{}" {
			t.Fatalf("%d %s", res.StatusCode, text)
		}
	}
	got := w.trigger(prodKey, fmt.Sprintf(`{"payload":%q,"options":{"payloadType":"application/store"}}`, made.StoragePath))
	if string(got.Payload) != packetName {
		t.Errorf("payload %q", got.Payload)
	}
	w.withRun(id1, func(r *run.Run) { r.Trigger.Payload, r.Trigger.PayloadType = got.Payload, got.PayloadType })
	var view struct{ PayloadPresignedURL, OutputPresignedURL, Payload string }
	_, text = raw(t, http.MethodGet, at+"/api/v3/runs/"+id1.String(), prodKey, "application/json", "")
	if err := json.Unmarshal([]byte(text), &view); err != nil || view.Payload != "" || view.OutputPresignedURL != "" {
		t.Fatalf("%s", text)
	}
	for _, from := range []string{at + "/api/v1/packets/" + url.PathEscape(packetName), at + "/api/v1/runs/" + id1.String() + "/packets/payload"} {
		made.PresignedURL = ""
		_, text := raw(t, http.MethodGet, from, prodKey, "application/json", "")
		if err := json.Unmarshal([]byte(text), &made); err != nil {
			t.Fatalf("%s", text)
		}
		for _, u := range []string{made.PresignedURL, view.PayloadPresignedURL} {
			res, text := raw(t, http.MethodGet, u, "", "", "")
			if res.StatusCode != http.StatusOK || text != payload || res.Header.Get("Content-Type") != "application/super+json" || res.ContentLength != int64(len(payload)) {
				t.Errorf("%d %s, %d bytes", res.StatusCode, res.Header.Get("Content-Type"), len(text))
			}
		}
	}

	// Everything else is refused, and says nothing.
	for what, c := range map[string]struct {
		method, url, key string
		status           int
	}{
		"another environment":   {http.MethodGet, at + "/api/v1/packets/" + url.PathEscape(packetName), devKey, 404},
		"a packet that is not":  {http.MethodGet, at + "/api/v1/packets/none", prodKey, 404},
		"no key":                {http.MethodPut, path, "", 401},
		"a path that leads out": {http.MethodPut, at + "/api/v2/packets/" + url.PathEscape("../../x"), prodKey, 400},
		"the other method":      {http.MethodPut, view.PayloadPresignedURL, "", 403},
		"a cut signature":       {http.MethodGet, view.PayloadPresignedURL[:len(view.PayloadPresignedURL)-1], "", 403},
		"no output":             {http.MethodGet, at + "/api/v1/runs/" + id1.String() + "/packets/output", prodKey, 404},
		"no such field":         {http.MethodGet, at + "/api/v1/runs/" + id1.String() + "/packets/input", prodKey, 404},
	} {
		if res, text := raw(t, c.method, c.url, c.key, "", ""); res.StatusCode != c.status {
			t.Errorf("%s: %d %s", what, res.StatusCode, text)
		}
	}
	_, text = raw(t, http.MethodPut, at+"/api/v2/packets/large", prodKey, "", "")
	if err := json.Unmarshal([]byte(text), &made); err != nil {
		t.Fatal(err)
	}
	if res, text := raw(t, http.MethodPut, made.PresignedURL, "", "", strings.Repeat("x", 2<<20)); res.StatusCode != http.StatusTooManyRequests || !strings.Contains(text, "quota") {
		t.Errorf("over the quota: %d %s", res.StatusCode, text)
	}
	if log := w.log.String(); strings.Contains(log, "signature") || strings.Contains(log, "packet_") {
		t.Errorf("a signed URL is logged: %s", log)
	}
}

// The URL is that of the outside.
func TestPublicURL(t *testing.T) {
	t.Parallel()
	const path = "/api/v2/packets/a"
	if got := member(t, newWire(t, withDisk(t), func(c *httpapi.Config) { c.PublicURL = "https://outside/prefix" }).do(request(http.MethodPut, path, prodKey, "")), "presignedUrl"); !strings.HasPrefix(got, "https://outside/prefix/packets/") {
		t.Error(got)
	}
	r := request(http.MethodPut, path, prodKey, "")
	r.Header.Set("X-Forwarded-Proto", "https")
	r.Host = "api.example"
	if got := member(t, newWire(t, withDisk(t)).do(r), "presignedUrl"); !strings.HasPrefix(got, "https://api.example/packets/") {
		t.Error(got)
	}
	newWire(t).refused(request(http.MethodPut, path, prodKey, ""), http.StatusNotFound, "Not found")
}
