// Package buffer keeps accepted runs in Redis until they are in Postgres. It
// owns the entry of a run and everything that finds it (queue, index, leases,
// counts), and the state "bound" of a key's record, whose other states belong to
// package claim. It does not know who drains, nor what Postgres says: callers
// bring that along.
//
// # An entry
//
// An entry is a string of form 2: a head of 126 bytes, the snapshot, the patches. A
// script changes a field in its place, and never moves the rest; what many writes
// of a batch have in common is one command.
//
//	byte     field
//	1        form: 2
//	2        status: q, l, r or m
//	3-24     token of the lease; blank while none stands
//	25-30    how often a lease ran out
//	31-36    how often a drainer counted an attempt
//	37-52    when the run was accepted, in us of Redis's TIME; never changes
//	53-68    when the interval of its key ends; 0 without a key; only a reset changes it
//	69-73    how many patches it has
//	74-83    how many bytes they take, each with its length in 4 bytes in front
//	84-126   the hash of its key; blank without one
//	127-     the snapshot as run.Snapshot.Append wrote it, without acceptance and interval
//	         patch n: its length, 16 bytes that name its writing, and the patch as run.Patch.Append wrote it
//
// Numbers are decimal, with leading zeros. An entry counts for the bytes of its
// snapshot and its patches.
//
// The builds before wrote form 1, a hash with a field for each of these. Every
// script takes it as well: who reads an entry converts it on the way, who changes
// it writes it as form 2 first, in the same execution. A build that knows only
// form 1 answers for an entry of form 2 as for any that it can not read, and a
// lease that meets one fails.
//
// The customer's bytes pass through unread: no script decodes a snapshot or a
// patch, so their nesting, number forms, nulls and empty lists mean nothing here
// and come back byte for byte. Customer text is in no name.
//
//	       accept            lease                        ack
//	absent ─────► queued (q) ─────► leased (l) ─────────────────────► materialised (m) ──30 s──► absent
//	   │               │ landed     │ ▲   │  │                          ▲
//	   │ unsure        ▼            │ │   │  │                          │
//	   └───────────► returned (r)   │ │   │  │                          │
//	    requeue with a delay        │ │   │  │ lease ran out, delay     │ ack of a late drainer
//	    (same state, nobody's)      └─┘   │  │ over, requeue            │
//	                                      │  ▼                          │
//	                                      │ returned (r) ───────────────┘
//	                                fail  │  │ lease
//	                                      ▼  └─────► leased
//	                                    absent
//
// Queued and returned entries are in the queue of their environment, which is
// first in, first out; a returned one goes to the front. The two differ in what
// they prove: nothing can have happened to a queued run, because nobody ever held
// it; of a returned one Postgres is to be asked. It may be there, settled by a
// drainer that died before its ack, and may even have ended there.
//
// So an entry begins as returned where something is unsure from the start: the
// run may be in Postgres because the reply to its settle was lost, or Postgres
// could not be asked about its key, so that another run may hold it there. And
// a queued entry becomes a returned one when its run was settled because the reply
// to its accept was lost ([Store.Landed]).
//
// An entry has no Redis TTL until it is materialised: it leaves by ack or fail,
// however long that takes. The index lists what is not materialised, by id. The
// counts say how many entries and bytes that is, by environment and in total.
//
// # Who is authoritative
//
// Before the ack, the entry: changes of the run go here, and reads come here
// when Postgres does not know it. After the ack, Postgres; what is left serves
// readers whose look into Postgres was earlier, and the record of the key stays
// resolved for a minute. Between a drainer's commit and its ack both know the
// run: Postgres by a version of patches, and ack compares.
//
// The record of a key says which entry holds the key, and that is only as true
// as the entry is there. Nobody deletes a record that does not name the run it
// is about.
//
// # Accept, and what fences it
//
// Accept decides and writes in one execution: it finds the run there already, or
// its key held, waited for, bound, resolved, or free. A keyed run is written only
// if the caller's claim still stands, or the key is free and the caller's look
// into Postgres is fresh. Fresh means: the caller brings an instant of Redis's
// TIME that it had received before it asked Postgres, no more than Config.Fence
// lies between that and now, and the server that told it is the one that
// executes the script. What has been acked since then still has its record, for
// that lives a minute; so a free key means that nothing was accepted and drained
// behind the look. Without the fence this is possible: the look misses, another
// node accepts, drains and acks the same key, the minute passes, and the first
// accept finds the key free.
//
// In a storm most keys are new. Where no key of a call has a record, the script takes it
// that the entries are not there either, and has MSETNX find out as it writes: half of
// the look-ups are saved. It writes all or nothing, and without a record nothing that was
// judged so far has had an effect; so if something is there, all is judged anew from what
// is there, in the same execution. A replica, and a server that reads its file, come to
// the same: what has expired is deleted there before.
//
// The server compares its own run id, which INFO tells a script in some 7 us for
// a call. A value kept in the data instead would survive a failover to a replica
// that lacks the last writes, and a node's own idea of its connection can be
// older than the connection. On a cluster the instant may come from several
// servers, whose clocks differ; Fence is refused from a quarter of the grace on,
// so that only a skew of the other three quarters could fool it.
//
// A caller that could not ask Postgres at all says so ([Acceptance.CheckSkipped])
// and needs no fence: there is no look that could be stale, and a key that is
// free when the script runs is all that is known.
//
// A holder that the look found is judged by TIME in the script. It is no answer
// if a reset or a later run came in between: the record's floor lies after it,
// or the claim is flagged.
//
// The acceptance is max(TIME, what the record demands, what Postgres demands),
// and the interval ends at the acceptance plus the key's time to live, so both
// are the clock's of the key and of no node.
//
// # Leases
//
// A lease is a claim on work, not on truth: it ends at an instant of TIME, and
// [Store.Reap], by any node, returns what has run out to the front of its queue.
// Extend, requeue and fail compare the token, so a drainer that comes back late
// disturbs nobody. Ack compares none: that the run is in Postgres is a fact,
// whoever says it, and it stays one when the entry has meanwhile been returned
// or leased again.
//
// The token names one lease, and with it goes a list of the ids that it took,
// written in the same execution and kept for as long as the lease. So a drainer
// whose reply was lost asks again with the same token, and whichever of the two
// calls Redis executes first takes entries, while the other takes none:
//
//   - the list is there: what the token still holds is returned and renewed. What
//     has run out, or is acked, is no longer the token's, and is left out;
//   - the first call is executed after the second (Redis hung, or it waited on
//     another connection): its reply has no reader, and it only renews;
//   - it is executed after the drainer gave everything back: nothing is the
//     token's any more;
//   - the second asks for fewer, and gives the rest back. Nobody has seen what it
//     gives back, for the caller acts on none of a token's replies before the one
//     that it received. So that changes nothing in what the entry proves;
//   - it is executed a lease later, when the list is gone: it takes entries that
//     nobody knows of, for the length of one lease.
//
// # Patches
//
// A change is a patch with the next version, written if the version is still the
// one that the change was computed from. Patches are taken in every status but
// materialised, also during a lease. Ack names the version that its drainer put
// into Postgres; if there are later patches, it returns them and changes nothing,
// so that none is lost between a drainer's read and its commit.
//
// # What Redis loses
//
// A Redis that comes back without its last writes, or without any, has lost entries
// that were acknowledged. Who acknowledged one is told of it as it is stored
// ([Keeper]), and can compare ([Store.Standing]) and write it again
// ([Store.Restore]). A restored entry is returned, for nobody knows whether Postgres
// has the run; it stands at the end of its queue, and the record of its key is left as
// it is. Package ring says when that is right.
//
// A patch is made from the version before it, so an entry that has the last patch
// that somebody keeps has all before it, and one that has the first of them can
// take the others. Else the entry was changed anew in between: the lost patches
// are added behind, under the names that they had, and then what the entry had of
// its own once more, so that it keeps the last word. That takes versions which the
// row can not have: what it has of the lost ones are no more than those.
//
// # What a crash leaves behind, and why each script may be repeated
//
//   - accept: one script writes record, entry, queue, index and counts, or
//     nothing. Repeated, it finds the run there, in whatever state, and answers
//     with the acceptance that stands.
//   - lease: repeated, it returns what the first execution took; see below. If
//     nobody repeats it, the entries come back when the lease has run out.
//   - after the lease, anywhere before the ack: the lease runs out, the entry is
//     leased again, and Postgres finds the run there by its id.
//   - ack: repeated, it finds the entry materialised or gone: done.
//   - extend, requeue, fail: repeated, the token is gone or the same; the entry is
//     where the first execution put it. Fail answers true only once.
//   - landed: repeated, the entry is returned already. The accept that it is about
//     may be executed after it, by a Redis that hung; so it is repeated for as long
//     as that can be.
//   - patch: its 16 bytes tell a repetition from another writer's equal patch.
//   - restore: what is there is left as it is.
//   - reap, set aside, revive: each moves what is there; nothing to move is done.
//
// No script writes into an entry that is not there: an entry that is gone stays
// gone. A run id in a queue or among the leases whose entry is gone is
// taken away when it is met.
//
// # Bounds
//
// Accept refuses what would bring a partition over a count or bytes. Counts per
// environment are kept for whoever sets quotas; see [Store.Usage]. When the last
// entry of an environment leaves, its counts go with it, so an error in them
// (after an entry was removed by hand) does not last.
//
// # What can not be read
//
// An entry, a snapshot or a patch of an unknown version is an error for that
// item. Lease moves it aside, to a list of dead entries ([Partition.Dead]),
// instead of returning it to the queue for ever; the entry itself stays. A build
// that knows the version puts it back with [Store.Revive].
package buffer
