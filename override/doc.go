// Package override holds what operators change while the nodes of a deployment run:
// the gate of one environment, and which environments are not drained. It owns the
// tables overrides and admin_audit, the one order of their changes, and each node's
// copy of what is in force. What an override does is up to who is told of it.
//
// # Who is authoritative
//
// Postgres. There is one row for each environment and kind, and one row whose version
// counts the changes. A change is one transaction: it locks the version, writes the
// row and a line of the audit, and announces the new version when it commits. So
//
//   - all changes of a deployment have one order, whichever nodes they came through, and
//     the later one wins as a whole: members of two changes are never mixed;
//   - there is no change without its line in the audit, no line without its change, and
//     the lines stand in the order of the changes;
//   - a crash before the commit leaves nothing. After it nothing is missing: who was
//     told so, and who was not told, are the same to everybody else.
//
// A node holds all overrides of one version in memory, and decides by them without
// asking. It replaces them as a whole when it sees another version (see package
// follow), so it never holds half of a change. [Store.Put] and [Store.Clear] return
// once the node that was asked has done so; others follow within the time of an
// announcement, or of a poll (5 s) if that was lost.
//
//	            committed           announced, or polled
//	operator ──────────▶ version v ─────────────────────▶ every node at v
//	                        │                                  │ Postgres does not answer:
//	                        │ ends_at passes                   ▼ keeps v
//	                        ▼                             ends by its own clock
//	                  not in force any more
//
// # A node that is cut off
//
// It keeps the last overrides that it knew, for as long as Postgres does not answer:
// what an operator wanted a moment ago is a better guess than what was configured, and
// a storm often is why Postgres does not answer. Overrides with an end do end there, by
// spans on the node's monotonic clock. When Postgres answers again the node goes to the
// version that it finds, which wins, whatever happened in between; also if that is an
// earlier one, as after a restored backup. A node that starts has to read them once, and
// it can not start without Postgres anyway: so a restart forgets none.
//
// Two nodes on different versions do no harm to the promise. An override chooses
// between ways that both keep it: a trigger that passes settles in the key's slot, one
// that is mollified is bound in the key's record, and both meet what the other did. A
// fleet that disagrees for a moment mollifies a little more or less than it was told to.
// A drain that is told to pause finishes the batches that are under way, and a node that
// has not heard goes on for a moment: a pause is a request and no lock, and nobody may
// conclude from it that nothing is materialised.
//
// # Bounds
//
// At most 10,000 overrides, for they are made by people; one more is refused. The audit
// is kept until it is trimmed ([Store.TrimAudit]), which nobody does by default.
package override
