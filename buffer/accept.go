package buffer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/e0ff5a15/mollifier/redisdb"
	"github.com/e0ff5a15/mollifier/run"
)

// Acceptance is one run to buffer.
type Acceptance struct {
	// Snapshot of the run, with its id, which names the partition. Its
	// AcceptedAt and KeyUntil are not looked at. Required; not changed.
	Snapshot *run.Snapshot

	// Token of the caller's claim of the key; zero if it made none.
	Token [16]byte
	// Since is an instant that [redisdb.DB.LastTime] gave before Postgres was
	// asked about the key, and Epoch what it gave with it. They are what an accept
	// is judged by whose claim does not stand. Zero: only a claim will do.
	Since run.Instant
	Epoch string
	// CheckSkipped: Postgres could not be asked at all.
	CheckSkipped bool
	// Unsure: the run may be in Postgres already, because the reply to its settle
	// was lost. Its entry, and one whose check was skipped, begins as [Returned]:
	// whoever meets it asks Postgres before it answers for sure.
	Unsure bool

	// Holder that Postgres named, with a zero ID if it named none, and the
	// earliest acceptance that Postgres allows.
	Holder Holder
	Floor  run.Instant
}

// Holder is a run that Postgres knows as the holder of a key.
type Holder struct {
	ID          run.ID
	AcceptedAt  run.Instant
	Until       run.Instant
	Ended       bool // it lost the key already, whatever Until says
	PayloadHash run.Digest
	RequestHash run.Digest
}

// State is what an [Acceptance] came to.
type State uint8

// The states. The zero State comes with an error.
const (
	AcceptedNew    State = iota + 1 // buffered now
	AlreadyThere                    // this run is in the buffer, in whatever state; it was accepted then
	BoundTo                         // another buffered run holds the key
	HeldBy                          // the holder that Postgres named holds the key
	PendingForeign                  // another's claim stands, for at most Wait; the caller will be woken
	Resolved                        // a run held the key when it was published: ask Postgres about it
	Stale                           // the claim is lost, or there was none, and the look into Postgres is too old: claim
	Full                            // the partition takes no more; the claim, if there was one, stands
)

var stateNames = [...]string{
	"no state", "accepted", "already there", "bound", "held", "pending", "resolved", "stale", "full",
}

// String names the state, for logs.
func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return stateNames[0]
}

// Accepted answers one [Acceptance]. Exactly one of State and Err is set.
type Accepted struct {
	State State
	// Run that holds the key: the caller's for AcceptedNew and AlreadyThere, else
	// the other one. Zero for the last three states.
	Run         run.ID
	AcceptedAt  run.Instant
	Until       run.Instant // 0 for a run without a key
	PayloadHash run.Digest
	RequestHash run.Digest
	Queued      bool          // BoundTo: the run's entry is [Queued] and no node was without Redis since its acceptance, so it holds the key as of this reply
	Wait        time.Duration // PendingForeign
	Err         error
}

// Accept buffers runs in one round trip and answers each in its place. Each is
// written whole or not at all. Two of one key or of one id are executed in the
// order given. A claim under which a run was accepted, or a holder found, is
// resolved with it, and its waiters are announced; after any other answer it
// stands. A repeated Accept answers AlreadyThere with the acceptance of the
// first.
func (s *Store) Accept(ctx context.Context, runs []Acceptance) []Accepted {
	accepted := make([]Accepted, len(runs))
	var packs []*pack
	filling := map[int]*pack{}
	for i := range runs {
		a := &runs[i]
		partition, err := s.check(a)
		if err != nil {
			accepted[i].Err = err
			continue
		}
		group := 0
		if s.db.Cluster() {
			group = partition
		}
		p := filling[group]
		if p == nil || !p.takes(a) {
			p = s.newPack(min(len(runs)-i, maxItems))
			packs, filling[group] = append(packs, p), p
		}
		accepted[i].Err = p.add(i, partition, a)
	}
	packs = slices.DeleteFunc(packs, func(p *pack) bool { return len(p.items) == 0 }) // what they were for was refused
	calls := make([]redisdb.Call, len(packs))
	for i, p := range packs {
		calls[i] = p.call()
	}
	for c, result := range s.db.Run(ctx, calls) {
		texts, ok := result.Strings(len(packs[c].items))
		for at, i := range packs[c].items {
			switch {
			case result.Err != nil:
				accepted[i].Err = result.Err
			case !ok:
				accepted[i].Err = redisdb.Unreadable()
			default:
				accepted[i] = parseAccepted(texts[at], &runs[i])
				accepted[i].Queued = accepted[i].Queued && s.db.Unbroken(accepted[i].AcceptedAt)
				s.keepAccepted(&runs[i], packs[c].body(at), &accepted[i])
			}
		}
	}
	return accepted
}

// check says what is wrong with an acceptance, and else gives its partition.
func (s *Store) check(a *Acceptance) (partition int, err error) {
	if a.Snapshot == nil || a.Snapshot.ID.IsZero() {
		return 0, errors.New("buffer: accept without a run")
	}
	snap := a.Snapshot
	partition, ok := s.partition(snap.ID)
	if !ok {
		return 0, fmt.Errorf("buffer: accept of run %s, which names no partition of this deployment", snap.ID)
	}
	if t := &snap.Trigger; t.Environment == "" || !utf8.ValidString(t.Environment) || !utf8.ValidString(t.Organisation) {
		return 0, errors.New("buffer: accept of a run without an environment, or with one that is no text")
	}
	for _, at := range [...]run.Instant{a.Since, a.Floor, a.Holder.AcceptedAt, a.Holder.Until} {
		if at < 0 || at > redisdb.MaxInstant {
			return 0, fmt.Errorf("buffer: accept with instant %d outside [0, %d]", at, redisdb.MaxInstant)
		}
	}
	return partition, nil
}

// begins is the status that the entry begins with.
func (a *Acceptance) begins() Status {
	if a.Unsure || a.CheckSkipped && !a.Snapshot.Key.IsZero() {
		return Returned
	}
	return Queued
}

// tenant is what the tag of an environment stands for.
type tenant struct {
	Organisation string `json:"org"`
	Environment  string `json:"env"`
}

func appendTenant(b []byte, organisation, environment string) []byte {
	text, err := json.Marshal(tenant{organisation, environment})
	if err != nil {
		panic(err) // two strings
	}
	return append(b, text...)
}

// parseAccepted reads one element of the accept script's answer. It is total.
func parseAccepted(text string, a *Acceptance) Accepted {
	if text == "" {
		return Accepted{Err: errUnreadable}
	}
	rest := text[1:]
	switch text[0] {
	case 'n', 'a':
		at, until, ok := strings.Cut(rest, "|")
		out := Accepted{
			State: AcceptedNew, Run: a.Snapshot.ID,
			PayloadHash: a.Snapshot.PayloadHash, RequestHash: a.Snapshot.RequestHash,
		}
		if text[0] == 'a' {
			out.State = AlreadyThere
		}
		var good [2]bool
		out.AcceptedAt, good[0] = redisdb.ParseInstant(at)
		out.Until, good[1] = redisdb.ParseInstant(until)
		if ok && good == [2]bool{true, true} {
			return out
		}
	case 'h':
		if h := a.Holder; rest == "" && !h.ID.IsZero() {
			return Accepted{
				State: HeldBy, Run: h.ID, AcceptedAt: h.AcceptedAt, Until: h.Until,
				PayloadHash: h.PayloadHash, RequestHash: h.RequestHash,
			}
		}
	case 'b':
		if len(rest) > 0 && (rest[0] == 'q' || rest[0] == 'l') {
			if out, ok := parseHolder(BoundTo, "1|b|", 6, rest[1:]); ok {
				out.Queued = rest[0] == 'q'
				return out
			}
		}
	case 'r':
		if out, ok := parseHolder(Resolved, "1|r|", 5, rest); ok {
			return out
		}
	case 'w':
		if left, ok := redisdb.ParseInstant(rest); ok {
			return Accepted{State: PendingForeign, Wait: time.Duration(left) * time.Microsecond}
		}
	case 's', 'f':
		if rest == "" {
			return Accepted{State: map[byte]State{'s': Stale, 'f': Full}[text[0]]}
		}
	}
	return Accepted{Err: errUnreadable}
}

// parseHolder reads the record of a key that a run holds.
func parseHolder(state State, prefix string, fields int, record string) (Accepted, bool) {
	rest, ok := strings.CutPrefix(record, prefix)
	f := strings.Split(rest, "|")
	if !ok || len(f) != fields {
		return Accepted{}, false
	}
	id, err := run.ParseID(f[0])
	if err != nil {
		return Accepted{}, false
	}
	out := Accepted{State: state, Run: id}
	var good [4]bool
	out.AcceptedAt, good[0] = redisdb.ParseInstant(f[1])
	out.Until, good[1] = redisdb.ParseInstant(f[2])
	out.PayloadHash, good[2] = run.ParseDigest(f[3])
	out.RequestHash, good[3] = run.ParseDigest(f[4])
	return out, good == [4]bool{true, true, true, true}
}
