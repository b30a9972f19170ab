package nemesis

import (
	"context"
	"time"

	"github.com/e0ff5a15/mollifier/mollifiertest/link"
)

var network = []Nemesis{
	{Class: "N5", Name: "redis-replies-cut", What: "a third of Redis's replies are lost with their connections, on all nodes", Run: weather(true, true, func(*Field) link.Weather {
		return link.Weather{CutReplies: 0.3}
	})},
	{Class: "N5", Name: "postgres-replies-cut", What: "a tenth of Postgres's replies are lost with their connections, on all nodes", Run: weather(false, true, func(*Field) link.Weather {
		return link.Weather{CutReplies: 0.1}
	})},
	{Class: "N6", Name: "redis-slow", What: "5 to 500 ms of latency to Redis, with as much jitter", Run: weather(true, true, slow)},
	{Class: "N6", Name: "postgres-slow", What: "5 to 500 ms of latency to Postgres, with as much jitter", Run: weather(false, true, slow)},
	{Class: "N6", Name: "redis-narrow", What: "10 KB/s to Redis for each connection of one node", Run: weather(true, false, func(*Field) link.Weather {
		return link.Weather{BytesPerSecond: 10_000}
	})},
	{Class: "N6", Name: "redis-silent", What: "one node's requests to Redis arrive, and no reply comes back", Run: weather(true, false, func(*Field) link.Weather {
		return link.Weather{HoldReplies: true}
	})},
	{Class: "N6", Name: "postgres-silent", What: "one node's requests to Postgres arrive, and no reply comes back", Run: weather(false, false, func(*Field) link.Weather {
		return link.Weather{HoldReplies: true}
	})},
	{Class: "N6", Name: "redis-late", What: "all nodes' requests to Redis are held back, and arrive all at once", Run: weather(true, true, func(*Field) link.Weather {
		return link.Weather{HoldRequests: true}
	})},
	{Class: "N6", Name: "redis-partition", What: "one node can not reach Redis; the others can", Run: weather(true, false, func(*Field) link.Weather {
		return link.Weather{Refuse: true}
	})},
	{Class: "N6", Name: "postgres-partition", What: "one node can not reach Postgres; the others can", Run: weather(false, false, func(*Field) link.Weather {
		return link.Weather{Refuse: true}
	})},
	{Class: "N6", Name: "both-unreachable", What: "no node can reach either store", Run: func(ctx context.Context, f *Field) error {
		set := func(w link.Weather) func() error {
			return func() error {
				for _, l := range append(f.Links(true), f.Links(false)...) {
					l.SetWeather(w)
				}
				return nil
			}
		}
		return f.during(ctx, set(link.Weather{Refuse: true}), set(link.Weather{}))
	}},
}

func slow(f *Field) link.Weather {
	latency := []time.Duration{5 * time.Millisecond, 50 * time.Millisecond, 250 * time.Millisecond}[f.Rand.IntN(3)]
	return link.Weather{Latency: latency, Jitter: latency}
}

// weather changes the links to one store, of all nodes or of one, for a time.
func weather(redis, everywhere bool, of func(*Field) link.Weather) func(context.Context, *Field) error {
	return func(ctx context.Context, f *Field) error {
		links := f.Links(redis)
		if !everywhere {
			i := f.Rand.IntN(len(links))
			links = links[i : i+1]
		}
		set := func(w link.Weather) func() error {
			return func() error {
				for _, l := range links {
					l.SetWeather(w)
				}
				return nil
			}
		}
		return f.during(ctx, set(of(f)), set(link.Weather{}))
	}
}
