// Package run is the vocabulary of Mollifier: what a trigger asks for, what a
// run is, how both are named, and the errors that every other package speaks.
//
// It owns the identity of a key ([Key], [Hash]), the form of a run id ([ID]),
// the statuses a run may have and which of them clear its key ([Status]), and
// the stored form of an accepted trigger ([Snapshot]). It holds no clocks, no
// goroutines and no I/O, and imports nothing of this module.
//
// Two promises start here. An [ID] is never empty once it is in a [Result]:
// the zero Result cannot be read, so no statement is ever built from a missing
// id. And two different (kind, environment, task, text) tuples never give one
// [Hash]: every part is length-prefixed before it is hashed.
package run
