package demo

import (
	"fmt"
	"sync"
	"time"
)

// follow shows how far a storm is until the returned function is called: one line
// that is rewritten ten times a second on a terminal, else a line every two
// seconds.
func (c Config) follow(title string, s *storm) (stop func()) {
	if c.Progress == nil {
		return func() {}
	}
	every, head, tail := 2*time.Second, "", "\n"
	if c.Terminal {
		every, head, tail = 100*time.Millisecond, "\r\x1b[K", ""
	}
	show := func(tail string) {
		fmt.Fprintf(c.Progress, "%s%s triggers %s: %s answered%s", head,
			thousands(int64(len(s.keys))), title, thousands(s.done.Load()), tail)
	}
	var wait sync.WaitGroup
	ended := make(chan struct{})
	wait.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				show(tail)
			case <-ended:
				show("\n")
				return
			}
		}
	})
	return func() {
		close(ended)
		wait.Wait()
	}
}
