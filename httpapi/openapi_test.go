package httpapi_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/e0ff5a15/mollifier/httpapi"
)

func TestDescription(t *testing.T) {
	t.Parallel()
	text, err := httpapi.Describe("1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	type schema struct {
		Ref        string `json:"$ref"`
		Type       any
		Required   []string
		Properties map[string]json.RawMessage
	}
	var doc struct {
		OpenAPI string
		Info    struct{ Version string }
		Paths   map[string]map[string]struct {
			RequestBody struct {
				Content map[string]struct{ Schema schema }
			}
			Responses map[string]struct {
				Content map[string]struct{ Schema schema }
			}
		}
		Components struct{ Schemas map[string]schema }
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	if strings.Count(string(text), `"null"`) != 1 { // externalDeploymentId, of a request
		t.Errorf("nulls in %s", text)
	}
	if doc.OpenAPI != "3.1.0" || doc.Info.Version != "1.2.3" {
		t.Errorf("%s %s", doc.OpenAPI, doc.Info.Version)
	}
	resolve := func(s schema) schema {
		return doc.Components.Schemas[strings.TrimPrefix(s.Ref, "#/components/schemas/")]
	}

	// Every path of the document is routed: without a key it is 401 or 200, not 404; a
	// packet's URL without its signature is 403.
	for path, methods := range doc.Paths {
		for method := range methods {
			r := request(strings.ToUpper(method), strings.NewReplacer("{", "", "}", "").Replace(path), "", `{}`)
			if rec := newWire(t, withDisk(t)).do(r); rec.Code != http.StatusOK && rec.Code != http.StatusUnauthorized &&
				(rec.Code != http.StatusForbidden || !strings.HasPrefix(path, "/packets/")) {
				t.Errorf("%s %s: %d", method, path, rec.Code)
			}
		}
	}

	trigger := doc.Paths["/api/v1/tasks/{taskId}/trigger"]["post"]
	body := resolve(trigger.RequestBody.Content["application/json"].Schema)
	var options schema
	if err := json.Unmarshal(body.Properties["options"], &options); err != nil {
		t.Fatal(err)
	}
	if options = resolve(options); len(options.Required) != 0 || len(options.Properties) != 30 {
		t.Errorf("options: required %v, %d properties", options.Required, len(options.Properties))
	}
	if got := string(body.Properties["payload"]); got != `{}` {
		t.Errorf("payload is %s", got)
	}

	// Every field of an answered run is described, and what is required is there.
	view := resolve(doc.Paths["/api/v3/runs/{runId}"]["get"].Responses["200"].Content["application/json"].Schema)
	answered, _ := newWire(t).get(plainRun())
	for name := range answered {
		if _, ok := view.Properties[name]; !ok {
			t.Errorf("%s is not described", name)
		}
	}
	for _, name := range view.Required {
		if _, ok := answered[name]; !ok {
			t.Errorf("%s is required but absent", name)
		}
	}
	for _, name := range []string{"id", "status", "isCompleted", "tags", "relatedRuns", "createdAt"} {
		if !slices.Contains(view.Required, name) {
			t.Errorf("%s is not required", name)
		}
	}
}
