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
		if canonical == a.ID {
			canonical = run.ID{}
		}
		tag := redisdb.EnvTag(a.Environment)
		items = append(items, item{p, []string{s.names.Entry(p, tag, a.ID)}, []any{a.Ver, canonical.String()}, tag})
		at = append(at, i)
	}
	for j, a := range s.eachLeaving(ctx, ackScript, []any{life.Milliseconds(), Grace.Milliseconds()}, items) {
		replies[at[j]] = parseAcked(a, acks[at[j]].Ver)
	}
	return replies
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
	call := func(items []item) []answer { return s.eachLeaving(ctx, failScript, []any{life.Milliseconds()}, items) }
	return s.held(refs, call, func(i, p int, tag string) item {
		return item{keys: []string{s.names.Entry(p, tag, holdings[i].ID)}, args: []any{tokenText(holdings[i].Token)}, tag: tag}
	})
}
