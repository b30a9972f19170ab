package fallback

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/e0ff5a15/mollifier/buffer"
	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/runstore"
)

// The bounds of one [Reader.List].
const (
	// MaxScanned is the most entries of the buffer that are looked at.
	MaxScanned = 2000
	// chunk is how many of them are read at once.
	chunk = 100
	// MaxLimit is the most runs of a page.
	MaxLimit = 500
)

// Page is a part of a list, newest first.
type Page struct {
	Runs []run.Run
	// Next is the id to go on after, towards older runs, and Previous the one to
	// go on before, towards newer ones; zero where nothing follows. A page may
	// have fewer runs than its limit, even none, and still a Next (or, asked for
	// with Before, a Previous): the list goes on there.
	Next, Previous run.ID
	// Partial: the buffer gave no answer, so runs that are only there are missing.
	Partial bool
}

// List reads a page of an environment's runs, buffered or not, ordered by id in
// descending order: those after p.After (older), or those right before p.Before
// (newer), or the newest. Aliases are not shown: their runs are. The error is
// run.ErrInvalid for a limit out of range, and run.ErrUnavailable without
// Postgres; without the buffer the page is Partial.
func (r *Reader) List(ctx context.Context, environment string, f runstore.Filter, p runstore.Page) (Page, error) {
	if environment == "" {
		return Page{}, &run.InvalidError{Field: "environment", Rule: "must not be empty"}
	}
	if p.Limit < 1 || p.Limit > MaxLimit {
		return Page{}, &run.InvalidError{Field: "limit", Rule: "from 1 to 500"}
	}
	l := lister{r: r, environment: environment, filter: f, limit: p.Limit, at: p.After, oldest: p.Oldest}
	if p.After.IsZero() && !p.Before.IsZero() {
		l.at, l.up = p.Before, true
	}
	if f.Batch != "" {
		var err error
		if l.places, err = r.buffered(ctx, environment, f.Batch); err != nil {
			return Page{}, err
		}
	}
	if err := l.fill(ctx); err != nil {
		return Page{}, err
	}
	return l.page(p), nil
}

// lister goes through both stores in one direction.
type lister struct {
	r           *Reader
	environment string
	filter      runstore.Filter
	limit       int
	up          bool     // towards newer runs
	at          run.ID   // everything up to here has been looked at
	oldest      run.ID   // no row is looked at beyond it
	places      []run.ID // of a batch: what the buffer may have of it, newest first

	runs    []run.Run // in the direction
	scanned int
	ended   bool // nothing follows in either store
	partial bool
}

// fill looks on until there is one run more than the page holds, nothing
// follows, or enough has been looked at.
func (l *lister) fill(ctx context.Context) error {
	for len(l.runs) <= l.limit && !l.ended && l.scanned < MaxScanned {
		if err := l.step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// reach is how far one store was looked at: through the id last, or to the end.
type reach struct {
	last run.ID
	end  bool
}

// step takes in the part of both stores that follows l.at, as far as both were
// looked at: the buffer until it has filled the page, then the rows.
func (l *lister) step(ctx context.Context) error {
	var (
		inBuffer   = reach{last: l.at}
		seen       = map[run.ID]bool{}
		candidates []run.Run
		doubles    int
	)
	need := l.limit + 1 - len(l.runs)
	for !inBuffer.end && len(candidates) < need && l.scanned < MaxScanned {
		var ids []run.ID
		ids, inBuffer = l.index(ctx, inBuffer.last)
		passed, known, err := l.judge(ctx, ids, seen)
		if err != nil {
			return err
		}
		candidates, doubles = append(candidates, passed...), doubles+known
	}
	limit := min(need+doubles, runstore.MaxPage)
	rows, err := l.r.Rows.List(ctx, l.environment, l.filter, l.beyond(limit))
	if err != nil {
		return err
	}
	if l.up {
		slices.Reverse(rows)
	}
	inRows := reach{end: len(rows) < limit}
	if !inRows.end {
		inRows.last = rows[len(rows)-1].ID
	}
	for _, row := range rows {
		if !seen[row.ID] {
			candidates = append(candidates, row)
		}
	}
	slices.SortFunc(candidates, func(a, b run.Run) int { return l.compare(a.ID, b.ID) })
	both := l.nearer(inBuffer, inRows)
	for _, c := range candidates {
		if both.end || l.compare(c.ID, both.last) <= 0 {
			l.runs = append(l.runs, c)
		}
	}
	l.at, l.ended = both.last, both.end
	return nil
}

// index reads the ids of the buffer that follow from.
func (l *lister) index(ctx context.Context, from run.ID) ([]run.ID, reach) {
	if l.partial {
		return nil, reach{end: true} // it would only be waited for again
	}
	page := buffer.Page{Before: from, Limit: chunk}
	if l.up {
		page = buffer.Page{After: from, Limit: chunk}
	}
	ids, err := l.listed(ctx, page)
	if err != nil {
		l.partial = true
		return nil, reach{end: true}
	}
	l.scanned += len(ids)
	if len(ids) < chunk {
		return ids, reach{end: true}
	}
	last := ids[len(ids)-1]
	if l.up {
		last = ids[0]
	}
	return ids, reach{last: last}
}

// listed is a part of the buffer's index, or of what the buffer may have of a batch.
func (l *lister) listed(ctx context.Context, page buffer.Page) ([]run.ID, error) {
	if l.filter.Batch == "" {
		return l.r.Entries.List(ctx, l.environment, page)
	}
	from, to := 0, len(l.places) // newest first
	if !page.Before.IsZero() {
		from, _ = slices.BinarySearchFunc(l.places, page.Before, newestFirst)
		for from < to && l.places[from] == page.Before {
			from++
		}
	}
	if !page.After.IsZero() {
		to, _ = slices.BinarySearchFunc(l.places, page.After, newestFirst)
		return l.places[max(0, to-page.Limit):to], nil
	}
	return l.places[from:min(to, from+page.Limit)], nil
}

func newestFirst(a, b run.ID) int { return strings.Compare(b.String(), a.String()) }

// buffered are the runs of a batch that the buffer may know more of than Postgres:
// those that have no row, and those that have one and were not taken, for their
// entries may have patches. A batch that is not there has none.
func (r *Reader) buffered(ctx context.Context, environment, batch string) ([]run.ID, error) {
	b, err := r.Rows.Batch(ctx, environment, batch)
	if errors.Is(err, run.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var ids []run.ID
	for i := range b.Places {
		switch p := &b.Places[i]; {
		case p.Run.IsZero():
		case p.Status == "", p.Status == run.Queued, p.Status == run.Delayed:
			ids = append(ids, p.Run)
		}
	}
	slices.SortFunc(ids, newestFirst)
	return slices.Compact(ids), nil
}

// judge turns the buffer's ids into the runs that pass the filter, and adds to
// seen those that it has judged: whatever Postgres lists of them is passed over.
// known is how many of them have a row.
func (l *lister) judge(ctx context.Context, ids []run.ID, seen map[run.ID]bool) (passed []run.Run, known int, err error) {
	if len(ids) == 0 {
		return nil, 0, nil
	}
	entries, hidden := l.r.entries(ctx, l.environment, ids...)
	l.partial = l.partial || hidden != nil // those that have a row will come as rows
	rows, err := l.r.Rows.Runs(ctx, l.environment, l.wanted(ids, entries))
	if err != nil {
		return nil, 0, err
	}
	for _, id := range ids {
		e, buffered := entries[id]
		if !buffered {
			continue // it left after the index was read: Postgres has it
		}
		seen[id] = true
		row, ok := rows[id]
		switch {
		case ok && row.Canonical != id:
			continue
		case ok:
			known++
			row = overlay(row, &e, false)
		default:
			stands := lineageOf(&e)
			ancestor, has := rows[stands.Ancestor]
			row = synthetic(&e, ancestryOf(stands, ancestor, has))
		}
		if passes(&l.filter, &row) {
			passed = append(passed, row)
		}
	}
	return passed, known, nil
}

// wanted are the rows that entries need: their own and their ancestors'.
func (l *lister) wanted(ids []run.ID, entries map[run.ID]buffer.Entry) []run.ID {
	want := make([]run.ID, 0, len(ids))
	ancestors := map[run.ID]bool{}
	for _, id := range ids {
		e, buffered := entries[id]
		if !buffered {
			continue
		}
		want = append(want, id)
		if a := lineageOf(&e).Ancestor; !a.IsZero() && !ancestors[a] {
			ancestors[a] = true
			want = append(want, a)
		}
	}
	return want
}

func (l *lister) beyond(limit int) runstore.Page {
	if l.up {
		return runstore.Page{Before: l.at, Oldest: l.oldest, Limit: limit}
	}
	return runstore.Page{After: l.at, Oldest: l.oldest, Limit: limit}
}

// compare orders ids in the direction.
func (l *lister) compare(a, b run.ID) int {
	c := strings.Compare(a.String(), b.String())
	if l.up {
		return c
	}
	return -c
}

// nearer is how far both were looked at.
func (l *lister) nearer(a, b reach) reach {
	switch {
	case a.end:
		return b
	case b.end || l.compare(a.last, b.last) < 0:
		return a
	}
	return b
}

// page cuts what was found to the page that was asked for.
func (l *lister) page(p runstore.Page) Page {
	out := Page{Runs: l.runs, Partial: l.partial}
	var onward run.ID // where the list goes on in the direction
	switch {
	case len(l.runs) > l.limit:
		out.Runs = l.runs[:l.limit]
		onward = out.Runs[l.limit-1].ID
	case !l.ended:
		onward = l.at
	}
	first := cmp.Or(p.After, p.Before) // where the list goes on in the other direction
	if len(out.Runs) > 0 && !first.IsZero() {
		first = out.Runs[0].ID
	}
	if l.up {
		slices.Reverse(out.Runs)
		out.Previous, out.Next = onward, first
		return out
	}
	out.Next, out.Previous = onward, first
	return out
}
