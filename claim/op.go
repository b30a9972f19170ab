package claim

import (
	"errors"
	"fmt"
	"time"

	"github.com/e0ff5a15/mollifier/redisdb"
	"github.com/e0ff5a15/mollifier/run"
)

// Verb says what an [Op] does to the record of its key.
type Verb uint8

// The verbs. Within one call of [Store.Do], claims run last.
const (
	Claim   Verb = iota + 1 // take the key, or learn who has it
	Publish                 // my claim became a run, or met one
	Release                 // my claim became nothing
	Renew                   // my claim goes on
)

// String names the verb, for logs.
func (v Verb) String() string {
	switch v {
	case Claim:
		return "claim"
	case Publish:
		return "publish"
	case Release:
		return "release"
	case Renew:
		return "renew"
	}
	return "no verb"
}

// Op is one step on one key. Every verb needs Partition, Hash and Token.
type Op struct {
	Verb      Verb
	Partition int // 0 to the deployment's partitions - 1
	Hash      run.Hash
	Token     Token

	// Observed, for Claim: take the key although it is resolved, if it is
	// resolved to exactly this run; the caller saw that it no longer holds the
	// key. Zero: any valid resolution is the answer.
	Observed run.ID
	// Floor, for Claim: the least acceptance that will do, because Postgres has
	// refused an earlier one. An own claim from before it is taken anew. Zero: any.
	Floor run.Instant
	// Anew, for Claim: an own claim is accepted now, not when it was made: it was
	// made for callers that have gone, perhaps long ago, and a run must hold its key
	// for its whole time to live from the acceptance of its own caller on.
	Anew bool

	// For Publish: the run that holds the key, when it was accepted, and until
	// when it holds the key.
	Run         run.ID
	AcceptedAt  run.Instant
	Until       run.Instant
	PayloadHash run.Digest
	RequestHash run.Digest
	// Found, for Publish: the run was met, not created by this claim.
	Found bool
}

// State is what an [Op] came to.
type State uint8

// The states. The zero State comes with an error.
const (
	Claimed  State = iota + 1 // Claim: the key is mine, accepted at Reply.AcceptedAt
	Pending                   // Claim: another owner has it for at most Reply.Wait
	Resolved                  // Claim: Reply.Run held the key when it was published
	Bound                     // Claim: Reply.Run, which is buffered, holds the key
	Done                      // Publish, Release, Renew: the record is as asked for
	Lost                      // Publish, Release, Renew: the claim is not mine any more
)

// String names the state, for logs.
func (s State) String() string {
	switch s {
	case Claimed:
		return "claimed"
	case Pending:
		return "pending"
	case Resolved:
		return "resolved"
	case Bound:
		return "bound"
	case Done:
		return "done"
	case Lost:
		return "lost"
	}
	return "no state"
}

// Reply answers one [Op]. Exactly one of State and Err is set.
type Reply struct {
	State State
	// AcceptedAt: of the claim (Claimed) or of the run (Resolved, Bound).
	AcceptedAt run.Instant
	// Wait, for Pending: until the owner's deadline. Ask again then, or when
	// the key is announced by [Store.Wakes].
	Wait time.Duration
	// For Resolved and Bound.
	Run         run.ID
	Until       run.Instant
	PayloadHash run.Digest
	RequestHash run.Digest
	// Queued, for Bound: nobody has leased the run yet, and no node can have been
	// without Redis since its acceptance ([redisdb.DB.Unbroken]), so nothing can have
	// happened to it or its key, which it holds as of this reply. If false the run may
	// be in Postgres, and may have lost its key there.
	Queued bool
	// Err is about this item alone or about the whole call. It wraps
	// [run.ErrUnavailable] when Redis gave no answer ([redisdb.OutcomeUnknown] tells
	// whether the op may have been executed) and [run.ErrUnknownVersion] when
	// the record can not be read; anything else is a mistake in the Op.
	Err error
}

// check refuses an Op that no store could mean. Its errors are bugs of the
// caller, but they fail one item, not its neighbours.
func (op *Op) check(partitions int) error {
	if op.Verb < Claim || op.Verb > Renew {
		return fmt.Errorf("claim: unknown verb %d", op.Verb)
	}
	if op.Partition < 0 || op.Partition >= partitions {
		return fmt.Errorf("claim: partition %d outside [0, %d)", op.Partition, partitions)
	}
	if op.Token.IsZero() {
		return errors.New("claim: op without a token")
	}
	if op.Floor < 0 || op.Floor > redisdb.MaxInstant {
		return fmt.Errorf("claim: floor %d outside [0, %d]", op.Floor, redisdb.MaxInstant)
	}
	if op.Verb != Publish {
		return nil
	}
	if op.Run.IsZero() {
		return errors.New("claim: publish without a run")
	}
	for _, at := range [...]run.Instant{op.AcceptedAt, op.Until} {
		if at <= 0 || at > redisdb.MaxInstant {
			return fmt.Errorf("claim: publish with instant %d outside (0, %d]", at, redisdb.MaxInstant)
		}
	}
	return nil
}
