// Package recording keeps what gates have decided, and replays it against other
// limits. It owns the form of a recording, the [Recorder] of a node, the [Replay],
// and its picture. It decides nothing by itself: a replay counts with [gate.Rate] and
// decides with [gate.Decide], which are the gate's own.
//
// # A recording
//
// Lines of JSON, each of which stands alone: one environment, one second, one node, and
// the limits that were in force ([Line]). Within the second there are slots of 10 ms, each
// with how many triggers were counted and how many of them were mollified, or would
// have been (shadow mode). Lines of several nodes, in any order, are one recording; a
// line that is there twice counts once. There are no payloads, keys or runs in it.
//
// Only triggers that came as far as the rate are in it. What the rate did not decide
// alone, because an override forced it or Postgres was in trouble, is told apart: other
// limits would not have changed it.
//
// # What a node keeps
//
// A second of an environment is open while triggers of it come, and closed when the
// next one begins, when somebody reads, or at the latest by [Recorder.Run] a second or so
// later; then it is never changed. What comes of that second after it was closed opens
// another line, so a second may have several: a replay adds them up. Closed lines are
// numbered and kept up to a bound of bytes, the newest of all environments.
//
// # A replay
//
// All triggers of a slot count as if they had come at its begin, those of all nodes
// before one counter, which is what Redis does for the fleet. So a replay is exact to
// a slot, and knows nothing of a node that mollified a little late because its reading
// was old. It changes what was decided, not what came: callers who were refused later
// and tried again, or a Postgres in trouble because less was mollified, are not in it.
package recording
