package shard

import (
	"fmt"
	"time"

	"github.com/e0ff5a15/mollifier/run"
)

// The model's buffer, and what Postgres makes of a run that comes from there.

// there reports whether the run's entry is in the buffer, acked or not.
func (s *stores) there(id run.ID) bool {
	m := s.byID[id]
	if m == nil || m.entry == 0 {
		return false
	}
	return m.gone == 0 || s.now < m.gone
}

func (s *stores) end(m *modelRun) {
	if m != nil && m.ended == 0 {
		m.ended = s.step
	}
}

// succeed ends what has expired at an instant when another run of the key
// begins, or was reset in Postgres; what has not is an overlap.
// asked says that the claim store was asked who holds the key.
func (s *stores) succeed(h run.Hash, at run.Instant, asked bool) {
	for _, m := range s.byID {
		if m.hash != h || m.ended != 0 {
			continue
		}
		if at < m.Until && m.AcceptedAt >= s.slot(h).cut {
			if s.strict && !s.slot(h).late {
				s.broken = fmt.Sprintf("another run of the key begins at %d, and %s holds it until %d", at, m.ID, m.Until)
			}
			continue
		}
		m.ended, m.unasked = s.step, !asked
	}
}

func (s *stores) look(r Request) LookReply {
	sl := s.slot(r.Hash)
	known := s.byID[r.Run] != nil && s.byID[r.Run].inPostgres
	seen := Seen{Known: known, Floor: sl.floor}
	if h := sl.holder; h != nil {
		seen.Found, seen.Live, seen.Holder = true, h.ended == 0, h.Holder
		seen.Holder.Until = h.until()
		seen.Floor = max(seen.Floor, h.AcceptedAt+1)
	}
	if h := sl.holder; sl.cut != 0 && (h == nil || h.AcceptedAt < sl.cut) {
		seen = Seen{Known: known, Found: true, Holder: Holder{ID: mustID("rst"), AcceptedAt: sl.cut, Until: sl.cut}, Floor: seen.Floor}
	}
	return LookReply{Seen: seen}
}

// accept is told the snapshot as it was posted: it may land late.
func (s *stores) accept(r Request, snap run.Snapshot, full bool) AcceptReply {
	keyed := !snap.Key.IsZero()
	if s.there(snap.ID) {
		m := s.byID[snap.ID]
		if (r.Unsure || r.Seen.Skipped && keyed) && m.entry == 'q' {
			m.entry = 'r'
		}
		h := m.Holder
		h.Buffered = true
		return AcceptReply{State: Accepted, Holder: h}
	}
	least := run.Instant(0)
	if keyed {
		k := s.record(snap.Hash)
		reply, answered := s.stands(k, r)
		if answered {
			return reply
		}
		mine := k.state == 'p' && r.Claimed && k.token == r.Token
		least = k.acc
		if k.state == 'r' || k.state == 'b' {
			least++
		}
		if !mine && !r.Seen.Skipped && (r.Since.Epoch != s.epoch || s.now-r.Since.At > fence) {
			return AcceptReply{State: AcceptStale}
		}
		if h := r.Seen.Holder; r.Seen.Found && r.Seen.Live && s.now < h.Until {
			same := k.state == 'r' && k.run == h.ID
			switch {
			case mine && k.recheck:
				s.announce(k, snap.Hash)
				*k = record{state: 'f', acc: k.acc + 1}
				return AcceptReply{State: AcceptStale}
			case !mine && !same && least > h.AcceptedAt:
				return AcceptReply{State: AcceptStale}
			case mine:
				s.announce(k, snap.Hash)
				*k = record{state: 'r', run: h.ID, acc: h.AcceptedAt, deadline: h.Until}
			}
			return AcceptReply{State: AcceptHeld, Holder: h}
		}
	}
	if full {
		return AcceptReply{State: AcceptFull, Full: errFull}
	}
	at := max(s.now, least, r.Seen.Floor)
	m := s.byID[snap.ID]
	if m == nil {
		if keyed {
			s.succeed(snap.Hash, at, true)
		}
		m = s.insert(snap, at)
	}
	m.entry, m.gone = 'q', 0
	if r.Unsure || r.Seen.Skipped && keyed || m.told != 0 {
		m.entry = 'r'
	}
	m.both = m.both || m.entry == 'q' && m.inPostgres
	if keyed {
		k := s.record(snap.Hash)
		s.announce(k, snap.Hash)
		*k = record{state: 'b', run: m.ID, acc: at, deadline: at.Add(snap.Trigger.IdentityTTL())}
	}
	h := m.Holder
	h.Buffered = true
	return AcceptReply{State: Accepted, Holder: h}
}

// stands answers an accept whose key is somebody else's.
func (s *stores) stands(k *record, r Request) (AcceptReply, bool) {
	live := s.now < k.deadline
	switch {
	case k.state == 'p' && r.Claimed && k.token == r.Token:
		return AcceptReply{}, false
	case k.state == 'p' && live:
		k.waited = true
		return AcceptReply{State: AcceptWait, Wait: time.Duration(k.deadline-s.now) * time.Microsecond}, true
	case k.state == 'p':
		return AcceptReply{State: AcceptStale}, true
	case k.state == 'r' && live && !(r.Seen.Found && r.Seen.Holder.ID == k.run):
		return AcceptReply{State: AcceptMet, Holder: s.byID[k.run].Holder}, true
	case k.state == 'b' && live && !(r.Seen.Found && !r.Seen.Live && r.Seen.Holder.ID == k.run) && s.there(k.run):
		m := s.byID[k.run]
		h := m.Holder
		h.Buffered = true
		return AcceptReply{State: AcceptBound, Holder: h, Queued: m.entry == 'q'}, true
	}
	return AcceptReply{}, false
}

// goOnDrain takes a run one step on its way to Postgres.
func (s *stores) goOnDrain(m *modelRun) {
	s.step++
	switch {
	case m.entry == 'q' || m.entry == 'r':
		m.entry = 'l'
	case !m.inPostgres:
		s.materialise(m)
	default:
		m.entry, m.gone = 'm', s.now+grace/2
		if k := s.keys[m.hash]; k != nil && k.state == 'b' && k.run == m.ID {
			k.state, k.run, k.gone = 'r', m.Canonical, s.now+grace
		}
	}
}

func (s *stores) materialise(m *modelRun) {
	m.inPostgres = true
	if m.hash == (run.Hash{}) {
		return
	}
	sl := s.slot(m.hash)
	h := sl.holder
	switch {
	case m.ended != 0 || m.AcceptedAt < sl.cut:
		s.end(m)
	case h != nil && m.AcceptedAt < h.until() && h.AcceptedAt < m.Until:
		if s.strict && !sl.late {
			s.broken = fmt.Sprintf("%s is an alias of %s", m.ID, h.ID)
		}
		m.Canonical = h.ID
		s.end(m)
	case h != nil && h.AcceptedAt > m.AcceptedAt:
		s.end(m)
	default:
		s.end(h)
		sl.holder = m
	}
	sl.floor = max(sl.floor, m.AcceptedAt+1)
}
