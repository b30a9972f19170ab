// Package bench measures the hot path of an [mollifier.Engine]: a trigger from
// the caller's side, through a real Redis and a real Postgres, back to the
// caller.
//
// It owns the loads. It promises that every figure comes from durable stores
// (Redis syncs its log before it answers, Postgres syncs each commit) that nothing
// else uses, and that every load is run once with the tests, so that it can not
// rot. It refuses to judge: a figure says something about the machine it was taken
// on, and belongs beside another one of the same machine and the same minutes.
// Beside it stand limits, what the stores do alone, and peers, what one would run
// instead, a module of its own.
//
// The loads are closed: each of a number of callers sends a trigger, waits for
// its run id, and sends the next. So latency is latency at the load that the
// callers can make, not at a load of somebody's choice.
//
//	make bench                                          engines, peers and limits in turn, with ratios
//	make bench-full                                     all of it, longer
//	go test -run '^$' -bench HotKey -benchtime 5s ./bench   one load, as benchstat reads it
//	make profile BENCH=BenchmarkPassThrough             profiles and a trace of one
//
// docs/benchmarks.md says what each number means and how a profile is read.
//
// [mollifier.Engine]: https://pkg.go.dev/github.com/e0ff5a15/mollifier#Engine
package bench
