package buffer

import (
	"context"

	"github.com/e0ff5a15/mollifier/redisdb"
)

// Landed says that runs may be in Postgres by another way than the drain: the
// reply to their accept was lost, and they were settled. An entry that nobody
// has leased no longer proves that nothing has happened to its run: [Queued]
// becomes [Returned]. An entry that is not there is nobody's concern, unless its
// accept is still on its way: repeat it for as long as that may be.
func (s *Store) Landed(ctx context.Context, refs []Ref) []error {
	errs := make([]error, len(refs))
	var items []item
	var at []int
	for i, r := range refs {
		if p, ok := s.partition(r.ID); ok {
			items = append(items, item{partition: p, keys: []string{s.names.Entry(p, redisdb.EnvTag(r.Environment), r.ID)}})
			at = append(at, i)
		}
	}
	for j, a := range s.each(ctx, landedScript, nil, items) {
		switch {
		case a.err != nil:
			errs[at[j]] = a.err
		case a.value != "d":
			errs[at[j]] = errUnreadable
		}
	}
	return errs
}
