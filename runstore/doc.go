// Package runstore keeps runs in Postgres, and is the last word on which run
// holds a key.
//
// It owns the tables of package schema, the statements in sql/, their retries
// and their share of connections. It promises that no two runs of one key ever
// have overlapping intervals, whatever races, crashes or is repeated, and that
// every change is safe to repeat. It refuses to answer from anything but the
// primary, to build a statement from a missing id, and to read or change a run
// without its environment. It knows nothing of Redis: instants that come from
// there are numbers that it compares with others of the same key.
//
// # The slot
//
// A key is a hash h within an environment. Rows of runs are of three kinds: a
// run (0), an alias (1: another name of a run, holds nothing) and a tombstone
// (2: left by a reset). The slot of a key is the unique index entry
// (env_id, key_slot). A row is in one of four states as to its key:
//
//	keyless   key_slot null, key_past null
//	live      in the slot, kind 0, its status does not clear, acceptance before key_until
//	ended     in the slot, but expired, cleared by its status, or a tombstone
//	past      key_slot null, key_past = h
//
// A run's interval is [accepted_at, key_until), half open, on the key's clock.
//
// # Why intervals never overlap
//
// Four facts, each kept by one statement or one transaction:
//
//  1. Once a slot has been taken it is never empty again. Only a handover
//     empties it (takeover, reset), and the same transaction fills it. So an
//     insert that finds the slot free inserts the first row that the key ever
//     had, and there is nothing that it could overlap with.
//  2. Only the holder of the row lock on the slot's row hands it over, and an
//     insert into the slot waits for that transaction. So handovers of one key
//     happen one after the other and form a chain.
//  3. The next row of the chain is accepted no earlier than its predecessor's
//     key_until: a takeover raises its acceptance to the floor (key_until, and
//     key_last + 1 where later acceptances were merged into the predecessor),
//     or finds the predecessor still live and becomes nothing at all; a reset
//     first cuts key_until down to the tombstone's instant.
//  4. key_until only ever moves earlier (resets, clearing statuses), and
//     accepted_at never moves. So what fact 3 established stays true.
//
// By induction along the chain every interval ends before the next begins. The
// clocks of Redis and Postgres may disagree: that moves intervals, and fact 3
// still keeps them apart.
//
// # Stale settlements
//
// Fact 3 raises an acceptance above the floor where clocks disagree. It must not
// do so where a reset came between a claim and its settle: the reset drops the
// claim, and while the settle is under way another node may look, find the
// tombstone, and accept a run into the buffer. Both would begin at the cut, and
// one would become an alias although nothing has failed. The two cases differ in
// what the settlement meets: nobody begins while a claim stands, so a holder that
// has ended and that began after the claim's acceptance (a tombstone begins at its
// cut) proves that the claim was dropped, or is about to be. Such a settlement is
// [Stale], stores nothing, and stays so whatever follows in the chain. Its caller
// claims again from the floor on. A live holder is no such case: it is the answer.
//
// # Buffered runs
//
// A run that a buffer has acknowledged can neither be refused nor have its
// acceptance raised, so [Store.Materialise] has more to decide, under the lock
// on the slot's row (a slot that is free is facts 1 and 2 again):
//
//   - accepted at or after the end of the holder's interval: it takes over.
//   - else its interval ends at the first reset after its acceptance, if there
//     was one. Where what is left meets the holder's interval, or that of a run
//     in the key's past, it becomes an alias of that run, or, if it was
//     cancelled, a row with an empty interval: neither can overlap.
//   - else it becomes a row of the past. It was accepted before the holder's
//     interval ended and does not meet it, so it lies before the holder: the
//     chain goes on behind it as if it were not there.
//
// An alias is one step deep: only runs are aliased to, and runs stay runs. It
// keeps its own acceptance, payload hash, tags, metadata and delay, and has no
// payload. The run's key_last grows with it, so that no clearing status and no
// reset ends the run's interval before an acceptance that was merged into it.
//
// The row remembers in buffer_ver which version of its buffer entry it has. A
// patch of a later version is applied by the next delivery of the entry, in one
// transaction with the new version; changes that are made to rows directly leave
// the version alone.
//
// # Debouncing
//
// A debounced run holds the slot of its debounce key (env_id, debounce_slot) for
// as long as it is DELAYED: a trigger of the table empties the slot when anybody
// moves the run on. A trigger of that key which comes before the run is due
// pushes it; one that comes later finds the slot empty, or releases the run
// itself, and makes a run of its own. All of that happens in one transaction
// under advisory locks on the debounce keys, which are taken before anything is
// looked at: so batches that have a debounce key in common, on all nodes, come one
// after the other, and each sees what the one before it left. The index on the
// slot is what holds if a lock should not.
//
// The transaction is one for a batch of up to maxBounces debounce keys, and costs
// the same statements for one trigger as for hundreds: the triggers of a debounce key
// are laid over each other here (bounce.go), in the order of the batch, and the
// run is pushed once with what is left. A batch that can not be stored is halved
// until whoever is at fault is alone.
//
// The trigger's own key decides first, by the slot of that key: held by a live
// run, that run is the answer, and nothing is pushed. A trigger that does push
// leaves an alias of the run under its own id, and the alias sits in the slot of
// the trigger's key. So a key may be held through another name of a run. Such a
// row is judged by its own interval and by the status of its run (the view
// key_slots and sql/lock.sql say how), answers the run's id, and is handed over
// and cut like any holder: facts 1 to 4 are about slots and intervals, and hold
// for it as they stand. Its end by a clearing status is computed while it sits in
// the slot and written when it is handed over; the run never leaves that status.
//
// What a crash leaves is nothing or all of the transaction. Its repeat finds the
// trigger's id, as a run or as an alias, and pushes nothing again. Locks are
// taken in the order debounce keys (ascending), slots, debounced runs; the last may
// be in the slot of another key, so a deadlock with a batch of takeovers is
// possible, rare, and retried.
//
// A reset may come between a claim and its settlement, debounced or not: it is
// [Stale] by the same comparison as all others.
//
// # Debounced runs out of a buffer
//
// A debounced trigger is buffered only where Postgres can not take it. The buffer
// decides nothing about its debounce key: the slot is in Postgres, and stays the
// one authority. The entry is a push that has not happened yet, acknowledged under
// an id of its own; whoever asks for that id sees a delayed run. [Store.Materialise]
// does the push, under the same locks, and the id becomes a name of the run that it
// pushed. Entries come in any order and from several drainers, so what they do must
// not depend on it:
//
//   - An entry delays from its acceptance a to d, the end of its delay or what it
//     was rescheduled to. A run delays from its acceptance to the end of its delay.
//     The two become one if these times meet; else the entry is a run of its own,
//     as it would have been had it come in time. A run of which every push is done
//     is one that was delayed without a gap.
//   - A push of an entry only moves the end of the delay on, to d or as far as its
//     longest delay allows; the greatest wins whatever the order.
//   - The payload is that of the newest acceptance (debounced_at remembers which).
//     A trigger that comes now is newer than all, whatever its clock says: its
//     caller may know that it came last.
//   - One run of a debounce key is in the slot: the one that is there while its delay
//     lasts; else, of those that the batch made, the one that is delayed longest.
//
// The trigger's own key decides first here too. If its slot is free, the name takes
// it, for the interval of the entry. If somebody is in it, the entry goes the way of
// every buffered run (above), and what becomes a run of its own there is not
// debounced: nothing is lost, and more may run than would have. So it is with two
// entries that no third one joins while both are delayed and neither meets the other.
//
// A cancelled entry pushes nothing and becomes a run of its own. What else was
// changed of an entry before it became a name is told to the run as to that of any
// alias: the name is written as if the row had none of the changes, and caught up
// in the next step; after a crash between the two the next delivery does it.
//
// What two stores can do at once: a settlement whose reply was lost is accepted by
// the buffer under the same id, and its entry finds the id there: [Replayed]. An
// entry is delivered twice: the second waits for the locks and finds the id. A
// trigger comes while older ones wait in the buffer: it makes or pushes the run in
// the slot, and they join that one when they are drained.
//
// # The hook
//
// A [Hook] is told of runs in the transaction that inserts their rows, as the
// last thing before its commit. So what it writes and the rows are one change,
// an outbox without a gap:
//
//   - rolled back, by an error, a crash or a lost race: neither is there. The
//     repeat inserts anew and calls the hook anew.
//   - committed, reply lost: both are there. The repeat finds the run's id, is
//     [Replayed], inserts nothing, and has nothing to tell.
//   - two nodes with one run at once: the second insert waits for the first, by
//     id or by slot, and finds it committed or gone.
//
// It is told of rows of kind 0 that are runs of their own: not of aliases, which
// name a run that it was told of, nor of a push, nor of a run that is stored as
// its failure only ([Materialisation].Failed). That last exception is the exit
// for a run that the hook itself refuses for good.
//
// The store's locks are taken before the call and kept during it, and the hook
// locks what it likes after them. Two batches whose hooks lock the same rows in
// different orders may deadlock; that is retried like a deadlock of the store's
// own. A hook that hangs is cut off by idle_in_transaction_session_timeout, and
// keeps its connection until it returns.
//
// What an error of the hook means:
//
//   - an error of Postgres that may pass (a deadlock, a timeout, a lost
//     connection), or an ended context: as if the store's own statement had met it.
//   - run.ErrInvalid: one of the runs can never land. The batch is halved until it
//     is alone, and it is [run.ErrRejected].
//   - anything else, a constraint that the hook's rows break and a panic included:
//     nobody can tell whether a run or the hook is at fault. The batch is halved; a
//     run that fails alone is refused for now, with run.ErrUnavailable and the part
//     [PartHook]. After maxAlone of them in a row the rest is refused unhalved: a
//     hook that takes nothing costs some thirty transactions for a batch, not a
//     thousand. Such an error never makes a run a failure: who holds the run,
//     caller or buffer, tries again.
//
// Neither counts against Postgres in the breaker. The hook's time is part of an
// attempt's, as [Config].Observe sees it: slow hooks are pressure.
//
// A hook that has ended the transaction by a statement of its own gets an error
// although the rows stand; the repeat finds them.
//
// # What a crash leaves
//
// The direct path is one statement, a takeover or a reset one transaction, so
// a crash between any two steps leaves either all of it or none:
//
//   - before the insert arrives: nothing; a repeat inserts.
//   - insert or takeover committed, reply lost: the row is there under its own
//     id, and a repeat finds it by id ([Replayed]) before it looks at the slot.
//   - inside a takeover or reset: Postgres rolls back, the slot was never seen
//     empty by anyone. A node that hangs there is cut off by
//     idle_in_transaction_session_timeout.
//   - a merge or a patch of a buffered run is one transaction, too; its repeat
//     finds the id and the version.
//   - an old attempt that reaches Postgres after its repeat was answered can
//     not insert: its id is taken, or the slot is (fact 1).
//
// # What the insert looks for
//
// A row is new nearly always, and if it is not, its slot says so: a key that is held
// and a repeat of a run that holds its key are both met there. So the insert names
// the slot as what it expects conflicts of, and looks into no other index before it
// inserts. What is left is a repeat without a key, or of a run whose slot has been
// handed over, or two attempts for one run at the same instant: the index of ids refuses
// that row, the statement fails as a whole, and is done again by the text that leaves
// out whatever is there. Nothing is decided by the failure; every fact above rests on
// the indexes, which are the same for both texts. Takeovers, merges and debounced runs
// use the second text at once: in their transactions nothing may fail.
//
// # Retention
//
// Fact 1 holds for as long as nobody deletes. [Store.Remove] does, and what makes up for
// it is the horizon: one instant, in the table retention, that only grows. No run whose
// acceptance lies before the horizon is inserted, by any statement of this package; and what
// is removed lies before the horizon with all that it had: its acceptance, its end, the end
// of its key's interval, and everything that was merged into it. So
//
//   - an insert that finds the slot free begins at or after the horizon, and every row that
//     the key ever had and has no more ended before it. Facts 2 to 4 speak of rows that
//     are there, and go on holding between those.
//   - an id that had its row and lost it is not inserted again, whoever still holds the
//     snapshot: a flight or a drainer that slept, a copy that a node put back. A settle is
//     run.ErrRejected. A buffered run becomes an alias, if its key is held; else it is
//     run.ErrRejected, and its drain makes of that what it makes of every row that can not
//     be stored: a dead letter with its bytes, and a failure that can be seen. A row that
//     is born ended is let in, outside of the slot and with an empty interval: it does not
//     run. The exception is a trigger without a key and without an acceptance: it has no
//     clock but its node's, so it relies on its own deadline.
//
// An insert that was under way when the horizon moved may not have seen it, and may find the
// slot just emptied. So the horizon is moved first, and counts for removal only when it has
// stood for longer than any statement may take ([HorizonStands]).
//
// How far the horizon may move is for the caller to say, who knows the buffer: never beyond
// the oldest acceptance in it. Then the rows that are removed are those that no entry can
// be about, can meet, or can be a child in: all that an entry is, lies behind the horizon.
// The clock of keys may be Redis's; the horizon goes by the one of the two that is behind.
//
// What is over is removed in bounded steps, each a transaction, in the order in which it
// was over. A step looks, chooses what nothing needs, locks it, judges it again, and skips
// what somebody else has locked. What is needed:
//
//   - a run that has not ended, or sits under a key whose time is not over.
//   - a run with another name that is younger, or holds a key for longer. Names go with
//     their run, in one statement, so no alias ever leads nowhere.
//   - a run that is the parent of one that is there: children go first. (A child that
//     comes later, for a parent that is gone, is kept as it names it, and is a root.)
//   - a run of a batch that is there. The batch goes first, when it is sealed, or has been
//     open for a day, the time of its key is over, and so are all of its runs.
//
// What meets it: a takeover or a reset that waits for the row finds the slot free, and
// inserts or leaves its tombstone; an alias that is being made of a removed row is refused
// by the foreign key, and can only be one of a run from before the horizon. Several nodes: one
// removes at a time, by an advisory lock, and what two of them believe of the horizon is true
// for both, for it only grows. A crash between two steps leaves what the steps before it
// removed; inside one, nothing.
//
// # Locks
//
// Every statement that locks several keys does so in the order (env_id,
// key_slot), by their bytes, inserts included; statements of workers skip what is locked. Rows in
// a key's past are changed under the lock on the slot, or alone; an alias is
// locked before its run. A deadlock is thus not expected, and is retried should
// one happen.
//
// # Without Postgres
//
// With [Config].BreakerFailures a store stops asking a Postgres that is gone or
// hangs, and every call fails at once with run.ErrUnavailable until it is back.
//
// # Expiry
//
// Reads ([Store.Check], [Store.Keys]) say whether a run was cleared or reset,
// and until when it may hold its key. They do not judge expiry: that is for
// the clock that the acceptance came from. [Store.Settle] compares with the
// acceptance time of the trigger, or with Postgres's clock if it has none.
package runstore
