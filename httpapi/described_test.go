package httpapi_test

import (
	"encoding/json"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/e0ff5a15/mollifier/httpapi"
)

// judge holds a recorded body against the schema at a place of the description.
func judge(t *testing.T, c *jsonschema.Compiler, what string, v any, place ...string) {
	t.Helper()
	for i := range place {
		place[i] = url.PathEscape(strings.NewReplacer("~", "~0", "/", "~1").Replace(place[i]))
	}
	schema, err := c.Compile("openapi.json#/" + strings.Join(place, "/"))
	if err == nil {
		err = schema.Validate(v)
	}
	if err != nil {
		t.Errorf("%s: %v", what, err)
	}
}

// What a node serves describes every request and answer that was recorded from the
// SDK and a node.
func TestRecordedAsDescribed(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	rec := w.do(request(http.MethodGet, "/openapi.json", "", ""))
	if rec.Code != 200 {
		t.Fatalf("%d", rec.Code)
	}
	if text, err := httpapi.Describe(""); err != nil || string(text) != rec.Body.String() {
		t.Errorf("the served description is another: %v", err)
	}
	var doc struct {
		Paths map[string]map[string]struct {
			RequestBody *struct{}
		}
	}
	if err := json.Unmarshal(rec.Body.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	whole, err := jsonschema.UnmarshalJSON(rec.Body)
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("openapi.json", whole); err != nil {
		t.Fatal(err)
	}
	type path struct {
		text    string
		pattern *regexp.Regexp
	}
	var paths []path
	for text := range doc.Paths {
		pattern := regexp.MustCompile(`\\\{\w+\\\}`).ReplaceAllString(regexp.QuoteMeta(text), `[^/]+`)
		paths = append(paths, path{text, regexp.MustCompile("^" + pattern + "$")})
	}
	judged := 0
	err = filepath.WalkDir("../test/sdk/recorded", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(name, ".json") {
			return err
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		for _, e := range exchanges(t, name, text) {
			where, _, _ := strings.Cut(e.Request.Path, "?")
			for _, p := range paths {
				method := strings.ToLower(e.Request.Method)
				op, ok := doc.Paths[p.text][method]
				if !ok || !p.pattern.MatchString(where) {
					continue
				}
				what := filepath.Base(name) + " " + e.Request.Method + " " + where
				if op.RequestBody != nil && e.Answer.Status < 400 && isObject(e.Request.Body) {
					judge(t, c, what+": request", e.Request.Body, "paths", p.text, method, "requestBody", "content", "application/json", "schema")
					judged++
				}
				if e.Answer.Status == http.StatusOK && isObject(e.Answer.Body) {
					judge(t, c, what+": answer", e.Answer.Body, "paths", p.text, method, "responses", "200", "content", "application/json", "schema")
					judged++
				}
				if e.Answer.Status >= 400 {
					judge(t, c, what+": problem", e.Answer.Body, "paths", p.text, method, "responses", "default", "content", "application/problem+json", "schema")
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if judged < 30 {
		t.Errorf("only %d bodies were judged", judged)
	}
}

func isObject(v any) bool {
	_, ok := v.(map[string]any)
	return ok
}

// exchange is a recorded request with its answer.
type exchange struct {
	Request struct {
		Method, Path string
		Body         any
	}
	Answer struct {
		Status int
		Body   any
	} `json:"response"`
}

func exchanges(t *testing.T, name string, text []byte) []exchange {
	t.Helper()
	var many []exchange
	if json.Unmarshal(text, &many) == nil {
		return many
	}
	var file struct{ Exchanges []exchange }
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if file.Exchanges != nil {
		return file.Exchanges
	}
	var one exchange
	if err := json.Unmarshal(text, &one); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return []exchange{one}
}
