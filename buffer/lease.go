package buffer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/e0ff5a15/mollifier/redisdb"
	"github.com/e0ff5a15/mollifier/run"
)

// Lease is an entry that the caller holds.
type Lease struct {
	Ref
	// Entry as it was taken: its status is Queued if nobody ever held it before,
	// else Returned, and then Postgres may know the run.
	Entry Entry
	Token Token
	// Err: the entry can not be read. It was, or will be, moved aside; the caller
	// holds nothing, and should make it known.
	Err error
}

// maxLeaseBytes bounds one reply of [Store.Lease]; a single entry may be bigger.
const maxLeaseBytes = 16 << 20

// Lease takes at most n entries (at most 256 at once, and some 16 MiB) from the
// front of an environment's queue, and holds them under the token for ttl. The
// oldest comes first. Fewer than n does not mean that the queue is empty:
// references that lead nowhere count, too.
//
// The token names this one lease, of this environment in this partition. After an
// unknown outcome the same call is to be repeated: it takes nothing more, but
// returns what the token holds, for ttl from now. It may then ask for fewer, should
// the reply have been too much for its deadline; the rest is given back. Of what
// can not be read a repeated call says nothing. Without a repetition, what is held
// unknown to anybody comes back when ttl has passed.
func (s *Store) Lease(ctx context.Context, partition int, environment string, n int, token Token, ttl time.Duration) ([]Lease, error) {
	switch {
	case partition < 0 || partition >= s.db.Partitions():
		return nil, fmt.Errorf("buffer: partition %d outside [0, %d)", partition, s.db.Partitions())
	case n <= 0 || ttl < time.Millisecond || token == Token{}:
		return nil, errors.New("buffer: lease without a number, a token or a ttl of at least 1ms")
	}
	n = min(n, maxItems)
	tag := redisdb.EnvTag(environment)
	result := s.db.Run(ctx, []redisdb.Call{{
		Script: leaseScript,
		Keys: []string{
			s.names.Queue(partition, tag), s.names.Leases(partition), s.names.Usage(partition),
			s.names.Envs(partition), s.names.Dead(partition), s.names.Index(partition, tag),
			s.names.Taken(partition, tag, tokenText(token)),
		},
		Args: []any{n, ttl.Microseconds(), tokenText(token), tag, maxLeaseBytes, n + 64},
	}})[0]
	if result.Err != nil {
		return nil, result.Err
	}
	last := len(result.Values) - 1
	if last < 0 {
		return nil, redisdb.Unreadable()
	}
	now, ok := instantOf(result.Values[last])
	if !ok {
		return nil, redisdb.Unreadable()
	}
	leases := make([]Lease, last)
	var aside []Requeue
	for i, v := range result.Values[:last] {
		l := &leases[i]
		l.Token = token
		pair, _ := v.([]any)
		if len(pair) == 0 {
			return nil, redisdb.Unreadable()
		}
		text, _ := pair[0].(string)
		id, err := run.ParseID(text)
		l.Ref = Ref{environment, id}
		switch {
		case err != nil:
			l.Err = fmt.Errorf("buffer: entry: %w", err)
		case len(pair) == 1:
			l.Err = errUnreadable
		default:
			if l.Entry, l.Err = parseEntry(pair[1], now); l.Err != nil {
				aside = append(aside, Requeue{Ref: l.Ref, Token: token, aside: true})
			}
		}
	}
	if len(aside) > 0 {
		s.Requeue(ctx, aside) // if it fails, the lease runs out and the entry is met again
	}
	return leases, nil
}

// Held is what became of a lease. The zero Held comes with an error.
type Held uint8

// What became of a lease.
const (
	HeldDone Held = iota + 1 // as asked for
	HeldLost                 // not that token's any more: it ran out, or was given back
	HeldGone                 // no such entry
)

// HeldReply answers one item of [Store.Extend], [Store.Requeue] or [Store.Fail].
type HeldReply struct {
	Held Held
	Err  error
}

func heldReply(a answer) HeldReply {
	if a.err != nil {
		return HeldReply{Err: a.err}
	}
	switch a.value {
	case "d":
		return HeldReply{Held: HeldDone}
	case "l":
		return HeldReply{Held: HeldLost}
	case "g":
		return HeldReply{Held: HeldGone}
	}
	return HeldReply{Err: errUnreadable}
}

// held runs a script over the items of refs; refs that name no partition are gone.
func (s *Store) held(refs []Ref, run func(items []item) []answer, build func(i, partition int, tag string) item) []HeldReply {
	replies := make([]HeldReply, len(refs))
	var items []item
	var at []int
	for i, r := range refs {
		p, ok := s.partition(r.ID)
		if !ok {
			replies[i].Held = HeldGone
			continue
		}
		it := build(i, p, redisdb.EnvTag(r.Environment))
		it.partition = p
		items, at = append(items, it), append(at, i)
	}
	for j, a := range run(items) {
		replies[at[j]] = heldReply(a)
	}
	return replies
}

// Holding names an entry and the token under which it is held.
type Holding struct {
	Ref
	Token Token
}

func refsOf[T any](list []T, ref func(*T) Ref) []Ref {
	refs := make([]Ref, len(list))
	for i := range list {
		refs[i] = ref(&list[i])
	}
	return refs
}

// Extend moves the end of leases to ttl from now, and answers each in its place.
func (s *Store) Extend(ctx context.Context, holdings []Holding, ttl time.Duration) []HeldReply {
	refs := refsOf(holdings, func(h *Holding) Ref { return h.Ref })
	call := func(items []item) []answer { return s.each(ctx, extendScript, []any{ttl.Microseconds()}, items) }
	return s.held(refs, call, func(i, p int, tag string) item {
		id := holdings[i].ID
		return item{
			keys: []string{s.names.Entry(p, tag, id), s.names.Leases(p)},
			args: []any{tag, id.String(), tokenText(holdings[i].Token)},
		}
	})
}

// Requeue is an entry to give back. Its acceptance does not change.
type Requeue struct {
	Ref
	Token Token
	// Delay is how long it is to be held back, by nobody; [Store.Reap] returns it
	// then. 0: at once, to the front of its queue.
	Delay time.Duration
	// Count an attempt.
	Count bool

	aside bool
}

// Requeue gives entries back and answers each in its place. The first given is
// the first in the queue.
func (s *Store) Requeue(ctx context.Context, entries []Requeue) []HeldReply {
	refs := refsOf(entries, func(r *Requeue) Ref { return r.Ref })
	call := func(items []item) []answer { return s.each(ctx, requeueScript, nil, items) }
	return s.held(refs, call, func(i, p int, tag string) item {
		r := &entries[i]
		var delay any = max(r.Delay, 0).Microseconds()
		if r.aside {
			delay = "aside"
		}
		return item{
			keys: []string{s.names.Entry(p, tag, r.ID), s.names.Leases(p), s.names.Queue(p, tag), s.names.Dead(p)},
			args: []any{tag, r.ID.String(), tokenText(r.Token), delay, flag(r.Count)},
		}
	})
}

// Reaped is what [Store.Reap] did in one pass.
type Reaped struct {
	Returned int // to the front of their queues
	Lapsed   int // of those: leases that ran out, not delays that are over
	Met      int // as many as the limit: there may be more
}

// Reap returns at most limit entries of a partition, whose lease or delay is
// over, to the front of their queues, the oldest first. Any node may do it, at
// any time.
func (s *Store) Reap(ctx context.Context, partition, limit int) (Reaped, error) {
	n, err := s.sweep(ctx, reapScript, partition, limit, 3, s.names.Leases)
	if err != nil {
		return Reaped{}, err
	}
	return Reaped{Returned: n[0], Lapsed: n[1], Met: n[2]}, nil
}

// Revive puts at most limit entries that had been moved aside back to the front
// of their queues, if this build knows the form of the entry. It is for the start
// of a node: an entry whose content this build can not read is moved aside
// again when it is leased.
func (s *Store) Revive(ctx context.Context, partition, limit int) (returned int, err error) {
	n, err := s.sweep(ctx, reviveScript, partition, limit, 2, s.names.Dead)
	if err != nil {
		return 0, err
	}
	return n[0], nil
}

// sweep runs a script over one partition, that answers with so many numbers.
func (s *Store) sweep(ctx context.Context, script *redisdb.Script, partition, limit, numbers int, first func(int) string) ([]int, error) {
	if partition < 0 || partition >= s.db.Partitions() || limit <= 0 {
		return nil, fmt.Errorf("buffer: partition %d outside [0, %d), or limit %d below 1", partition, s.db.Partitions(), limit)
	}
	result := s.db.Run(ctx, []redisdb.Call{{
		Script: script,
		Keys:   []string{first(partition), s.names.Usage(partition), s.names.Envs(partition), s.names.Absent(partition)},
		Args:   []any{min(limit, maxItems)},
	}})[0]
	if result.Err != nil {
		return nil, result.Err
	}
	counts := make([]int, numbers)
	for i := range counts {
		n, ok := int64(0), false
		if len(result.Values) == numbers+1 {
			n, ok = result.Values[i].(int64)
		}
		if !ok {
			return nil, redisdb.Unreadable()
		}
		counts[i] = int(n)
	}
	return counts, nil
}
