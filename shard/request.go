package shard

import (
	"time"

	"github.com/e0ff5a15/mollifier/run"
)

// Token proves the ownership of a claim: 128 unguessable bits.
type Token [16]byte

// Verb says what a [Request] asks of a store.
type Verb uint8

// The verbs. Claim, Publish, Release and Renew go to the claim store, Settle,
// CheckHolder and Look to Postgres, Accept and Landed to the buffer.
const (
	Claim Verb = iota
	Publish
	Release
	Renew
	Settle
	CheckHolder
	Look
	Accept
	Landed
)

var verbNames = [...]string{"claim", "publish", "release", "renew", "settle", "check", "look", "accept", "landed"}

func (v Verb) String() string { return verbNames[v] }

// Ref names one posted request of one flight. A reply carries the Ref of its
// request; a reply to anything but the request under way is ignored.
type Ref struct {
	Flight uint64
	Post   uint32
}

// Request asks a writer for one thing. Release, Renew and Landed want no reply:
// the latter says that a run which the buffer may have is in Postgres, or may be,
// and has to reach the buffer some time.
type Request struct {
	Verb      Verb
	Ref       Ref
	Partition int
	Hash      run.Hash
	Token     Token

	Observed run.ID        // Claim: take over from exactly this run
	Floor    run.Instant   // Claim: the least acceptance that will do; 0: any
	Anew     bool          // Claim: if it is ours already, accept it now: it was made in an earlier passage
	Snapshot *run.Snapshot // Settle, Accept: what to create; not changed until the reply

	Environment string // CheckHolder, Look, Landed
	Run         run.ID // CheckHolder, Landed; Look: a run to be looked for, too

	Claimed bool   // Accept: under the claim of Token; else fenced by Since alone
	Since   Moment // Accept
	Seen    Seen   // Accept: what Postgres had to say of the key
	Unsure  bool   // Accept: the snapshot may be in Postgres already

	Diverted bool // Settle, Accept: the other store could not take the snapshot; set once a passage

	Holder Holder // Publish
	Found  bool   // Publish: the holder was met, not created, under this claim
}

// Moment is an instant of Redis's clock that this node had received, with the
// epoch (the Redis) that it came from. The zero Moment is none.
type Moment struct {
	At    run.Instant
	Epoch string
}

// Seen is what Postgres knew of a key: the holder of its slot, until when that
// held the key, and the earliest acceptance that may follow. Known means that the
// run which was asked for has a row, Skipped that Postgres could not be asked.
type Seen struct {
	Known   bool
	Found   bool
	Live    bool
	Holder  Holder
	Floor   run.Instant
	Skipped bool
}

// Holder is the run that holds a key.
type Holder struct {
	ID          run.ID
	Canonical   run.ID
	AcceptedAt  run.Instant
	Until       run.Instant
	PayloadHash run.Digest
	RequestHash run.Digest
	Buffered    bool // it rests in the buffer
}

// ClaimState is what a claim was answered.
type ClaimState uint8

// The claim states.
const (
	Claimed  ClaimState = iota // mine, or already mine
	Pending                    // somebody else's, not yet published
	Resolved                   // published: a run holds the key, or did
	Bound                      // a run in the buffer holds the key
)

// ClaimReply answers a Claim. With Err set the claim store could not decide,
// and MaybeClaimed says that the claim may have been taken all the same.
type ClaimReply struct {
	State        ClaimState
	AcceptedAt   run.Instant   // Claimed
	Wait         time.Duration // Pending: until the claim's deadline
	Holder       Holder        // Resolved, Bound
	Queued       bool          // Bound: nothing can have happened to the run, else Postgres is to be asked
	Err          error
	MaybeClaimed bool
}

// LookReply answers a Look.
type LookReply struct {
	Seen Seen
	Err  error
}

// AcceptState is what an Accept came to.
type AcceptState uint8

// The accept states.
const (
	Accepted    AcceptState = iota // the snapshot is in the buffer, under its own id
	AcceptHeld                     // the holder that Postgres knew still holds the key
	AcceptBound                    // a run in the buffer holds the key
	AcceptMet                      // the claim was resolved to a run, which is to be checked
	AcceptWait                     // somebody else's claim
	AcceptStale                    // the fence has passed: claim again
	AcceptFull                     // the buffer takes no more
)

// AcceptReply answers an Accept. With Err set nobody knows whether the snapshot
// is in the buffer.
type AcceptReply struct {
	State  AcceptState
	Holder Holder        // Accepted, AcceptHeld, AcceptBound, AcceptMet
	Queued bool          // AcceptBound
	Wait   time.Duration // AcceptWait: until the claim's deadline
	Full   error         // AcceptFull: what the callers are told
	Err    error
}

// SettleReply answers a Settle. With Stale set nothing was settled, for the claim
// that the acceptance came from was dropped: the key is to be claimed again, for
// an acceptance of at least Floor. With Err set, Unknown says that the write may
// still land, and Rejected that this snapshot alone was refused: another
// snapshot of the key may fare better.
type SettleReply struct {
	Created  bool
	Stale    bool
	Floor    run.Instant
	Holder   Holder
	Err      error
	Unknown  bool
	Rejected bool
}

// CheckReply answers a CheckHolder: whether the run still holds the key. Found
// is false when Postgres does not know the run.
type CheckReply struct {
	Found  bool
	Holds  bool
	Holder Holder
	Err    error
}

// PublishReply answers a Publish: Done means that the claim was still this
// flight's when the run was published. Err means that nobody knows.
type PublishReply struct {
	Done bool
	Err  error
}

// Answer is what a caller is told: a result, or an error. Callers that share
// it, since they came before it was closed, are told the same by [Answer.Shared],
// unless it is for this caller Alone: then they come again.
type Answer[T comparable] struct {
	Ticket T
	Result run.Result
	Err    error
	Alone  bool

	// Of the run that is answered.
	PayloadHash, RequestHash run.Digest
}

// Shared is the result for a caller of the same key that shares the call of the one that
// is answered: a key of that kind, with those digests of its payload and request.
func (a *Answer[T]) Shared(kind run.Kind, payload, request run.Digest) run.Result {
	return a.Result.For(!sameCall(kind, request, a.RequestHash), payload == a.PayloadHash)
}

// sameCall says whether a caller repeats the call that made a run: a repeat of one
// transport request is the same call, not a later one.
func sameCall(kind run.Kind, request, of run.Digest) bool {
	return kind == run.KindRequest || (!request.IsZero() && request == of)
}
