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
	filter, page, turns, err := parseList(query, a.Now(), c.oldVocabulary())
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
	return a.listed(c, runs, turns, !page.Before.IsZero())
}

// listed answers a page that was asked for with so many turns; up says that it was
// asked for towards newer runs.
func (a *api) listed(c *call, runs fallback.Page, turns int, up bool) (reply, error) {
	out := listAnswer{Data: []listItem{}}
	next := turns
	if up {
		next++ // to go on from here means to turn round
	}
	for i := range runs.Runs {
		item := listItem{viewRelated(&runs.Runs[i], a.Now()), environmentView{c.env.ID, c.env.Name}}
		if c.oldVocabulary() {
			item.oldVocabulary()
		}
		out.Data = append(out.Data, item)
	}
	out.Pagination = pagination{Next: cursor(runs.Next, next), Previous: cursor(runs.Previous, turns)}
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

// storable reports whether a store can hold the text.
func storable(text string) bool { return utf8.ValidString(text) && !strings.ContainsRune(text, 0) }

// A cursor is the id of a run. Clients that page on from a page they paged back to
// send both the cursor that they follow and the one that they followed before, so the
// fresh one must be known by itself: of two, page[before] counts, unless page[after]
// has more turns, which is how often its client turned round to older runs. Only then
// are they told, behind a dot.
const maxTurns = 1 << 20

func cursor(id run.ID, turns int) string {
	switch {
	case id.IsZero():
		return ""
	case turns == 0:
		return id.String()
	}
	return id.String() + "." + strconv.Itoa(min(turns, maxTurns))
}

func parseCursor(text string) (id run.ID, turns int, err error) {
	text, suffix, turned := strings.Cut(text, ".")
	if turned {
		if turns, err = strconv.Atoi(suffix); err != nil || turns < 1 || turns > maxTurns {
			return run.ID{}, 0, run.ErrBadID
		}
	}
	id, err = run.ParseID(text)
	return id, turns, err
}

// parsePage reads which page of the list is asked for.
func parsePage(q url.Values) (p runstore.Page, turns int, err error) {
	p.Limit = defaultPage
	if text := q.Get("page[size]"); text != "" {
		if p.Limit, err = strconv.Atoi(text); err != nil || p.Limit < 1 || p.Limit > maxPage {
			return p, 0, malformed("page[size]", "from 1 to "+strconv.Itoa(maxPage))
		}
	}
	after, before := 0, 0
	for _, c := range []struct {
		name  string
		id    *run.ID
		turns *int
	}{{"page[after]", &p.After, &after}, {"page[before]", &p.Before, &before}} {
		if text := q.Get(c.name); text != "" {
			if *c.id, *c.turns, err = parseCursor(text); err != nil {
				return p, 0, malformed(c.name, "must be a cursor of an earlier page")
			}
		}
	}
	if !p.Before.IsZero() && !p.After.IsZero() {
		if after > before {
			p.Before = run.ID{}
		} else {
			p.After = run.ID{}
		}
	}
	return p, max(after, before), nil
}

// parseList reads the query of a list. The error names the parameter.
func parseList(q url.Values, now time.Time, old bool) (f runstore.Filter, p runstore.Page, turns int, err error) {
	for name, values := range q {
		for _, text := range values {
			if !storable(text) {
				return f, p, 0, malformed(strings.ToValidUTF8(name, "?"), "must be valid UTF-8 without a NUL character")
			}
		}
	}
	if p, turns, err = parsePage(q); err != nil {
		return f, p, 0, err
	}
	for _, text := range listOf(q, "filter[status]") {
		status := run.Status(text)
		if old && oldStatuses[text] != "" {
			status = oldStatuses[text]
		}
		if !status.Valid() {
			return f, p, 0, malformed("filter[status]", "must be statuses of a run")
		}
		f.Statuses = append(f.Statuses, status)
		if old && status == run.Executing {
			f.Statuses = append(f.Statuses, run.Dequeued)
		}
	}
	f.Tasks, f.Versions = listOf(q, "filter[taskIdentifier]"), listOf(q, "filter[version]")
	f.Tags, f.Regions = listOf(q, "filter[tag]"), listOf(q, "filter[region]")
	f.Machines = listOf(q, "filter[machine]")
	for _, name := range listOf(q, "filter[queue]") {
		f.Queues = append(f.Queues, name)
		if kept := queueName(name); kept != name && kept != "" {
			f.Queues = append(f.Queues, kept) // as a trigger has kept it
		}
	}
	f.Batch, f.BulkAction = q.Get("filter[batch]"), q.Get("filter[bulkAction]")
	for _, machine := range f.Machines {
		if !slices.Contains(run.Machines[:], machine) {
			return f, p, 0, malformed("filter[machine]", "one of "+strings.Join(run.Machines[:], ", "))
		}
	}
	if text := q.Get("filter[isTest]"); text != "" {
		if text != "true" && text != "false" {
			return f, p, 0, malformed("filter[isTest]", "must be true or false")
		}
		test := text == "true"
		f.Test = &test
	}
	return f, p, turns, parseWhen(q, now, &f)
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
