// Package simulate answers "what will my storm do?" without stores: which triggers
// pass, are mollified, share a run or are refused, how full the buffer gets, and when
// it is empty again. It owns the model of a deployment, and the two places a storm
// comes from, a [Storm] that is described and a [Trace] that was recorded. Nothing in
// it reads a clock, so the same storm and settings give the same [Report].
//
// # The model
//
// A trigger whose key holds a run shares it, and counts for nothing else. Every other
// one is put before the gate, which is the real one ([gate.Gate.Decide]) on the
// storm's own clock. What is mollified needs room within the bounds of the buffer;
// what finds none is refused, and its key stays free.
//
// Postgres writes one row after the other, so many a second. Rows of triggers that
// pass go first, for somebody waits for them; the drain has what is left: organisations
// in turn, a batch of each (here each environment is an organisation of its own), in each
// the oldest first.
//
// # What it leaves out
//
// Postgres under pressure (where passing triggers wait for a row, [Report.Wait] says so,
// and a real gate would mollify them), outages, retries of those that were refused, and
// further nodes: each may let through, of an environment that trips, what it counts within
// one round trip to Redis.
package simulate
