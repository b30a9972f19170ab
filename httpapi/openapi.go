package httpapi

import (
	"cmp"
	"maps"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/e0ff5a15/mollifier/run"
)

// Describe returns the OpenAPI 3.1 document of the public handler as JSON. It
// is made from the same list of operations and the same Go types that serve
// the requests, so it can not name a route or a field that is not there.
func Describe(version string) ([]byte, error) {
	registry := huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer)
	registry.RegisterTypeAlias(reflect.TypeFor[jsontext.Value](), reflect.TypeFor[anyValue]())
	registry.RegisterTypeAlias(reflect.TypeFor[date](), reflect.TypeFor[time.Time]())
	doc := &huma.OpenAPI{
		OpenAPI: "3.1.0",
		Info:    &huma.Info{Title: "Mollifier", Version: version},
		Components: &huma.Components{
			Schemas:         registry,
			SecuritySchemes: map[string]*huma.SecurityScheme{"key": {Type: "http", Scheme: "bearer"}},
		},
	}
	for _, op := range (&api{}).operations() {
		doc.AddOperation(op.describe(registry))
	}
	for _, schema := range registry.Map() {
		if schema.Type == huma.TypeObject {
			schema.AdditionalProperties = true // requests: dropped; answers: clients must bear more
		}
		// What the wire promises: absent, or there, and never null.
		for _, property := range schema.Properties {
			if property.Type == huma.TypeArray {
				property.Nullable = false
			}
		}
	}
	return doc.MarshalJSON()
}

func (op *operation) describe(r huma.Registry) *huma.Operation {
	success, kind := strconv.Itoa(cmp.Or(op.success, http.StatusOK)), "application/json"
	if op.stream {
		kind = typeLines
	}
	out := &huma.Operation{
		OperationID: op.id, Method: op.method, Path: op.path, Summary: op.summary,
		Responses: map[string]*huma.Response{
			success:   {Description: "Success", Content: content("application/json", r, op.answer), Headers: map[string]*huma.Header{}},
			"default": {Description: "Problem", Content: content("application/problem+json", r, reflect.TypeFor[problem]())},
		},
	}
	for _, name := range op.answerHeader {
		out.Responses[success].Headers[name] = &huma.Header{Schema: &huma.Schema{Type: huma.TypeString}}
	}
	for _, match := range regexp.MustCompile(`\{(\w+)\}`).FindAllStringSubmatch(op.path, -1) {
		out.Parameters = append(out.Parameters, parameter("path", match[1], true))
	}
	for _, name := range op.query {
		out.Parameters = append(out.Parameters, parameter("query", name, false))
	}
	for _, name := range op.requestHeader {
		out.Parameters = append(out.Parameters, parameter("header", name, false))
	}
	if op.request != nil {
		out.RequestBody = &huma.RequestBody{Required: op.write, Content: content(kind, r, op.request)}
	}
	if !op.open {
		out.Security = []map[string][]string{{"key": {}}}
	}
	for _, status := range op.refusals() {
		out.Responses[strconv.Itoa(status)] = &huma.Response{
			Description: http.StatusText(status), Content: out.Responses["default"].Content,
		}
	}
	return out
}

// refusals are the statuses that an operation may refuse with, by what is checked
// before and in it.
func (op *operation) refusals() []int {
	list := []int{http.StatusServiceUnavailable}
	if op.open {
		return list
	}
	list = append(list, http.StatusUnauthorized, http.StatusInternalServerError)
	if op.scope != "" {
		list = append(list, http.StatusForbidden)
	}
	if strings.Contains(op.path, "{") {
		list = append(list, http.StatusNotFound)
	}
	if op.request != nil {
		list = append(list, http.StatusRequestTimeout, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity, http.StatusTooManyRequests)
	}
	if op.request != nil || len(op.query) > 0 {
		list = append(list, http.StatusBadRequest)
	}
	return list
}

func content(kind string, r huma.Registry, t reflect.Type) map[string]*huma.MediaType {
	return map[string]*huma.MediaType{kind: {Schema: r.Schema(t, true, "")}}
}

func parameter(in, name string, required bool) *huma.Param {
	return &huma.Param{Name: name, In: in, Required: required, Schema: &huma.Schema{Type: huma.TypeString}}
}

// anyValue stands for raw JSON of any kind.
type anyValue struct{}

// Schema implements huma.SchemaProvider, as all below do.
func (anyValue) Schema(huma.Registry) *huma.Schema { return &huma.Schema{} }

func (field[T]) Schema(r huma.Registry) *huma.Schema { return r.Schema(reflect.TypeFor[T](), true, "") }

func (number) Schema(huma.Registry) *huma.Schema { return &huma.Schema{Type: huma.TypeNumber} }

func (integer) Schema(huma.Registry) *huma.Schema { return &huma.Schema{Type: huma.TypeInteger} }

func (nullableText) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Nullable: true}
}

func (textOrNumber) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{OneOf: []*huma.Schema{{Type: huma.TypeString}, {Type: huma.TypeNumber}}}
}

func (texts) Schema(huma.Registry) *huma.Schema {
	text := &huma.Schema{Type: huma.TypeString}
	return &huma.Schema{OneOf: []*huma.Schema{text, {Type: huma.TypeArray, Items: text}}}
}

// TransformSchema implements huma.SchemaTransformer: nothing in it is required.
func (triggerBody) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	return allOptional(s)
}

// TransformSchema implements huma.SchemaTransformer: nothing in it is required.
func (triggerOptions) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	s.Properties["machine"].Enum = values(run.Machines[:])
	return allOptional(s)
}

// TransformSchema implements huma.SchemaTransformer.
func (relatedView) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	return withStatuses(s)
}

// TransformSchema implements huma.SchemaTransformer: the generator leaves out
// what an unexported type embeds.
func (runView) TransformSchema(r huma.Registry, s *huma.Schema) *huma.Schema {
	return withCommon(r, s)
}

// TransformSchema implements huma.SchemaTransformer, as for a runView.
func (listItem) TransformSchema(r huma.Registry, s *huma.Schema) *huma.Schema {
	return withCommon(r, s)
}

func withCommon(r huma.Registry, s *huma.Schema) *huma.Schema {
	common := huma.SchemaFromType(r, reflect.TypeFor[relatedView]())
	delete(s.Properties, "relatedView")
	maps.Copy(s.Properties, common.Properties)
	s.Required = append(s.Required, common.Required...)
	return withStatuses(s)
}

// TransformSchema implements huma.SchemaTransformer.
func (listAnswer) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	return withStatuses(s)
}

// TransformSchema implements huma.SchemaTransformer: nothing in it is required.
func (metadataBody) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	return allOptional(s)
}

// TransformSchema implements huma.SchemaTransformer: nothing in it is required.
func (replayBody) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	return allOptional(s)
}

// TransformSchema implements huma.SchemaTransformer.
func (batchView) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	s.Properties["status"].Enum = values([]run.BatchStatus{
		run.BatchPending, run.BatchProcessing, run.BatchCompleted, run.BatchPartialFailed, run.BatchAborted,
	})
	return s
}

// TransformSchema implements huma.SchemaTransformer.
func (relatedRuns) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	return withStatuses(s)
}

func allOptional(s *huma.Schema) *huma.Schema {
	s.Required = nil
	return withStatuses(s)
}

// withStatuses names the statuses of a run where there is one.
func withStatuses(s *huma.Schema) *huma.Schema {
	if status := s.Properties["status"]; status != nil {
		status.Enum = values(run.Statuses[:])
	}
	return s
}

func values[T any](list []T) []any {
	out := make([]any, 0, len(list))
	for v := range slices.Values(list) {
		out = append(out, v)
	}
	return out
}
