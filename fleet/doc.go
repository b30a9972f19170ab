// Package fleet lets the nodes of a deployment know of each other, for people to
// look at: each node leaves a word about itself on a board in Redis, and takes down
// those of the others.
//
// Nothing is decided by the board. No claim, no acceptance and no drain asks who else
// is there, so a word that is missing, late or wrong costs nobody a run. That is why
// the protocol may be this small:
//
//   - The board is one hash: a field for each node under an id that was drawn when its
//     process began, so a node that starts again is another one and nobody writes
//     another's field.
//   - An exchange is one script: it writes the node's own word under Redis's clock,
//     drops those that are older than [Life], and returns the rest with their age by
//     that same clock. Two exchanges at once are two scripts, one after the other.
//   - A node that stops takes its word back. One that dies is seen to fall silent, and
//     is gone after Life. One that hung and goes on writes its word again.
//   - When no node exchanges any more, the board itself ends after Life.
//   - A reply that is lost has left a word that is overwritten by the next.
//   - The board has room for [Nodes]. Beyond that the words of those that come
//     later are not taken; they still see the others.
//
// Redis away: [Board.Exchange] returns its error, and what was heard before is old.
package fleet
