// Package demo shows the promise of Mollifier from outside: it sends a storm of
// triggers to a node over HTTP and then compares what was acknowledged with what
// is in Postgres.
//
// It owns the storm, the comparison and the report. It imports nothing of this
// module, so that it can not share an error with what it checks: it knows the
// HTTP API and the columns of the table runs.
//
// It promises to count a trigger as acknowledged only when its caller has a run
// id in hand, and to report every deviation it finds, however many agree. It
// refuses to repair, to start servers, or to touch runs of other tasks: each demo
// uses task names of its own.
package demo
