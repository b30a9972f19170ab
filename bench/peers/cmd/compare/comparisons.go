//go:build unix

package main

import (
	"context"
	"time"

	"github.com/e0ff5a15/mollifier"
	"github.com/e0ff5a15/mollifier/bench"
	"github.com/e0ff5a15/mollifier/bench/internal/load"
	"github.com/e0ff5a15/mollifier/bench/limits"
	"github.com/e0ff5a15/mollifier/bench/peers"
)

const callers = 256

type engine = mollifier.Engine

// lineup opens contestants one after the other; after an error it opens no more.
type lineup struct {
	ctx      context.Context
	stores   *load.Stores
	payload  []byte
	entrants []entrant
	err      error
}

func (l *lineup) add(kind string, callers int, open func() (*load.Contestant, error)) {
	if l.err != nil {
		return
	}
	c, err := open()
	if l.err = err; err == nil {
		l.entrants = append(l.entrants, entrant{Contestant: c, kind: kind, callers: callers})
	}
}

// engine adds an engine that is sent what is made of it.
func (l *lineup) engine(callers int, w bench.Way, contestant func(e *engine) *load.Contestant) {
	l.add("engine", callers, func() (*load.Contestant, error) {
		e, err := bench.Open(l.ctx, l.stores, w)
		if err != nil {
			return nil, err
		}
		c := contestant(e)
		c.Close = func() {
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			_ = e.Close(ctx)
		}
		return c, nil
	})
}

func with(fill func(l *lineup)) func(context.Context, *load.Stores, []byte) ([]entrant, error) {
	return func(ctx context.Context, s *load.Stores, payload []byte) ([]entrant, error) {
		l := &lineup{ctx: ctx, stores: s, payload: payload}
		fill(l)
		return l.entrants, l.err
	}
}

func comparisons() []comparison {
	return []comparison{
		{name: "mollified, keyed", fsync: load.FsyncAlways, open: with(mollified), aims: []aim{
			{kind: "reference", rate: 10, p99: 0.2}, {kind: "asynq", rate: 2, p99: 1}, {kind: "accept", rate: 0.85},
		}},
		{name: "mollified, keyed, synced each second", fsync: load.FsyncEverySec, open: with(mollified), aims: []aim{
			{kind: "reference", rate: 10, p99: 0.2}, {kind: "asynq", rate: 2, p99: 1}, {kind: "accept", rate: 0.85},
		}},
		{name: "pass through, keyed", fsync: load.FsyncAlways, open: with(passThrough), aims: []aim{
			{kind: "setnx", rate: 8, p99: 0.5},
			{kind: "naive", rate: 6, p99: 0.5},
			{kind: "river", rate: 16},
			{kind: "insert", rate: 0.7},
		}},
		{name: "pass through, in bulk", fsync: load.FsyncAlways, open: with(bulk), aims: []aim{
			{kind: "river", rate: 2}, {kind: "insert", rate: 0.85},
		}},
		{name: "hot key, bursts of 1,000", fsync: load.FsyncAlways, open: with(hotKey), aims: []aim{{kind: "singleflight", rate: 1.2}}},
		{name: "drain", fsync: load.FsyncAlways, once: true, open: with(drained), aims: []aim{{kind: "insert", rate: 0.8}}},
		{name: "lone trigger, keyed", fsync: load.FsyncAlways, open: with(loneKeyed), aims: []aim{{kind: "trips", p50: 1.2}}},
		{name: "lone trigger, without a key", fsync: load.FsyncAlways, open: with(loneKeyless), aims: []aim{{kind: "trips", p50: 1.2}}},
		{name: "lone trigger, mollified", fsync: load.FsyncAlways, open: with(loneMollified), aims: []aim{{kind: "trips", p50: 1.2}}},
		{name: "switched off", fsync: load.FsyncAlways, open: with(off), aims: []aim{{kind: "plain", rate: 0.95}}},
	}
}

func mollified(l *lineup) {
	l.engine(callers, bench.Mollified, func(e *engine) *load.Contestant {
		return bench.Contestant(e, "engine, mollified", bench.Distinct(l.payload))
	})
	l.add("reference", callers, func() (*load.Contestant, error) { return peers.ReferencePool(l.stores, 64, l.payload) })
	for _, delay := range []time.Duration{0, 100 * time.Microsecond} {
		l.add("reference", callers, func() (*load.Contestant, error) {
			return peers.ReferencePipelined(l.stores, delay, l.payload)
		})
	}
	for _, conns := range []int{64, callers} {
		l.add("asynq", callers, func() (*load.Contestant, error) { return peers.Asynq(l.stores, conns, l.payload) })
	}
	for _, shape := range [][2]int{{200, 2}, {200, 4}, {64, 8}} {
		l.add("accept", shape[1], func() (*load.Contestant, error) {
			return limits.Accept(l.ctx, l.stores, shape[0], l.payload, true)
		})
	}
	l.add("set", 64, func() (*load.Contestant, error) { return limits.Set(l.stores, 64, 64, l.payload) })
}

func passThrough(l *lineup) {
	l.engine(callers, bench.PassThrough, func(e *engine) *load.Contestant {
		return bench.Contestant(e, "engine, pass through", bench.Distinct(l.payload))
	})
	l.add("setnx", callers, func() (*load.Contestant, error) { return peers.SetNX(l.ctx, l.stores, 32, l.payload) })
	for _, conns := range []int{16, 32} {
		l.add("naive", callers, func() (*load.Contestant, error) { return peers.Naive(l.ctx, l.stores, conns, l.payload) })
	}
	l.add("river", callers, func() (*load.Contestant, error) { return peers.River(l.ctx, l.stores, 32, l.payload) })
	for _, shape := range [][2]int{{128, 2}, {500, 2}, {500, 4}} {
		l.add("insert", shape[1], func() (*load.Contestant, error) {
			return limits.Insert(l.ctx, l.stores, shape[0], shape[1], l.payload, true)
		})
	}
	l.add("copy", 2, func() (*load.Contestant, error) { return limits.Copy(l.ctx, l.stores, 1000, 2, l.payload) })
}

func bulk(l *lineup) {
	l.engine(2, bench.PassThrough, func(e *engine) *load.Contestant {
		return bench.Bulk(e, "engine, TriggerBatch of 1000", 1000, l.payload)
	})
	for _, fast := range []bool{false, true} {
		l.add("river", 2, func() (*load.Contestant, error) {
			return peers.RiverMany(l.ctx, l.stores, 4, 1000, fast, l.payload)
		})
	}
	l.add("insert", 2, func() (*load.Contestant, error) {
		return limits.Insert(l.ctx, l.stores, 500, 2, l.payload, true)
	})
}

func hotKey(l *lineup) {
	l.engine(1, bench.PassThrough, func(e *engine) *load.Contestant {
		return bench.Bursts(e, "engine", 1000, l.payload)
	})
	l.add("singleflight", 1, func() (*load.Contestant, error) {
		return peers.Singleflight(l.ctx, l.stores, 1000, l.payload)
	})
}

func drained(l *lineup) {
	const entries = 100_000
	l.add("engine", 1, func() (*load.Contestant, error) { return bench.Drain(l.ctx, l.stores, entries, l.payload) })
	for _, conns := range []int{1, 2} {
		l.add("insert", 1, func() (*load.Contestant, error) {
			c, err := limits.Insert(l.ctx, l.stores, 500, conns, l.payload, true)
			if err != nil {
				return nil, err
			}
			return limits.Repeated(c, entries/500, conns), nil
		})
	}
}

func loneKeyed(l *lineup) {
	l.engine(1, bench.PassThrough, func(e *engine) *load.Contestant {
		return bench.Contestant(e, "engine, a fresh key", bench.Distinct(l.payload))
	})
	l.add("trips", 1, func() (*load.Contestant, error) { return limits.Trip(l.ctx, l.stores, l.payload) })
}

func loneKeyless(l *lineup) {
	l.engine(1, bench.PassThrough, func(e *engine) *load.Contestant {
		return bench.Contestant(e, "engine, no key", bench.Keyless(l.payload))
	})
	l.add("trips", 1, func() (*load.Contestant, error) { return limits.Row(l.ctx, l.stores, 1, l.payload) })
}

func loneMollified(l *lineup) {
	l.engine(1, bench.Mollified, func(e *engine) *load.Contestant {
		return bench.Contestant(e, "engine, mollified", bench.Distinct(l.payload))
	})
	l.add("trips", 1, func() (*load.Contestant, error) { return limits.LookTrip(l.ctx, l.stores, l.payload) })
}

func off(l *lineup) {
	l.engine(callers, bench.Off, func(e *engine) *load.Contestant {
		c := bench.Contestant(e, "engine, switched off", bench.Distinct(l.payload))
		// What the weeks after the first half minute cost.
		c.Ready = func(ctx context.Context) error { return bench.Left(ctx, e) }
		return c
	})
	for _, conns := range []int{2, 4} {
		l.add("plain", callers, func() (*load.Contestant, error) {
			return limits.Grouped(l.ctx, l.stores, 500, conns, l.payload)
		})
	}
}
