// Package actors runs the shards: Proto.Actor actors that own the flights of
// their partitions, and the group-committing writers that carry their requests
// to Redis and Postgres. It is the only importer of Proto.Actor.
//
// # Who may block whom
//
//	caller ──Send──▶ shard mailbox ──post──▶ writer queue ──▶ a batch under way
//	   ▲                  ▲                                        │
//	   └──answer──────────┴──────────────Send, one message a batch─┘
//
// A shard decides and never waits: its mailbox is unbounded, and so are the
// writers' queues, but what can be in them is bounded before the first Send:
// [Config.MaxCallers] and [Config.MaxBytes] count the callers that wait, a
// caller has at most one flight, and a flight at most one request under way.
// So no two bounded queues face each other, and overload is answered at once.
//
// # Batches
//
// A writer sends what it has as soon as it has a free slot; what arrives
// meanwhile is the next batch. There is no timer: at low load a request leaves
// at once, under load batches grow to their limits. Each item of a batch gets
// its own reply.
//
// # Callers of one key come together
//
// A message, an answer and a map entry for each caller would make a burst of one key
// cost what as many keys cost. So a caller need not go to its shard if another one of
// its key is on the way there: it shares that one's call, without a message, and
// is answered with it.
//
//	call:  open ──closed, before a request that may answer it──▶ closed ──▶ answered
//	        │ ▲                                                     │
//	 others └─┘ join                              its caller left ──┴─────▶ left
//
// A call is made by its caller, enters the table of open calls, and is sent. Its shard
// closes it when the flight takes it in: in the step that posts a request, before the
// request is handed to its writer. To join and to close are operations on one atomic
// counter, so either the joiner is in it before it is closed, or it is not in it.
//
//   - Who joined came before the closing, hence before the post: the rule that a
//     caller is answered only from what was posted after it came holds for all that
//     share a call, as it does for its caller.
//   - An answer is written before the outcome is set and the channel is closed, and is
//     read after; the outcome is set once. So a call whose caller has left is never
//     read as answered.
//   - Answers that concern the call's own trigger or its own time to wait (it was
//     refused, its budget is spent, what it made long ago may be over) are for it
//     alone: whoever shares it comes again, with the time it first came at. So
//     they do when its caller leaves, for it is that caller's snapshot that the shard
//     has.
//   - Who shares is told of its own payload and request: what the answered run
//     was made with comes with the answer.
//
// Triggers that want to wait or to be refused, rather than share (run.InFlight), do
// not, and make calls that nobody shares.
//
// Nothing of this is known to the shard, which has one caller where there are many,
// nor to the stores. If two keys want one place in the table of open calls, the second
// one's callers each send a message, as if there were no such table.
//
// # When something breaks
//
// A panic while a message is handled is caught in Receive, before Proto.Actor
// sees it: the flight it belongs to is answered with an error, and the shard
// goes on with its table, which is held outside the actor and survives even a
// restart. A claim whose write is under way is not released then. A panic in a
// writer answers every item of its batch.
//
// # Stop
//
// Intake is refused; callers are answered; flights end (claims are published or
// released); the writers' last batches return; the actors are poisoned; the
// system is shut down. Past the deadline whoever still waits gets run.ErrClosed.
package actors
