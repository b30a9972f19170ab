package shard

import (
	"fmt"
	"time"

	"github.com/e0ff5a15/mollifier/run"
)

// stores is a model of both stores, for one clock: what the claim store keeps
// of each key, and which run holds each key's slot in Postgres. It is naive on
// purpose: what it does not say, the table may not rely on.
type stores struct {
	now    run.Instant
	step   int // counts what happens; "before" and "after" below are by it
	ttl    time.Duration
	keys   map[run.Hash]*record
	slots  map[run.Hash]*slot
	byID   map[run.ID]*modelRun
	wakes  []run.Hash // announced, not yet delivered
	epoch  string     // which Redis this is
	strict bool       // nothing fails: no two runs of a key overlap
	broken string     // what went against that
}

// record is what the claim store keeps of a key.
type record struct {
	state    byte // 'p' pending, 'r' resolved, 'b' bound, 'f' floor only
	token    Token
	acc      run.Instant // of the claim or the run; with 'f' the floor
	deadline run.Instant // or until
	run      run.ID
	waited   bool
	recheck  bool
	gone     run.Instant // bound and acked: forgotten then
}

// slot is what Postgres keeps of a key.
type slot struct {
	holder *modelRun
	floor  run.Instant
	cut    run.Instant // of the latest reset
	late   bool        // a claim has run out under its owner, who may be late: that is a fault
}

type modelRun struct {
	Holder
	hash run.Hash
	// The run held its key from step begun until step ended (0: it still does).
	// An expiry ends it only when another run takes its slot: a key holds its
	// run for its TTL at least.
	begun, ended int
	reset        int // the step in which a reset of it was complete
	cleared      bool
	unasked      bool // ended by a run that was settled without the claim store's word
	inPostgres   bool
	entry        byte // 'q' queued, 'l' leased, 'r' returned, 'm' acked, 0 not in the buffer
	gone         run.Instant
	// It was settled although the buffer may have it, because a reply was lost: it
	// may have ended in Postgres while the buffer has it queued, until the buffer
	// was told, in the step told.
	both bool
	told int
	cut  run.Instant // cleared or reset: the end of its interval
}

// until is the end of the run's interval, as its row says it.
func (m *modelRun) until() run.Instant {
	if m.cut != 0 {
		return min(m.cut, m.Until)
	}
	return m.Until
}

// The fence of an accept, and how long the buffer remembers what was acked.
const (
	fence = 1_000_000
	grace = 5_000_000
)

func newStores(ttl time.Duration) *stores {
	return &stores{
		now: 1_000_000, step: 1, ttl: ttl,
		keys: map[run.Hash]*record{}, slots: map[run.Hash]*slot{}, byID: map[run.ID]*modelRun{},
	}
}

func (s *stores) record(h run.Hash) *record {
	if s.keys[h] == nil {
		s.keys[h] = &record{state: 'f'}
	}
	k := s.keys[h]
	if k.gone != 0 && s.now >= k.gone {
		*k = record{state: 'f'}
	}
	return k
}

func (s *stores) slot(h run.Hash) *slot {
	if s.slots[h] == nil {
		s.slots[h] = &slot{}
	}
	return s.slots[h]
}

func (s *stores) claim(r Request) ClaimReply {
	k := s.record(r.Hash)
	deadline := s.now.Add(s.ttl)
	least := k.acc
	switch {
	case k.state == 'p' && k.token == r.Token:
		k.deadline = deadline
		if k.acc < r.Floor {
			k.acc = max(s.now, r.Floor)
		}
		return ClaimReply{State: Claimed, AcceptedAt: k.acc}
	case k.state == 'p' && s.now < k.deadline:
		k.waited = true
		return ClaimReply{State: Pending, Wait: time.Duration(k.deadline-s.now) * time.Microsecond}
	case k.state == 'r' && s.now < k.deadline && k.run != r.Observed:
		return ClaimReply{State: Resolved, Holder: s.byID[k.run].Holder}
	case k.state == 'b' && s.now < k.deadline && k.run != r.Observed && s.there(k.run):
		m := s.byID[k.run]
		h := m.Holder
		h.Buffered = true
		return ClaimReply{State: Bound, Holder: h, Queued: m.entry == 'q'}
	case k.state != 'f':
		s.slot(r.Hash).late = s.slot(r.Hash).late || k.state == 'p'
		least++
	}
	*k = record{state: 'p', token: r.Token, acc: max(s.now, least, r.Floor), deadline: deadline}
	return ClaimReply{State: Claimed, AcceptedAt: k.acc}
}

func (s *stores) publish(r Request) PublishReply {
	k := s.record(r.Hash)
	switch {
	case k.state == 'p' && k.token == r.Token:
		s.announce(k, r.Hash)
		if k.recheck && r.Found {
			*k = record{state: 'f', acc: k.acc + 1}
			return PublishReply{}
		}
		*k = record{state: 'r', run: r.Holder.ID, acc: r.Holder.AcceptedAt, deadline: r.Holder.Until}
		return PublishReply{Done: true}
	case k.state == 'r' && k.run == r.Holder.ID:
		return PublishReply{Done: true}
	}
	return PublishReply{}
}

func (s *stores) release(r Request) {
	if k := s.record(r.Hash); k.state == 'p' && k.token == r.Token {
		s.announce(k, r.Hash)
		*k = record{state: 'f', acc: k.acc + 1}
	}
}

func (s *stores) renew(r Request) {
	if k := s.record(r.Hash); k.state == 'p' && k.token == r.Token {
		k.deadline = s.now.Add(s.ttl)
	}
}

func (s *stores) announce(k *record, h run.Hash) {
	if k.waited {
		s.wakes = append(s.wakes, h)
	}
}

// cut is the last part of a reset, in the claim store.
func (s *stores) cut(h run.Hash, cut run.Instant) {
	k := s.record(h)
	switch {
	case k.state == 'f':
		k.acc = max(k.acc, cut)
	case k.acc >= cut:
		k.recheck = true
	default:
		if k.state == 'b' {
			s.end(s.byID[k.run])
		}
		s.announce(k, h)
		*k = record{state: 'f', acc: cut}
	}
}

// settle is told the snapshot as it was posted: it may land late.
func (s *stores) settle(snap run.Snapshot, keyed, poison bool) SettleReply {
	m := s.byID[snap.ID]
	if m != nil && m.inPostgres {
		return SettleReply{Created: true, Holder: m.Holder}
	}
	if poison {
		return SettleReply{Err: errPoison, Rejected: true}
	}
	at := snap.AcceptedAt
	if at == 0 {
		at = s.now
	}
	if m != nil {
		m.both, m.inPostgres = true, true
		if sl := s.slot(snap.Hash); keyed && sl.holder != nil && sl.holder.ended == 0 && at < sl.holder.Until {
			return SettleReply{Holder: sl.holder.Holder}
		} else if keyed {
			if sl.holder != nil {
				s.end(sl.holder)
			}
			sl.holder = m
		}
		return SettleReply{Created: true, Holder: m.Holder}
	}
	if !keyed {
		m = s.insert(snap, at)
		m.inPostgres = true
		return SettleReply{Created: true, Holder: m.Holder}
	}
	sl := s.slot(snap.Hash)
	h := sl.holder
	live := h != nil && h.ended == 0
	if live && max(at, sl.floor) < h.Until {
		return SettleReply{Holder: h.Holder}
	}
	if claimed := snap.AcceptedAt; claimed != 0 && (claimed < sl.cut && !live || h != nil && !live && claimed < h.AcceptedAt) {
		return SettleReply{Stale: true, Floor: max(sl.floor, sl.cut)}
	}
	at = max(at, sl.floor)
	if live {
		h.ended = s.step
	}
	s.succeed(snap.Hash, at, snap.AcceptedAt != 0)
	sl.holder = s.insert(snap, at)
	sl.holder.inPostgres = true
	return SettleReply{Created: true, Holder: sl.holder.Holder}
}

func (s *stores) insert(snap run.Snapshot, at run.Instant) *modelRun {
	m := &modelRun{hash: snap.Hash, begun: s.step, Holder: Holder{
		ID: snap.ID, Canonical: snap.ID, AcceptedAt: at, Until: at.Add(snap.Trigger.IdentityTTL()),
		PayloadHash: snap.PayloadHash, RequestHash: snap.RequestHash,
	}}
	s.byID[m.ID] = m
	return m
}

func (s *stores) check(r Request) CheckReply {
	if m := s.byID[r.Run]; m == nil || !m.inPostgres {
		return CheckReply{}
	}
	h := s.slot(r.Hash).holder
	if h == nil || h.ID != r.Run || h.ended != 0 || s.now >= h.Until {
		return CheckReply{Found: true}
	}
	return CheckReply{Found: true, Holds: true, Holder: h.Holder}
}

// clear ends the holder's interval, if there is one, and answers it.
func (s *stores) clear(h run.Hash, floor run.Instant) *modelRun {
	sl := s.slot(h)
	sl.floor = max(sl.floor, floor)
	if m := sl.holder; m != nil && m.ended == 0 {
		sl.floor = max(sl.floor, m.AcceptedAt+1)
		m.ended, m.cleared, m.cut = s.step, true, sl.floor
		return m
	}
	return nil
}

func (s *stores) String() string {
	out := ""
	for h, k := range s.keys {
		out += fmt.Sprintf("%.4s: %c acc=%d run=%s\n", h, k.state, k.acc, k.run)
	}
	return out
}

// landed is told that a run may be in Postgres; it is repeated for as long as an
// accept may be executed late.
func (s *stores) landed(id run.ID) {
	m := s.byID[id]
	if m == nil {
		return
	}
	if m.told = s.step; m.entry == 'q' {
		m.entry = 'r'
	}
}
