// Package watch tells a client what became of runs since it asked last, by long
// polling, on whatever node it asks.
//
// It owns the form of what a client is known to have seen ([Known]), and the
// one look at the stores that all polls of a node share ([Hub]). It promises
// that a client that goes on polling comes to have the latest state of every
// run that it follows; that a poll which misses nothing waits; and that the
// stores' work does not grow with the number of polls, but with the number of
// runs that are followed, up to a fixed part of one connection. It refuses to
// keep anything about a client: no session, no log of changes, no order between
// the changes of two runs, and not every state between two polls. A state that
// lasted for less than a look may never be seen; the last one always is.
//
// # Who is authoritative
//
// The stores, through the reads of package fallback. A run's state has a
// [Mark]: a hash of its names, its status and the instant of its last change,
// which the stores' own clocks write with every change. Any node computes the
// same mark of the same state.
//
// The client carries what it has seen: the marks themselves, up to [MaxExact]
// runs, or their sums in [MaxExact] classes of ids. So a poll may come to any
// node, before or after a restart, and is answered as it would have been by the
// node that answered last. Nothing has to be found again and nothing can be
// lost, because nothing is kept.
//
// # A poll
//
//  1. The client says what it has. The hub has a topic for what is followed, which
//     it shares with all polls of the same; a new one is looked at within a moment.
//  2. The hub's members are compared with what the client has. What it lacks is read
//     whole, now, and compared again: the hub may be a look behind the client.
//  3. Anything left is the answer, with what the client has from now on. If nothing
//     is left, the poll waits until a look finds other members, and goes to 2.
//  4. When its time is over, the poll answers that nothing is new.
//
// The comparison is with the client's state and never with an earlier look, so a
// change between two steps is not missed: either the members that the client
// lacked were read after it, or the next look finds a mark that it lacks. A look
// that fails leaves the members as they are and is repeated. A node that dies takes
// nothing along but the connection.
//
// What may happen instead of loss is repetition: of a state that came through two
// stores (a run that is drained is shown once more, because its row has a later
// instant of change), and, among more than [MaxExact] runs, of those in the class of
// one that changed.
//
// # What it costs
//
// Looks are polls of the stores, not announcements of theirs. An announcement for
// each write would have to be made in the transaction of the write, where Postgres
// puts every announcing commit into one order by one lock; the batched insert, which
// the whole product is about, would pay for watchers that are not there
// ([decision 11]).
//
// One run: every [Config.Every], all runs that are followed on this node are read in
// outline, [chunk] at a time. A set (by tag or batch): every [Config.EverySet], one
// set after the other, newest [MaxMembers] runs. In both, the pause is at least nine
// times (for sets three times) what the last look took, so that looks take a tenth (a
// quarter) of one connection at most, and grow late instead of heavy.
//
// Watches are bounded for each environment and for the node; over that a poll is
// refused, and its client comes again.
//
// [decision 11]: ../docs/adr/0011-watchers-look.md
package watch
