package buffer

import (
	"context"
	"strconv"

	"github.com/e0ff5a15/mollifier/redisdb"
	"github.com/e0ff5a15/mollifier/run"
)

// Ack says that a run is in Postgres.
type Ack struct {
	Ref
	Ver       int64  // the last patch that is applied there
	Canonical run.ID // the run that it resolves to; zero means itself
}

// Acked answers one [Ack].
type Acked struct {
	// Later holds the patches after Ack.Ver, and Ver the last of them. If there are
	// any the entry is as it was: apply them to Postgres, and ack again.
	Later []run.Patch
	Ver   int64
	Err   error
}

// Done reports whether nothing more is to be done.
func (a *Acked) Done() bool { return a.Err == nil && len(a.Later) == 0 }

// Ack makes entries materialised, whoever holds them, and answers each in its
// place. The key's record, if it still names the run, then names the canonical
// run, resolved. An entry that is gone or was materialised before is done.
func (s *Store) Ack(ctx context.Context, acks []Ack) []Acked {
	replies := make([]Acked, len(acks))
	var items []item
	var at []int
	for i := range acks {
		a := &acks[i]
		p, ok := s.partition(a.ID)
		if !ok {
			continue // never was in a buffer
		}
		canonical := a.Canonical
		if canonical.IsZero() {
			canonical = a.ID
		}
		tag := redisdb.EnvTag(a.Environment)
		items = append(items, item{p, s.entryKeys(p, tag, a.ID), []any{tag, a.ID.String(), a.Ver, canonical.String()}})
		at = append(at, i)
	}
	for j, a := range s.each(ctx, ackScript, []any{life.Milliseconds(), Grace.Milliseconds()}, items) {
		replies[at[j]] = parseAcked(a, acks[at[j]].Ver)
	}
	return replies
}

// entryKeys are what an entry leaves when it leaves.
func (s *Store) entryKeys(p int, tag string, id run.ID) []string {
	return []string{
		s.names.Entry(p, tag, id), s.names.Index(p, tag), s.names.Leases(p), s.names.Usage(p), s.names.Envs(p),
	}
}

func parseAcked(a answer, known int64) Acked {
	if a.err != nil {
		return Acked{Err: a.err}
	}
	if a.value == "d" {
		return Acked{Ver: known}
	}
	values, ok := a.value.([]any)
	if !ok || len(values) < 2 {
		return Acked{Err: errUnreadable}
	}
	text, _ := values[0].(string)
	ver, err := strconv.ParseInt(text, 10, 64)
	if err != nil || ver-known != int64(len(values)-1) {
		return Acked{Err: errUnreadable}
	}
	acked := Acked{Ver: ver}
	for i, v := range values[1:] {
		text, _ := v.(string)
		patch, err := parsePatch(text, known+1+int64(i))
		if err != nil {
			return Acked{Err: err}
		}
		acked.Later = append(acked.Later, patch)
	}
	return acked
}

// Fail takes entries away that the caller holds and that are not to come: it has
// written down elsewhere what became of them. The key's record, if it still names
// the run, becomes a floor. HeldDone is answered once; a repetition finds the
// entry gone.
func (s *Store) Fail(ctx context.Context, holdings []Holding) []HeldReply {
	refs := refsOf(holdings, func(h *Holding) Ref { return h.Ref })
	return s.held(ctx, failScript, []any{life.Milliseconds()}, refs, func(i, p int, tag string) item {
		id := holdings[i].ID
		return item{keys: s.entryKeys(p, tag, id), args: []any{tag, id.String(), tokenText(holdings[i].Token)}}
	})
}
