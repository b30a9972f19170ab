// Package ring keeps what this node has acknowledged and only Redis holds, and puts
// it back when Redis has lost it. It owns the copies, their bound, and the look-out
// for a Redis that went back in time. What an entry is, and how one is written again,
// belongs to package buffer; it asks Postgres nothing but which runs have a row.
//
// It promises: a run, or a change of one, that this node has acknowledged is not lost
// by Redis as long as this node lives and the ring has room. It refuses to repair
// anything else: not the records of keys, not claims, not counts of the gate.
//
// # A copy
//
//	        Keep, before the answer                 look: materialised, or in Postgres
//	nothing ──────────────────────► kept ─────────────────────────────────────────────► nothing
//	                                │  ▲ │                                                 ▲
//	 look: in neither store,        │  │ └──────────── out of room: the oldest ────────────┘
//	 or a patch is missing          ▼  │ Redis answered
//	                              restored: the entry is written again; the copy stays
//
// A copy is the entry as it is stored: snapshot, acceptance, end of the interval,
// patches. A change makes a new copy of the whole, for who changes a run has read it;
// so any node that acknowledged something of a run can restore all that came before.
// Of two copies of a run the longer replaces the shorter if it goes on from it. If
// not, Redis went back in between and the run was changed anew: both are kept.
//
// # A look
//
// Each copy is compared with its entry, and if that is gone, with Postgres, in this
// order: a run moves from the buffer to Postgres only, and leaves the buffer 30 s
// after its row was committed. So what is in neither was lost. What each finding means:
//
//	the entry is materialised, with the last patch   all of it is in Postgres: dropped
//	the entry is there, with the last patch          it waits: kept
//	the entry is there without the last patch        Redis went back: restored
//	no entry; a row with the last patch, or a later  dropped
//	no entry; a row without the last patch           restored: the drain brings the patches
//	no entry, no row                                 restored
//	no entry, and Postgres does not answer           kept until it does: the run may have
//	                                                 ended there, and must not be shown waiting
//
// One look at the copies is made every 5 s, the oldest first, which leave first. It
// ends when less than half of a part had left, and one further part goes round; so a
// long backlog costs little. A signal has all copies of the partition looked at.
//
// # Signals
//
// Once a second each node writes a number into a name of its own in every partition,
// and reads what was there: less than it had written, or nothing, means that writes
// were lost. The answer also says which server it was and which history it serves
// (run_id and master_replid): another than before means a restart, a failover, a
// partition that moved, after which the last writes may be lost though the number is
// not. A signal only hastens the look; what gives none is found by the rounds of 5 s.
// A write whose reply was lost counts as written or not.
//
// # Who is authoritative, and what can meet what
//
// Restoring is one script: it writes the entry, its place in the queue, index and
// counts, if there is no entry; else only patches that go on from what is there. The
// record of the key is not written: a reset may have been answered since, or the key
// be another run's, and a restored record would bring the old holder back. So
//
//   - the key was triggered again before the restore: two runs, of which the slot in
//     Postgres makes one an alias. Both ids resolve.
//   - the key was reset before or after: the tombstone in Postgres ends the interval of
//     the restored run when it is drained.
//   - two nodes restore one run: the second finds the entry there. If one has more
//     patches, they go on from those of the other, in either order.
//   - the run is in Postgres after all (its drainer committed just now): it begins as
//     returned, so whoever meets it asks Postgres; the drain finds its row, adds the
//     patches that the row lacks, and acks.
//   - the restore meets an accept of the same run that arrives late: the second of the
//     two finds the entry there.
//   - the run was changed after Redis went back and before the restore: the lost
//     patches are added behind, and then those changes once more, so that they keep the
//     last word, under versions that Postgres can not have taken for others.
//   - the node dies after Redis went back and before the restore: what it alone had is
//     lost. Between any two steps of a restore: the copy is there until a look has found
//     it in place, and each step may be repeated.
//   - Redis goes back again: the copy is still there, unless Postgres has the run.
//   - Redis goes back to before changes that Postgres has, so that no ring has them any
//     more: the entry waits without them. The next change gets the number of the first
//     of them, and the drain takes it for that one: it is lost, though acknowledged. Known;
//     the row would have to remember which change its number means.
//
// Between the loss and the restore, about a second, a read of the run finds neither:
// the node that has the copy answers 503 ([Ring.Holds]), another one 404.
//
// # What it costs
//
// The encoded snapshot that was sent to Redis is kept, not copied. Beside it a copy
// takes some 350 bytes, which count too.
package ring
