package runstore

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/e0ff5a15/mollifier/run"
)

// MaxPage is the most runs that one [Store.List] answers.
const MaxPage = 1000

// Filter says which runs a list shows; the zero Filter shows all. Within a
// field any value will do, and every field that is set has to hold.
type Filter struct {
	Statuses                                         []run.Status
	Tasks, Versions, Tags, Regions, Queues, Machines []string
	Test                                             *bool
	From, To                                         time.Time // when accepted, both inclusive
	Batch, BulkAction                                string
}

// Page says which part of a list is asked for: the runs right after (older
// than) or right before (newer than) an id, which need not exist; with neither,
// the newest. After wins if both are set.
type Page struct {
	After, Before run.ID
	// Oldest is an id that no run of the page is older than, so that a search by a
	// rare property has an end; zero for no bound. Ids that were not minted by the
	// engine have no age, and may fall on either side.
	Oldest run.ID
	Limit  int // 1 to MaxPage
}

// listTexts are sql/list.sql by direction and by whether a batch is named.
type listTexts [3][2]string

var listSQL = listOf("columns")

func listOf(columns string) (texts listTexts) {
	text := statementOf("list", columns)
	for direction, words := range [...][2]string{
		{"", "desc"}, {"and w.id < $2", "desc"}, {"and w.id > $2", "asc"},
	} {
		if words[0] == "" {
			words[0] = "and $2::text = ''"
		}
		for batch, condition := range [...]string{"and $15::text = ''", "and w.batch_id = $15"} {
			texts[direction][batch] = strings.NewReplacer(":beyond", words[0], ":order", words[1], ":batch", condition).Replace(text)
		}
	}
	return texts
}

// List reads a page of an environment's runs on the primary, ordered by id in
// descending byte order, which is that of their minting. Aliases are not shown:
// their runs are. A page that is shorter than its limit is the last one. Rows
// are read in order of the ids until the page is full, so a filter that few
// runs pass reads many; by batch only the batch is read.
//
// The error is run.ErrInvalid without an environment or for a limit out of
// range, else a *run.RefusedError.
func (s *Store) List(ctx context.Context, environment string, f Filter, p Page) ([]run.Run, error) {
	return s.list(ctx, &listSQL, environment, f, p)
}

func (s *Store) list(ctx context.Context, texts *listTexts, environment string, f Filter, p Page) ([]run.Run, error) {
	if environment == "" {
		return nil, missing("environment")
	}
	if p.Limit < 1 || p.Limit > MaxPage {
		return nil, &run.InvalidError{Field: "limit", Rule: "from 1 to 1000"}
	}
	direction, beyond, batch := 0, "", 0
	switch {
	case !p.After.IsZero():
		direction, beyond = 1, p.After.String()
	case !p.Before.IsZero():
		direction, beyond = 2, p.Before.String()
	}
	if f.Batch != "" {
		batch = 1
	}
	statuses := make([]string, len(f.Statuses))
	for i, status := range f.Statuses {
		statuses[i] = string(status)
	}
	args := []any{
		environment, beyond, p.Limit, statuses, some(f.Tasks), some(f.Versions), some(f.Tags), some(f.Regions),
		some(f.Queues), some(f.Machines), f.Test, instantOf(f.From), instantOf(f.To), f.BulkAction, f.Batch,
		p.Oldest.String(),
	}
	var runs []run.Run
	c := s.retry(ctx, s.cold, aFewTimes, func(ctx context.Context, conn *pgxpool.Conn) error {
		rows, err := conn.Query(ctx, texts[direction][batch], args...)
		if err != nil {
			return err
		}
		runs, err = pgx.CollectRows(rows, scanOwn)
		return err
	})
	if c != nil {
		return nil, outward(c)
	}
	if direction == 2 {
		slices.Reverse(runs)
	}
	return runs, nil
}

// some is list, but never nil: that would be NULL.
func some(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}
