package httpapi_test

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/e0ff5a15/mollifier/explain"
	"github.com/e0ff5a15/mollifier/run"
)

func (o *overrides) Explain(_ context.Context, environment string, id run.ID) (explain.Explanation, error) {
	o.asked = []any{environment, id.String()}
	return explain.Explanation{Summary: "it is so", Node: "node_1"}, o.failed
}

func (o *overrides) ExplainKey(_ context.Context, environment, task, key string) (explain.Explanation, error) {
	o.asked = []any{environment, task, key}
	return explain.Explanation{Summary: "it is held", Node: "node_1"}, o.failed
}

// An explanation is asked for by a run's id, in whatever environment or in one, or by
// a key.
func TestExplain(t *testing.T) {
	t.Parallel()
	for path, asked := range map[string][]any{
		"/" + id1.String(): {"", id1.String()},
		"/" + id1.String() + "?environment=acme/prod": {"env_prod", id1.String()},
		"?environment=env_prod&task=t%2F1&key=a%20b":  {"env_prod", "t/1", "a b"},
	} {
		w := &worker{}
		rec := admin(t, w, request(http.MethodGet, "/admin/v1/explain"+path, "", ""))
		if rec.Code != 200 || !strings.Contains(rec.Body.String(), `"summary":"it is`) {
			t.Errorf("%s: %d %s", path, rec.Code, rec.Body)
		}
		if diff := cmp.Diff(asked, w.asked); diff != "" {
			t.Errorf("%s: %s", path, diff)
		}
	}
	for path, want := range map[string]int{
		"/a%2Fb": 404, "/" + id1.String() + "?environment=env_typo": 404, "?environment=env_typo&task=t&key=k": 404,
	} {
		if rec := admin(t, &worker{}, request(http.MethodGet, "/admin/v1/explain"+path, "", "")); rec.Code != want {
			t.Errorf("%s: %d %s", path, rec.Code, rec.Body)
		}
	}
	w := &worker{}
	w.failed = run.ErrNotFound
	if rec := admin(t, w, request(http.MethodGet, "/admin/v1/explain/"+id1.String(), "", "")); rec.Code != 404 {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
}
