// Package actors runs the shards: Proto.Actor actors that own the flights of
// their partitions, and the group-committing writers that carry their requests
// to Redis and Postgres. It is the only importer of Proto.Actor.
//
// # Who may block whom
//
//	caller ──Send──▶ shard mailbox ──post──▶ writer queue ──▶ a batch under way
//	   ▲                  ▲                                        │
//	   └──reply channel───┴──────────────Send, one message a batch─┘
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
