package tenant

import (
	"encoding/binary"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestOneCheckInEveryGap(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newChecker()
		first := c.ask()
		if c.ask() != first {
			t.Fatal("a check that has not begun is shared")
		}
		if <-c.asked != first {
			t.Fatal("the first check reaches the loop at once")
		}
		c.begin()
		second := c.ask()
		if second == first {
			t.Fatal("a check that has begun may have missed what came before the question")
		}
		close(first.done)
		if c.ask() != second {
			t.Fatal("the next check is shared")
		}
		begun := time.Now()
		if <-c.asked != second || time.Since(begun) != checkGap {
			t.Fatal("the next check reaches the loop after the gap")
		}
		c.begin()
		<-time.After(2 * checkGap)
		third := c.ask()
		select {
		case got := <-c.asked:
			if got != third {
				t.Fatal("another check")
			}
		default:
			t.Fatal("a check after a quiet time waits for nothing")
		}
	})
}

func TestFloodOfChecks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newChecker()
		stop := make(chan struct{})
		served := 0
		go func() {
			for {
				select {
				case ask := <-c.asked:
					c.begin()
					served++
					close(ask.done)
				case <-stop:
					return
				}
			}
		}()
		const gaps = 50
		end := time.Now().Add(gaps * checkGap)
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for time.Now().Before(end) {
					<-c.ask().done
				}
			})
		}
		wg.Wait()
		close(stop)
		if served < gaps || served > gaps+1 {
			t.Errorf("%d checks in %d gaps", served, gaps)
		}
	})
}

func TestMissesEndAndAreBounded(t *testing.T) {
	t.Parallel()
	var m misses
	at := time.Unix(1000, 0)
	h := hashKey("a")
	if m.has(h, at) {
		t.Fatal("an empty cache has nothing")
	}
	m.add(h, at)
	if !m.has(h, at.Add(missTTL-1)) || m.has(h, at.Add(missTTL)) {
		t.Fatalf("a miss must last exactly %s", missTTL)
	}
	for i := range uint64(3 * maxMisses) {
		var h keyHash
		binary.BigEndian.PutUint64(h[:], i+1)
		m.add(h, at)
		if len(m.until) > maxMisses || !m.has(h, at) {
			t.Fatalf("after %d misses: %d kept", i+1, len(m.until))
		}
	}
}
