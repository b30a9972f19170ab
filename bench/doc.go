// Package bench measures the hot path of an [mollifier.Engine]: a trigger from
// the caller's side, through a real Redis and a real Postgres, back to the
// caller.
//
// It owns the loads and how they are counted. It promises that every figure
// comes from durable stores (Redis syncs its log before it answers, Postgres
// syncs each commit) that nothing else uses, and that every load is run once
// with the tests, so that it can not rot. It refuses to judge: a figure says
// something about the machine it was taken on, and belongs beside another one
// of the same machine.
//
// The loads are closed: each of a number of callers sends a trigger, waits for
// its run id, and sends the next. So latency is latency at the load that the
// callers can make, not at a load of somebody's choice.
//
// Run them, all in about a minute or some for longer, with
//
//	make bench
//	go test -run '^$' -bench HotKey -benchtime 5s ./bench
//
// What is reported, beside Go's own columns:
//
//	triggers/s            acknowledged triggers in a second
//	writes/s              of the bare stores, for comparison
//	p50-ms, p99-ms        from the call to the acknowledgement
//	redis-calls/trigger   calls to Redis (each carries a batch), for one trigger
//	rows/statement        snapshots that one settling statement carried to Postgres
//
// [mollifier.Engine]: https://pkg.go.dev/github.com/e0ff5a15/mollifier#Engine
package bench
