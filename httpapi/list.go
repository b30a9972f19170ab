package httpapi

import (
	"context"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/e0ff5a15/mollifier/fallback"
	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/runstore"
)

// headerPartial says that a list lacks the runs that are only in the buffer,
// because the buffer gave no answer.
const headerPartial = "Mollifier-Partial"

const (
	defaultPage = 25
	maxPage     = 100
)

// listQuery are the parameters of a list.
var listQuery = []string{
	"page[size]", "page[after]", "page[before]",
	"filter[status]", "filter[taskIdentifier]", "filter[version]", "filter[tag]", "filter[region]", "filter[queue]",
	"filter[machine]", "filter[isTest]", "filter[batch]", "filter[schedule]", "filter[bulkAction]",
	"filter[createdAt][from]", "filter[createdAt][to]", "filter[createdAt][period]",
}

// listItem is a run in a list.
type listItem struct {
	relatedView `json:",inline"`
	Env         environmentView `json:"env"`
}

type environmentView struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

type listAnswer struct {
	Data       []listItem `json:"data"`
	Pagination pagination `json:"pagination"`
}

type pagination struct {
	Next     string `json:"next,omitzero"`
	Previous string `json:"previous,omitzero"`
}

func (a *api) runOperations() []operation {
	return []operation{
		{
			method: http.MethodGet, path: "/api/v3/runs/{runId}", do: a.retrieve,
			id: "retrieveRun", summary: "Read a run", scope: "read:runs",
			answer: reflect.TypeFor[runView](), answerHeader: []string{headerAlias, headerPartial},
		},
		{
			method: http.MethodGet, path: "/api/v1/runs/{runId}", do: a.retrieve,
			id: "retrieveRunV1", summary: "As retrieveRun, for older clients", scope: "read:runs",
			answer: reflect.TypeFor[runView](), answerHeader: []string{headerAlias, headerPartial},
		},
		{
			method: http.MethodGet, path: "/api/v1/runs", do: a.list,
			id: "listRuns", summary: "List runs", scope: "read:runs", query: listQuery,
			answer: reflect.TypeFor[listAnswer](), answerHeader: []string{headerPartial},
		},
		{
			method: http.MethodGet, path: "/api/v1/projects/{projectRef}/runs", do: a.list,
			id: "listProjectRuns", summary: "List runs: a key opens one environment, so whatever the project is called", scope: "read:runs",
			query:  append(slices.Clone(listQuery), "filter[env]"),
			answer: reflect.TypeFor[listAnswer](), answerHeader: []string{headerPartial},
		},
		{
			method: http.MethodGet, path: "/api/v1/runs/{runId}/result", do: a.result,
			id: "runResult", summary: "Read what a run came to; 404 until it has ended", scope: "read:runs",
			answer: reflect.TypeFor[resultAnswer](), answerHeader: []string{headerAlias},
		},
	}
}

// list answers GET /api/v1/runs.
func (a *api) list(ctx context.Context, c *call) (reply, error) {
	query, err := url.ParseQuery(c.URL.RawQuery)
	if err != nil {
		return reply{}, queryError(malformed("query", "must be encoded as a URL's query is"))
	}
	filter, page, err := parseList(query, a.Now(), c.oldVocabulary())
	if err != nil {
		return reply{}, queryError(err)
	}
	if err := c.permitList(&filter); err != nil {
		return reply{}, err
	}
	out := listAnswer{Data: []listItem{}}
	if query.Get("filter[schedule]") != "" || !inEnvironments(c, listOf(query, "filter[env]")) {
		return answer(out) // no run has a schedule, and a key opens one environment
	}
	runs, err := a.Engine.List(ctx, c.env.ID, filter, page)
	if err != nil {
		return reply{}, err
	}
	return a.listed(c, runs)
}

func (a *api) listed(c *call, runs fallback.Page) (reply, error) {
	out := listAnswer{Data: []listItem{}}
	for i := range runs.Runs {
		item := listItem{viewRelated(&runs.Runs[i], a.Now()), environmentView{c.env.ID, c.env.Name}}
		if c.oldVocabulary() {
			item.oldVocabulary()
		}
		out.Data = append(out.Data, item)
	}
	if !runs.Next.IsZero() {
		out.Pagination.Next = runs.Next.String()
	}
	if !runs.Previous.IsZero() {
		out.Pagination.Previous = runs.Previous.String()
	}
	re, err := answer(out)
	if err == nil && runs.Partial {
		re.header.Set(headerPartial, "true")
	}
	return re, err
}

// inEnvironments reports whether a list by environments, named by name, type or
// id, has that of the key.
func inEnvironments(c *call, names []string) bool {
	e := &c.env
	return len(names) == 0 || slices.ContainsFunc(names, func(name string) bool {
		return name == e.Name || name == string(e.Type) || name == e.ID
	})
}

// parseList reads the query of a list. The error names the parameter.
func parseList(q url.Values, now time.Time, old bool) (f runstore.Filter, p runstore.Page, err error) {
	p.Limit = defaultPage
	for name, values := range q {
		for _, text := range values {
			if !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
				return f, p, malformed(strings.ToValidUTF8(name, "?"), "must be valid UTF-8 without a NUL character")
			}
		}
	}
	if text := q.Get("page[size]"); text != "" {
		if p.Limit, err = strconv.Atoi(text); err != nil || p.Limit < 1 || p.Limit > maxPage {
			return f, p, malformed("page[size]", "from 1 to "+strconv.Itoa(maxPage))
		}
	}
	for name, id := range map[string]*run.ID{"page[after]": &p.After, "page[before]": &p.Before} {
		if text := q.Get(name); text != "" {
			if *id, err = run.ParseID(text); err != nil {
				return f, p, malformed(name, "must be a cursor of an earlier page")
			}
		}
	}
	if !p.Before.IsZero() {
		p.After = run.ID{} // clients that page back from a page they paged on to send both
	}
	for _, text := range listOf(q, "filter[status]") {
		status := run.Status(text)
		if old && oldStatuses[text] != "" {
			status = oldStatuses[text]
		}
		if !status.Valid() {
			return f, p, malformed("filter[status]", "must be statuses of a run")
		}
		f.Statuses = append(f.Statuses, status)
		if old && status == run.Executing {
			f.Statuses = append(f.Statuses, run.Dequeued)
		}
	}
	f.Tasks, f.Versions = listOf(q, "filter[taskIdentifier]"), listOf(q, "filter[version]")
	f.Tags, f.Regions = listOf(q, "filter[tag]"), listOf(q, "filter[region]")
	f.Queues, f.Machines = listOf(q, "filter[queue]"), listOf(q, "filter[machine]")
	f.Batch, f.BulkAction = q.Get("filter[batch]"), q.Get("filter[bulkAction]")
	for _, machine := range f.Machines {
		if !slices.Contains(run.Machines[:], machine) {
			return f, p, malformed("filter[machine]", "one of "+strings.Join(run.Machines[:], ", "))
		}
	}
	if text := q.Get("filter[isTest]"); text != "" {
		if text != "true" && text != "false" {
			return f, p, malformed("filter[isTest]", "must be true or false")
		}
		test := text == "true"
		f.Test = &test
	}
	return f, p, parseWhen(q, now, &f)
}

// parseWhen reads when the listed runs were made.
func parseWhen(q url.Values, now time.Time, f *runstore.Filter) error {
	for name, at := range map[string]*time.Time{"filter[createdAt][from]": &f.From, "filter[createdAt][to]": &f.To} {
		if text := q.Get(name); text != "" {
			n, err := strconv.ParseInt(text, 10, 64)
			if err != nil || n < 0 || n > 1<<48 {
				return malformed(name, "must be milliseconds since 1970")
			}
			*at = time.UnixMilli(n)
		}
	}
	if text := q.Get("filter[createdAt][period]"); text != "" {
		d, err := parseDuration(text)
		if err != nil {
			return malformed("filter[createdAt][period]", err.Error())
		}
		f.From = now.Add(-d)
	}
	return nil
}

func listOf(q url.Values, name string) (out []string) {
	for text := range strings.SplitSeq(q.Get(name), ",") {
		if text != "" {
			out = append(out, text)
		}
	}
	return out
}
