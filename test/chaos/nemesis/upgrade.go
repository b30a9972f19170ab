package nemesis

import (
	"context"
	"time"
)

// Upgrade replaces nodes that are the base by the next program, one after the other,
// goes back, and comes again: whatever one of the two writes, the other reads. While
// they are mixed each keeps its share of the traffic for a while.
func Upgrade(base, next string) Nemesis {
	return Nemesis{
		Class: "N10", Name: "rolling-upgrade", Forgets: true,
		What: "one node after the other becomes another build, and back, and forth",
		Run: func(ctx context.Context, f *Field) error {
			for _, program := range []string{next, base, next} {
				for _, n := range f.Nodes {
					if err := n.Stop(40 * time.Second); err != nil {
						return err
					}
					n.Use(program)
					if err := f.startNode(ctx, n); err != nil {
						return err
					}
					if err := f.hold(ctx); err != nil {
						return err
					}
				}
			}
			return nil
		},
	}
}
