package nemesis

import (
	"context"
	"time"

	"github.com/e0ff5a15/mollifier/test/chaos/cluster"
)

var nodes = []Nemesis{
	{Class: "N1", Name: "node-kill", What: "a node is killed (SIGKILL) and started again", Forgets: true, Run: func(ctx context.Context, f *Field) error {
		return f.kill(ctx, f.node(anyNode))
	}},
	{Class: "N2", Name: "drainer-kill", What: "a node that drains is killed in a burst, and another one soon after", Forgets: true, Run: func(ctx context.Context, f *Field) error {
		first := f.node(drains)
		if err := f.kill(ctx, first); err != nil {
			return err
		}
		return f.kill(ctx, f.node(func(n *cluster.Node) bool { return n.Drains && n != first }))
	}},
	{Class: "N4", Name: "node-freeze", What: "a node is stopped (SIGSTOP) and goes on", Run: func(ctx context.Context, f *Field) error {
		n := f.node(anyNode)
		return f.during(ctx, n.Pause, n.Resume)
	}},
	{Class: "N4", Name: "node-stutter", What: "a node is stopped for moments, again and again", Run: func(ctx context.Context, f *Field) error {
		n := f.node(anyNode)
		for range 8 {
			if err := n.Pause(); err != nil {
				return err
			}
			err := cluster.Wait(ctx, time.Duration(f.Rand.IntN(300))*time.Millisecond)
			if resumeErr := n.Resume(); err == nil {
				err = resumeErr
			}
			if err == nil {
				err = cluster.Wait(ctx, 100*time.Millisecond)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}},
	{Class: "N10", Name: "rolling-restart", What: "one node after the other is stopped (SIGTERM) and started", Forgets: true, Run: func(ctx context.Context, f *Field) error {
		for _, n := range f.Nodes {
			if err := n.Stop(40 * time.Second); err != nil {
				return err
			}
			if err := f.startNode(ctx, n); err != nil {
				return err
			}
		}
		return nil
	}},
}

func (f *Field) kill(ctx context.Context, n *cluster.Node) error {
	return f.during(ctx, n.Kill, func() error { return f.startNode(ctx, n) })
}
