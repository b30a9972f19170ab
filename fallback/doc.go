// Package fallback answers for one run wherever it is, and changes it wherever
// it is: in the buffer, in Postgres, or on its way from the one to the other.
// Who asks can not tell which it was.
//
// It owns the order in which the stores are asked, the form that a buffered run
// takes ([Reader.Run] answers it as its row is going to be), and the merging of
// both stores into one list. It promises that an id that was ever handed out
// resolves as long as its run is retained, that a change that was acknowledged
// is never lost, and that a store that is down is never mistaken for a run that
// does not exist. It refuses to wait for a run to arrive somewhere, and to look
// at a run of another environment: that one is simply not there.
//
// # Who is authoritative
//
//	entry queued       the entry, for everything
//	entry leased       the row, if there is one, for what a worker does to a run
//	                   (status, output, attempts); the entry for what its owner
//	                   does to it (tags, metadata, delay, cancellation)
//	entry materialised the row, for everything: all patches are in it
//	no entry           the row, for everything
//
// So the patches of an entry that is not materialised are laid over the row,
// and those of a materialised one are not.
//
// # A read: Postgres, the entry, the primary
//
// Most runs have a row, which a replica may answer; but only the entry knows of
// patches that the row has not got, so the entry is always asked, after the row.
// A run only ever moves from the buffer to Postgres. If it was in neither when
// each was asked in this order, it moved in between (or the replica lags), and
// the primary, asked last, has it. So "not found" is said when the entry and
// then the primary have answered, and no run is between them: it leaves the
// buffer only after its row was committed. What each race leaves:
//
//   - the row appears after Postgres was asked: the entry answers, as of then.
//
//   - the row appears and the entry goes after Postgres was asked: the primary
//     answers.
//
//   - a patch arrives after the row was read: it is laid over the row.
//
//   - a patch arrives and reaches the row after the row was read: the entry is
//     materialised and has patches, so the row is read again.
//
//   - the same, and the entry is gone: the reader was paused for longer than an
//     entry stays after its end; it notices, and reads the row again.
//
//   - a cancellation lies in the entry, and a worker finishes the run before it
//     reaches the row: the run was shown as CANCELED, and is what the worker made
//     of it. Both happened at the same time; the worker's report stands.
//
//   - an alias was merged, and its own entry still holds a tag or a cancellation:
//     who reads by the alias sees it at once, who reads by the run's own name once
//     the alias's entry has been caught up with.
//
// With Redis down a row is answered as it is, and a missing row is "unavailable":
// the run may be buffered. With Postgres down the entry answers, unless it is
// materialised: a worker may have ended its run, and whoever has seen that must
// not be shown a QUEUED run again.
//
// # A list: the index, then the rows
//
// Lists are ordered by id, which does not change when a run moves. The buffer's
// index is read first: what has left it by then is in Postgres when Postgres is
// asked, so no run is lost, and what is in both is told apart by its id, so none
// is doubled. A run that is in the index is judged with its row, if it has one,
// and its patches, by the same filter that the rows pass in Postgres.
//
// A filter that few runs pass must not read a whole buffer for one page. Each
// page looks at no more than [MaxScanned] entries. Where that ends before the
// page is full, the page is cut at the last id that was looked at, may hold
// fewer runs than asked for, even none, and its cursor goes on from there.
//
// Of a batch the buffer's index is not read at all: its places, which Postgres has
// from the answer on, name its runs. A place that had no row when the places were
// read has its entry or, asked after that, its row; so the order is the same.
//
// The children of a run are found by an index of Postgres; the buffer has none by
// parent, so [Reader.Children] looks at no more than the newest [MaxChildren] entries
// of the environment, and says when there may be more.
//
// # The lineage of a run
//
// A row takes its root and its depth from its parent's row when it is inserted. A
// parent that is still in the buffer has none, and which of the two the drain
// writes first is open. So a trigger that names a parent looks for the parent's entry,
// and for nothing else, before it goes to its shard; if there is one, the new run's
// snapshot carries how far it stands below the nearest ancestor that was not in the
// buffer when its own child was triggered, or below the root if all of them were. That is
// enough for the insert, however the drain orders them, and for who reads the
// run before: an ancestor with a row has it for good, and a root above whom
// nobody stands needs none. A run moves only from the buffer to Postgres and its id is
// told after it is in one of them, so "no entry" means that the parent's row is there.
// A trigger without a parent asks nobody, nor does one of an organisation of which the
// buffer can hold nothing.
//
// If Redis gives no answer the trigger goes on without: a parent that has a row costs
// nothing then, and one that is in the buffer is taken for a root, in this run and
// in what is triggered below it. The parent itself is always kept as it was named.
//
// # A change: the entry, then the row
//
// A change goes to the entry first, as a patch, and to Postgres only if there is
// no entry or it is materialised: then every patch is in the row, and nothing can
// be overtaken. The entry takes patches while it is leased: whoever ends the
// lease has to apply them. Nobody waits. The rules (a final run's metadata stay,
// only a delayed run is rescheduled, at most so many tags) are those of package
// run in both stores. A leased entry says nothing of what a worker has done, so
// the row's status is looked at for it.
//
// An alias is followed to the run that it stands for, whose own entry comes
// first again.
//
// With Redis down, nobody knows whether an entry holds patches that the row has
// not got. A cancellation and tags can not be undone by such a patch, so they go
// to the row. Metadata and delay can: they are refused as unavailable, but for
// organisations whose runs are never buffered.
package fallback
