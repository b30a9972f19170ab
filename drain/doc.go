// Package drain moves buffered runs into Postgres: fairly between tenants, under
// leases, as fast as Postgres likes it and no faster. It owns the order in which
// entries are taken, the pace, and what is done about each way in which that can
// fail. How an entry is kept belongs to the buffer, how it becomes a row to
// Postgres's store; this package holds nothing that a crash could lose.
//
// # The states of an entry, and who is authoritative
//
//	queued ──Lease──▶ leased ──Materialise──▶ leased, row written ──Ack──▶ materialised
//	   ▲                │  │                                │
//	   └──Requeue, Reap─┘  └──row SYSTEM_FAILURE, Fail──▶ gone│◀── Ack says dirty: the new
//	                                                          └──  patches first, Ack again
//
// While an entry is queued or leased the entry is the run: changes go to it as
// patches. A leased entry is worked on by the holder of its token, but the token
// decides only about giving the entry back (Requeue, Fail): a row that was
// written is a fact, so anybody may acknowledge it. Once the entry is
// materialised, the row is the run, and the entry only a memory for readers who
// had looked into Postgres before.
//
// # What a crash between any two steps leaves
//
//   - leased, nothing written: the lease runs out, and any node's reaper returns
//     the entry to the front of its queue.
//   - leased, and the reply lost: the drainer asks again with the same token and
//     gets what it has. Only if Redis does not answer for a third of a lease, or
//     the drainer dies, do the entries wait for the reaper.
//   - some rows of a batch written: Postgres commits a batch or none of it; if a
//     poisonous row split it, each part was a batch of its own. All entries are
//     leased again, and those whose row is there settle as a replay.
//   - row written, not acknowledged: leased again, replay, acknowledged.
//   - acknowledged, reply lost: acknowledging again answers the same.
//   - row written, entry dirty: the patches are in the entry until a later Ack
//     has seen that the row has them.
//   - failure row written, entry not dropped: leased again; the replay answers
//     SYSTEM_FAILURE, and the entry is dropped then.
//
// # Why nothing is written twice
//
// A row is settled by its run id, which the entry has had since it was accepted:
// a second delivery, by the same drainer, by another one or by one that had lost
// its lease long ago, finds its own row and changes nothing but to apply the
// patches that the row lacks. So a lease is no lock. It keeps drainers from
// doing each other's work, and that is all that depends on it.
//
// # Fairness
//
// Organisations have turns one after the other, and within each organisation its
// environments; a turn is one batch. The cursors are names, not positions, so
// that what comes and goes in between neither skips nor favours anyone. A turn
// takes from the environment's partitions the one with the oldest head first; in
// each partition the order is that of acceptance. So an organisation whose n
// entries fit into one batch waits for at most one batch of each other
// organisation, however much those have waiting. Nothing is leased before there
// is a free place to work on it, so nothing is fetched ahead either.
//
// # Trouble
//
// Postgres as a whole is not available: the drain pauses, with growing jittered
// pauses, and then tries with one small batch. Entries go back to the front
// without having spent an attempt. One row is refused: that entry alone spends an
// attempt and waits; after the last attempt its exact bytes go to the dead
// letters, a failure without payload that its owner can see is written, and only
// then is the entry dropped; it stays if either does not succeed. An entry of a
// version that this build does not know is put aside by the buffer, reported by
// every sweep, and tried again when a node starts. Redis does not answer:
// jittered, growing pauses, for ever.
//
// # Levels
//
// The sweep reports what all nodes together have waiting. Every node that sweeps
// reports the same, so levels of several nodes must not be added up.
package drain
