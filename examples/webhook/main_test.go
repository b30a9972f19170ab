package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/e0ff5a15/mollifier/mollifiertest"
)

func TestMain(m *testing.M) { mollifiertest.Main(m) }

// send delivers a webhook to a node and returns the status and the run.
func send(t *testing.T, node *mollifiertest.Node, event, body, secret string) (int, string) {
	t.Helper()
	in := &Intake{Engine: node.Engine, Secrets: map[string][]byte{"shop": []byte("hush")}}
	r := httptest.NewRequestWithContext(t.Context(), "POST", "/hooks/shop", strings.NewReader(body))
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(body))
	r.Header.Set("X-Signature-256", hex.EncodeToString(mac.Sum(nil)))
	r.Header.Set("X-Event-Id", event)
	w := httptest.NewRecorder()
	in.Handler().ServeHTTP(w, r)
	return w.Code, w.Header().Get("X-Run-Id")
}

// A webhook that is repeated is one run: on another node, in a storm, after a crash.
func TestRepeatsAreOneRun(t *testing.T) {
	t.Parallel()
	stores := mollifiertest.NewStores(t)
	a, b := stores.Start(t), stores.Start(t)
	a.Mollify(t, "prod")
	status, first := send(t, a, "evt_1", `{"total":7}`, "hush")
	if status != http.StatusAccepted || first == "" {
		t.Fatalf("%d %s", status, first)
	}
	a.Crash()
	for _, n := range []*mollifiertest.Node{b, stores.Start(t)} {
		if status, again := send(t, n, "evt_1", `{"total":7}`, "hush"); status != http.StatusAccepted || again != first {
			t.Errorf("%d %s, want %s", status, again, first)
		}
	}
	_, other := send(t, b, "evt_2", `{"total":7}`, "hush")
	_, nameless := send(t, b, "", `{"total":7}`, "hush")
	_, repeated := send(t, b, "", `{"total":7}`, "hush")
	if other == first || nameless == first || nameless == other || repeated != nameless {
		t.Errorf("%s, %s, %s, %s", first, other, nameless, repeated)
	}
	if status, id := send(t, b, "evt_3", `{}`, "guessed"); status != http.StatusUnauthorized || id != "" {
		t.Errorf("%d %s for a false signature", status, id)
	}
	stores.RequireDrained(t)
	if n := stores.Count(t, "select count(*) from runs"); n != 3 {
		t.Errorf("%d runs", n)
	}
}
