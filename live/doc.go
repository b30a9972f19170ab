// Package live is the page on which an operator watches a storm, and the recorder
// behind it.
//
// A [Recorder] looks at its node's engine once a second, from memory, and keeps the
// last five minutes of what it saw: rates, the environments that are tripped, the
// levels of the buffer, what Postgres is like, and what happened. So whoever opens
// the page in the middle of a storm sees how it began. No trigger waits for a
// recorder, and a page that is open costs the node one small answer a second.
//
// # What is whose
//
// Rates, trips, Postgres's latency and what happened are this node's. The buffer's
// levels are the deployment's, as a node that drains finds them; a node that does
// not drain says that it does not know. Of the other nodes the page shows the word
// that each leaves with package fleet, and its age: a node that hangs or died is seen
// to fall silent, then is gone.
//
// # The outcomes
//
// Each trigger of a second is counted once: passed (its run was sent to Postgres),
// mollified (into the buffer), or shared: answered with a run that another trigger
// made, without a write of its own. Triggers that are under way when the second ends
// are counted by what is known then, so a second may show as shared what the next one
// shows as passed; over a few seconds it evens out. Refused triggers were not admitted
// and come on top.
//
// # The page
//
// Static files, embedded, that ask nobody but their own node; their policy forbids all
// else. Text that comes from outside (names, ids, words of other nodes) is put into the
// page as text, never as markup.
package live
