package shard

import (
	"time"

	"github.com/e0ff5a15/mollifier/run"
)

// Token proves the ownership of a claim: 128 unguessable bits.
type Token [16]byte

// Verb says what a [Request] asks of a store.
type Verb uint8

// The verbs. Claim, Publish, Release and Renew go to the claim store, Settle
// and CheckHolder to Postgres.
const (
	Claim Verb = iota
	Publish
	Release
	Renew
	Settle
	CheckHolder
)

var verbNames = [...]string{"claim", "publish", "release", "renew", "settle", "check"}

func (v Verb) String() string { return verbNames[v] }

// Ref names one posted request of one flight. A reply carries the Ref of its
// request; a reply to anything but the request under way is ignored.
type Ref struct {
	Flight uint64
	Post   uint32
}

// Request asks a writer for one thing. Release and Renew want no reply.
type Request struct {
	Verb      Verb
	Ref       Ref
	Partition int
	Hash      run.Hash
	Token     Token

	Observed run.ID        // Claim: take over from exactly this run
	Snapshot *run.Snapshot // Settle: what to create; not changed until the reply

	Environment string // CheckHolder
	Run         run.ID // CheckHolder

	Holder Holder // Publish
	Found  bool   // Publish: the holder was met, not created, under this claim
}

// Holder is the run that holds a key.
type Holder struct {
	ID          run.ID
	Canonical   run.ID
	AcceptedAt  run.Instant
	Until       run.Instant
	PayloadHash run.Digest
	RequestHash run.Digest
}

// ClaimState is what a claim was answered.
type ClaimState uint8

// The claim states.
const (
	Claimed  ClaimState = iota // mine, or already mine
	Pending                    // somebody else's, not yet published
	Resolved                   // published: a run holds the key, or did
)

// ClaimReply answers a Claim. With Err set the claim store could not decide,
// and MaybeClaimed says that the claim may have been taken all the same.
type ClaimReply struct {
	State        ClaimState
	AcceptedAt   run.Instant   // Claimed
	Wait         time.Duration // Pending: until the claim's deadline
	Run          run.ID        // Resolved
	Err          error
	MaybeClaimed bool
}

// SettleReply answers a Settle. With Err set, Unknown says that the write may
// still land, and Rejected that this snapshot alone was refused: another
// snapshot of the key may fare better.
type SettleReply struct {
	Created  bool
	Holder   Holder
	Err      error
	Unknown  bool
	Rejected bool
}

// CheckReply answers a CheckHolder: whether the run still holds the key.
type CheckReply struct {
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

// Answer is what a caller is told: a result, or an error.
type Answer[T comparable] struct {
	Ticket T
	Result run.Result
	Err    error
}
